"""Locks on a GPU or a run, held by one process at a time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchharness.errors import RunError
from benchharness.files import ANOTHER_RESULTS, unwritten, writable
from benchharness.locks import Lock, LockedError
from benchharness.results.run_folder import RunFolder

# Locks of this process: to lock the same file twice in one process is no conflict.
_LOCKS: dict[Path, RunLock] = {}


@dataclass(slots=True, kw_only=True)
class RunLock:
    """A locked file; the system unlocks it when the process ends.

    Attributes:
        count: How often it was locked and not yet released.
    """

    file: Path
    lock: Lock
    count: int = field(default=1)

    @classmethod
    def acquire(cls, file: Path) -> Self:
        """Lock a file for this process.

        Raises:
            LockedError: Another process holds it.
            OSError: It cannot be opened.
        """
        if file in _LOCKS:
            held = _LOCKS[file]
            assert isinstance(held, cls)
            held.count += 1
            return held
        _LOCKS[file] = made = cls(file=file, lock=Lock.acquire(file, longest_s=0))
        return made

    def release(self) -> None:
        """Unlock the file, once it was released as often as locked."""
        self.count -= 1
        if self.count == 0:
            del _LOCKS[self.file]
            self.lock.release()


def lock_gpu(selector: str, name: str, *, folder: Path | None = None) -> RunLock:
    """Lock a GPU: two runs on it would disturb each other's timings.

    Args:
        selector: Its UUID, else its number.
        name: For people.
        folder: Of the machine's locks; None for the system's folder of temporary files.

    Raises:
        RunError: Another run holds it.
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
    """Lock the folder of a run, so that no trial of it runs twice.

    Raises:
        RunError: Another process is running it.
    """
    try:
        with writable(folder.path, elsewhere=ANOTHER_RESULTS):
            return RunLock.acquire(folder.path.resolve() / ".lock")
    except LockedError as error:
        raise RunError(
            f"{folder.path}: this run is being executed by {error.holder}; wait for it, or start "
            "a new run without --resume"
        ) from error


def lock_file(device: str, *, folder: Path | None = None) -> Path:
    """Return the lock file of a device, the same for every process of the machine.

    Args:
        device: Its UUID or number.
        folder: Where; None for the system's folder of temporary files.
    """
    name = "".join(letter if letter.isalnum() else "-" for letter in device)
    return (folder or Path(tempfile.gettempdir())) / f"benchharness-{name}.lock"
