"""Files and folders that are always whole, and what helps where one cannot be written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import BenchError, RunError
from benchharness.locks import locked

if TYPE_CHECKING:
    from numpy.typing import NDArray

# No build takes a day; a younger folder may be another process's, still growing.
_ABANDONED_S = 86_400.0
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


def unwritten(error: OSError, *, elsewhere: str = "") -> str:
    """Return why something could not be written and what helps: the end of a message.

    Args:
        elsewhere: How to choose another place, which helps against nearly everything.
    """
    named = _remedy_at_place(error)
    place = f" ({error.filename})" if error.filename and not named else ""
    remedies = [*filter(None, (named or _REMEDIES.get(error.errno or 0), elsewhere))]
    return f"{error.strerror or error}{place}" + (f"; {', or '.join(remedies)}" if remedies else "")


@contextmanager
def writable(
    path: Path,
    *,
    elsewhere: str = ANOTHER_CACHE,
    what: str = "to be able to write here",
    error: type[BenchError] = RunError,
) -> Iterator[None]:
    """Raise an ``error`` that says what helps in place of an OSError, where a place is written.

    Args:
        elsewhere: How to choose another place.
        what: Is expected, in words.
    """
    try:
        yield
    except OSError as cause:
        raise error(
            f"{path}: expected {what}, found: {unwritten(cause, elsewhere=elsewhere)}"
        ) from cause


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


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` if the block succeeds, and vanishes if not.

    When another process has built ``target`` meanwhile, its folder stays and ours goes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target, older_s=_ABANDONED_S)
    building = _beside(target)
    building.mkdir()
    try:
        yield building
        try:
            building.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        else:
            sync(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def build_lock(target: Path, *, longest_s: float = _ABANDONED_S) -> Iterator[None]:
    """Hold the right to build ``target``, having waited for any other process that does.

    Where the disk knows no locks, several may build; then the first to finish wins.
    """
    file = target.parent.parent / "locks" / f"{target.parent.name}-{target.name}.lock"
    with locked(file, longest_s=longest_s) as is_held:
        if is_held:
            # Whoever left something behind here was killed: nobody else builds now.
            _remove_leftovers(target, older_s=0.0)
        yield


def remove_dir(target: Path) -> None:
    """Remove ``target`` in one step, so that nobody sees half of it; fine if it is gone."""
    doomed = _beside(target)
    with suppress(FileNotFoundError):
        target.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_leftovers(target: Path, *, older_s: float) -> None:
    """Remove what processes that were killed left beside ``target``."""
    for left in target.parent.glob(f".{target.name}-*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= older_s:
                shutil.rmtree(left, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def require_free_space(
    folder: Path, *, needed: int, what: str, error: type[BenchError], elsewhere: str = ANOTHER_CACHE
) -> None:
    """Raise an ``error`` where fewer bytes are free than ``what`` needs in a folder, made or not.

    Args:
        elsewhere: How to choose another place.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise error(
            f"{folder}: expected {needed / 1e6:,.1f} MB of free space for {what}, "
            f"found {free / 1e6:,.1f} MB; free some space, or {elsewhere}"
        )


def save_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays as safetensors, or raise an OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(arrays), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error
