"""Holding a GPU or a run, so that no other process does what this one is doing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchharness.errors import RunError
from benchharness.files import ANOTHER_RESULTS, unwritten, writable
from benchharness.locks import Lock, LockedError
from benchharness.results.store import RunFolder

# Claims of this process: the same thing claimed twice by one process is no conflict.
_LOCKS: dict[Path, RunLock] = {}


@dataclass(slots=True, kw_only=True)
class RunLock:
    """A file that this process holds; the system lets go of it when the process ends.

    Attributes:
        count: How often it was claimed and not yet released.
    """

    file: Path
    lock: Lock
    count: int = field(default=1)

    @classmethod
    def make(cls, file: Path) -> Self:
        """Hold a file for this process.

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
        """Let go of it, once it was released as often as claimed."""
        self.count -= 1
        if self.count == 0:
            del _LOCKS[self.file]
            self.lock.release()


def claim_gpu(selector: str, name: str, *, folder: Path | None = None) -> RunLock:
    """Hold a GPU: what times on it beside us would spoil our figures, and we theirs.

    Args:
        selector: What tells it from all others of the machine: its UUID, else its number.
        name: For people.
        folder: Of the machine's locks; None for the system's folder of temporary files.

    Raises:
        RunError: Another run holds it.
    """
    try:
        return RunLock.make(device_file(f"gpu-{selector}", folder=folder))
    except LockedError as error:
        raise RunError(
            f"{name}: expected a GPU that no other run is using, found {error.holder} "
            "timing on it; wait for its end, choose another GPU with --device, or add "
            "--share-device where the figures do not matter"
        ) from error
    except OSError as error:
        raise RunError(
            f"{name}: expected to lock {error.filename}, found: "
            + unwritten(error, elsewhere="set TMPDIR to another folder, or add --share-device")
        ) from error


def claim_run(folder: RunFolder) -> RunLock:
    """Hold the folder of a run, so that no trial of it is carried out twice.

    Raises:
        RunError: Another process carries the run out.
    """
    try:
        with writable(folder.path, elsewhere=ANOTHER_RESULTS):
            return RunLock.make(folder.path.resolve() / ".lock")
    except LockedError as error:
        raise RunError(
            f"{folder.path}: expected a run that nobody is carrying out, found "
            f"{error.holder} at it; wait for its end, or begin a run of its own without --resume"
        ) from error


def device_file(device: str, *, folder: Path | None = None) -> Path:
    """Return the file that stands for a device, the same for every process of the machine.

    Args:
        device: What tells it from all others, as its UUID.
        folder: Where; None for the system's folder of temporary files.
    """
    name = "".join(letter if letter.isalnum() else "-" for letter in device)
    return (folder or Path(tempfile.gettempdir())) / f"benchharness-{name}.lock"
