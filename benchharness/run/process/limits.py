"""Keeping a process of ours to its cores and to its parent's life."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


def set_affinity(threads: int) -> None:
    """Keep this process to as many cores as it may use; every framework counts those."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])


def die_with_parent(events_fd: int) -> None:
    """Ask the kernel to end this process when the runner is gone, however that happens.

    Args:
        events_fd: Of the pipe to the runner. Where nobody reads it any more, the runner went
            before the kernel was asked, and this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not has_reader(events_fd):
        os._exit(1)


def has_reader(pipe: int) -> bool:
    """Whether somebody still reads the other end of a pipe."""
    poll = select.poll()
    poll.register(pipe, 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))
