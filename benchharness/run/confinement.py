"""Keeping a process of ours to its cores and to its parent's life."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def use_cores(threads: int) -> None:
    """Keep this process to as many cores as it may use; every framework counts those."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def die_with_parent() -> None:
    """Ask the kernel to end this process when the runner is gone, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
