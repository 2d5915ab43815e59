"""A file that is always whole: readers see the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write text as UTF-8, its line ends as they are; see ``replace_bytes``."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a temporary file beside ``path`` and rename it over ``path``.

    Raises:
        OSError: The folder cannot be written; ``path`` is then untouched.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
