"""Files that are always whole: readers see the old one or the new one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path, ``~`` at its beginning the home folder where that is known."""
    # Path.expanduser raises an error where it is not.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def sync(path: Path) -> None:
    """Return when the file, or the names in the folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # SMB and some FUSE file systems sync files, and no folders.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def atomic_write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, its line ends as they are; see ``atomic_write_bytes``."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: Path, content: bytes) -> None:
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


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any, *, length: int = 32) -> str:
    """Return the SHA-256 of a JSON-able value, hexadecimal and cut to so many digits.

    Mappings count by their content, whatever the order of their keys.
    """
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
