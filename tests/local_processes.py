"""Workers of a test, as the system knows them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def workers(folder: Path) -> list[str]:
    """Return the workers that were started in a folder, by process id."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if b"benchharness.worker" in line and where == folder:
            found.append(process.name)
    return found


def wait_for(condition: Callable[[], bool], *, seconds: float = 600) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass within {seconds:g} s"
        time.sleep(0.05)
