"""Files that are always whole, and what helps where one cannot be written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import RunError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANOTHER_CACHE = "set BENCHHARNESS_CACHE to another folder"
ANOTHER_RESULTS = "choose a folder with --results"

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EROFS: "mount it writable",
    errno.EISDIR: "move the folder away that is in its place",
    errno.ENOTEMPTY: "move the folder away that is in its place",
    errno.ELOOP: "remove the link that leads back to itself",
    errno.ENAMETOOLONG: "shorten its name",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "close files that other programs hold open",
    errno.EIO: "check the disk (`dmesg` says more)",
    errno.ESTALE: "mount it again",
}
# As safetensors tells it.
_CODE = re.compile(r"\(os error (\d+)\)")


def unwritten(error: OSError, *, elsewhere: str = "") -> str:
    """Return why something could not be written and what helps: the end of a message.

    Args:
        error: Of the attempt.
        elsewhere: How to choose another place, which helps against nearly everything.
    """
    named = _remedy_at_place(error)
    place = f" ({error.filename})" if error.filename and not named else ""
    remedies = [found for found in (named or _REMEDIES.get(error.errno or 0), elsewhere) if found]
    return f"{error.strerror or error}{place}" + (f"; {', or '.join(remedies)}" if remedies else "")


@contextmanager
def writable(path: Path, *, elsewhere: str) -> Iterator[None]:
    """Say what helps where a place cannot be written.

    Args:
        path: The place.
        elsewhere: How to choose another.

    Raises:
        RunError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: expected to be able to write here, found: "
            f"{unwritten(error, elsewhere=elsewhere)}"
        ) from error


def _remedy_at_place(error: OSError) -> str:
    """Return what helps where something else is at fault than what was to be written; or empty."""
    if not error.filename:
        return ""
    path = Path(os.fsdecode(error.filename)).absolute()
    there = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENOENT) and not there.is_dir():
        return f"move {there} away, which is no folder"
    if error.errno == errno.EEXIST:
        return f"move {there} away"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"change the permissions of {there}"
    return ""


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


def save_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays as safetensors.

    Raises:
        OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(arrays), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        code = _CODE.search(str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error
