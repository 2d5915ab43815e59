"""Cached folders that appear whole or not at all, whoever else is building the same one."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchharness.files import sync
from benchharness.locks import locked

# No build takes a day; a younger folder may be another process's, still growing.
_ABANDONED_S = 86_400.0


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``target`` if the block succeeds, and vanishes if not.

    When another process has built ``target`` meanwhile, its folder stays and ours goes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target, older_s=_ABANDONED_S)
    building = _aside(target)
    building.mkdir()
    try:
        yield building
        _rename(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def build_lock(target: Path) -> Iterator[None]:
    """Hold the right to build ``target``, having waited for any other process that does.

    Where the disk knows no locks, several may build; then the first to finish wins.
    """
    file = target.parent.parent / "locks" / f"{target.parent.name}-{target.name}.lock"
    with locked(file) as is_held:
        if is_held:
            # Whoever left something behind here was killed: nobody else builds now.
            _sweep(target, older_s=0.0)
        yield


def discard(target: Path) -> None:
    """Remove ``target`` at one stroke, so that nobody sees half of it; fine if it is gone."""
    doomed = _aside(target)
    with suppress(FileNotFoundError):
        target.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sweep(target: Path, *, older_s: float) -> None:
    """Remove what processes that were killed left behind."""
    for left in target.parent.glob(f".{target.name}-*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= older_s:
                shutil.rmtree(left, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _rename(building: Path, target: Path) -> None:
    try:
        building.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    else:
        sync(target.parent)
