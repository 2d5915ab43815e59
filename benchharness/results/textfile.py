"""A text file that is always whole: readers see the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a temporary file beside ``path`` and rename it over ``path``.

    Raises:
        OSError: The folder cannot be written; ``path`` is then untouched.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        # newline="" keeps the line ends that the csv module wrote.
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
