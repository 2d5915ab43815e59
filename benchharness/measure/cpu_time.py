"""Processor time: what work takes of the cores, however long it had to wait for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A thread that did less than this share of the busiest one's work did not share it.
SHARED = 0.25


def thread_seconds() -> Mapping[int, float]:
    """Return the processor seconds of each thread of this process, by its id."""
    import psutil

    return {
        thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()
    }


def others_seconds() -> float:
    """Return the processor seconds that the cores we may use have spent on other processes.

    Since the machine started; a difference of two is of use. This process and its descendants are
    left out, those that have ended too. In a container the cores are the host's, and so are those
    other processes.
    """
    import psutil

    cores = psutil.cpu_times(percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    # Guests are part of user time; what a hypervisor took is no process of this machine.
    kinds = ("user", "nice", "system", "irq", "softirq")
    busy_s = sum(
        getattr(cores[core], kind, 0.0) for core in usable if core < len(cores) for kind in kinds
    )
    root = psutil.Process()
    return busy_s - sum(map(_spent_s, [root, *root.children(recursive=True)]))


def _spent_s(process: Any) -> float:
    """Return the processor seconds of a process and of those children that have ended."""
    import psutil

    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


@dataclass(slots=True, kw_only=True)
class CpuTimer:
    """Adds up the processor seconds of this process while something is timed.

    Attributes:
        now: Processor seconds of all threads of this process, in user and in system mode.
        threads_now: Processor seconds of each thread, by its id.
        seconds: So far, of what has been timed.
        threads: So far, of each thread.
    """

    now: Callable[[], float] = time.process_time
    threads_now: Callable[[], Mapping[int, float]] = thread_seconds
    seconds: float = 0.0
    threads: dict[int, float] = field(default_factory=dict)
    _began: tuple[float, Mapping[int, float]] | None = field(default=None)

    def turn(self, is_timed: bool) -> None:
        """Take note that timed work begins, or ends or is interrupted."""
        now_s, threads_s = self.now(), self.threads_now()
        if self._began is not None:
            began_s, earlier_s = self._began
            self.seconds += now_s - began_s
            for thread, seconds in threads_s.items():
                spent_s = seconds - earlier_s.get(thread, 0.0)
                self.threads[thread] = self.threads.get(thread, 0.0) + spent_s
        self._began = (now_s, threads_s) if is_timed else None

    @property
    def sharing(self) -> int:
        """Number of threads that did the timed work, each a fair part of it."""
        busiest_s = max(self.threads.values(), default=0.0)
        return sum(seconds > SHARED * busiest_s for seconds in self.threads.values())
