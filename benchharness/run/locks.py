"""Locks on a GPU or a run, held by one process at a time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchharness.errors import RunError
from benchharness.files import ANOTHER_RESULTS, unwritten, writable
from benchharness.locks import Lock, LockedError
from benchharness.results.run_folder import RunFolder

# Locks of this process: to lock the same file twice in one process is no conflict.
_LOCKS: dict[Path, RunLock] = {}


@dataclass(slots=True, kw_only=True)
class RunLock:
    """A file locked ``count`` times; the system unlocks it when the process ends."""

    file: Path
    lock: Lock
    count: int = 0

    @classmethod
    def acquire(cls, file: Path) -> RunLock:
        """Lock a file for this process; raise a LockedError where another process holds it."""
        if file not in _LOCKS:
            _LOCKS[file] = cls(file=file, lock=Lock.acquire(file, longest_s=0))
        _LOCKS[file].count += 1
        return _LOCKS[file]

    def release(self) -> None:
        """Unlock the file, once it was released as often as locked."""
        self.count -= 1
        if self.count == 0:
            del _LOCKS[self.file]
            self.lock.release()


def lock_gpu(selector: str, name: str, *, folder: Path | None = None) -> RunLock:
    """Lock a GPU, by its UUID or number; raise a RunError where another run holds it, or it fails.

    Two runs on it would disturb each other's timings.
    """
    try:
        return RunLock.acquire(lock_file(f"gpu-{selector}", folder=folder))
    except LockedError as error:
        raise RunError(
            f"{name}: GPU is in use by another benchharness run ({error.holder}). "
            "Wait, choose another --device, or pass --share-device."
        ) from error
    except OSError as error:
        raise RunError(
            f"{name}: cannot lock the GPU: "
            + unwritten(error, elsewhere="set TMPDIR to another folder, or pass --share-device")
        ) from error


def lock_run(folder: RunFolder) -> RunLock:
    """Lock a run's folder, so that no trial of it runs twice; raise a RunError if another does."""
    try:
        with writable(folder.path, elsewhere=ANOTHER_RESULTS):
            return RunLock.acquire(folder.path.resolve() / ".lock")
    except LockedError as error:
        raise RunError(
            f"{folder.path}: this run is being executed by {error.holder}; wait for it, or start "
            "a new run without --resume"
        ) from error


def lock_file(device: str, *, folder: Path | None = None) -> Path:
    """Return the lock file of a device, the same for every process of the machine."""
    name = "".join(letter if letter.isalnum() else "-" for letter in device)
    return (folder or Path(tempfile.gettempdir())) / f"benchharness-{name}.lock"
