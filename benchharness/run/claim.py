"""Holding a file so that no other process does what this one is doing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchharness.errors import RunError
from benchharness.results.store import RunFolder

# Claims of this process: the same thing claimed twice by one process is no conflict.
_HELD: dict[Path, Claim] = {}


class TakenError(RunError):
    """Another process holds what was claimed.

    Attributes:
        holder: Its process id; empty where it has not said.
    """

    def __init__(self, message: str, *, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(slots=True, kw_only=True)
class Claim:
    """A file that this process holds; the system lets go of it when the process ends.

    Attributes:
        count: How often it was claimed and not yet released.
    """

    file: Path
    descriptor: int
    count: int = field(default=1)

    @classmethod
    def make(cls, file: Path) -> Self:
        """Hold a file for this process.

        Raises:
            TakenError: Another process holds it.
            OSError: It cannot be opened.
        """
        if file in _HELD:
            held = _HELD[file]
            assert isinstance(held, cls)
            held.count += 1
            return held
        descriptor = _open(file)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
            os.close(descriptor)
            raise TakenError(f"{file} is held by process {holder}", holder=holder) from error
        # For whoever comes second; a file of another user's cannot be written, and need not be.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _HELD[file] = made = cls(file=file, descriptor=descriptor)
        return made

    def release(self) -> None:
        """Let go of it, once it was released as often as claimed."""
        self.count -= 1
        if self.count == 0:
            del _HELD[self.file]
            os.close(self.descriptor)


def claim_gpu(selector: str, name: str, *, folder: Path | None = None) -> Claim:
    """Hold a GPU: what times on it beside us would spoil our figures, and we theirs.

    Args:
        selector: What tells it from all others of the machine: its UUID, else its number.
        name: For people.
        folder: Of the machine's locks; None for the system's folder of temporary files.

    Raises:
        RunError: Another run holds it.
    """
    try:
        return Claim.make(device_file(f"gpu-{selector}", folder=folder))
    except TakenError as error:
        raise RunError(
            f"{name}: expected a GPU that no other run is using, found process {error.holder} "
            "timing on it; wait for its end, choose another GPU with --device, or add "
            "--share-device where the figures do not matter"
        ) from error


def claim_run(folder: RunFolder) -> Claim:
    """Hold the folder of a run, so that no trial of it is carried out twice.

    Raises:
        RunError: Another process carries the run out.
    """
    try:
        return Claim.make(folder.path.resolve() / ".lock")
    except TakenError as error:
        raise RunError(
            f"{folder.path}: expected a run that nobody is carrying out, found process "
            f"{error.holder} at it; wait for its end, or begin a run of its own without --resume"
        ) from error
    except OSError as error:
        raise RunError(
            f"{folder.path}: expected to be able to write here, found: {error.strerror}; "
            "change its permissions, or choose a folder with --results"
        ) from error


def device_file(device: str, *, folder: Path | None = None) -> Path:
    """Return the file that stands for a device, the same for every process of the machine.

    Args:
        device: What tells it from all others, as its UUID.
        folder: Where; None for the system's folder of temporary files.
    """
    name = "".join(letter if letter.isalnum() else "-" for letter in device)
    return (folder or Path(tempfile.gettempdir())) / f"benchharness-{name}.lock"


def _open(file: Path) -> int:
    """Open a file that is there for its lock alone, and that another user may have made."""
    shared = stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | flags, shared)
    except PermissionError:
        # In a folder that everybody writes, the kernel lets nobody open another's file to write.
        return os.open(file, os.O_RDONLY | flags)
    with contextlib.suppress(OSError):
        # Whatever the umask says.
        os.fchmod(descriptor, shared)
    return descriptor
