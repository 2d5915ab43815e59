"""Clocks of a trial: phases that add up, processor time, and time spent waiting for input."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from benchharness.model.task import Batch

Item = TypeVar("Item")

# Comparable between the runner and its workers: the kernel counts it from boot.
now_s: Callable[[], float] = time.monotonic
# A thread that did less than this share of the busiest one's work did not share it.
_SHARED = 0.25


class PhaseClock:
    """Shares the wall time of a trial out among named phases.

    Phases may be nested; each second belongs to the innermost one, so they never add up to more
    than the wall time.

    Args:
        started_s: Reading of ``now`` at which the trial began.
        on_phase: Called with the phase that is entered. The time that takes belongs to the phase
            around it, or to itself where there is none.
    """

    def __init__(
        self,
        *,
        started_s: float,
        now: Callable[[], float] = now_s,
        on_phase: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._now = now
        self._on_phase = on_phase
        self._started_s = self._changed_s = started_s
        self._stack: list[str] = []
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block towards ``name``."""
        is_inner = bool(self._stack)
        if is_inner:
            self._on_phase(name)
        self._credit()
        self._stack.append(name)
        self.seconds.setdefault(name, 0.0)
        if not is_inner:
            self._on_phase(name)
        try:
            yield
        finally:
            self._credit()
            self._stack.pop()

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """Count the time inside the block nowhere, as if it had not passed."""
        self._credit()
        stopped_s = self._now()
        try:
            yield
        finally:
            self._changed_s = self._now()
            self._started_s += self._changed_s - stopped_s

    def keep(self, name: str, seconds: float, *, rest: str) -> None:
        """Leave a phase so many of its seconds, and count the rest of them towards another."""
        self.seconds[rest] = self.seconds.get(rest, 0.0) + self.seconds[name] - seconds
        self.seconds[name] = seconds

    def drop(self, name: str, *, rest: str) -> None:
        """Count all seconds of a phase towards another."""
        self.keep(name, 0.0, rest=rest)
        del self.seconds[name]

    def wall_s(self) -> float:
        """Return the seconds since the trial began."""
        return self._now() - self._started_s

    def other_s(self, wall_s: float) -> float:
        """Return the seconds of ``wall_s`` that no phase has claimed."""
        return wall_s - sum(self.seconds.values())

    def _credit(self) -> None:
        now = self._now()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._changed_s
        self._changed_s = now


def affinity() -> list[int]:
    """Return the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def set_affinity(threads: int) -> None:
    """Keep this process to so many of its cores, 0 for all; every framework counts those."""
    if threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, affinity()[:threads])


def others_seconds() -> float:
    """Return the processor seconds that the cores we may use have spent on other processes.

    Since the machine started; use the difference of two readings. This process and its descendants
    are left out, also those that have ended. In a container the cores are the host's, and so are
    those other processes.
    """
    cores = psutil.cpu_times(percpu=True)
    # Guests are part of user time; what a hypervisor took is no process of this machine.
    kinds = ("user", "nice", "system", "irq", "softirq")
    usable = [cores[core] for core in affinity() if core < len(cores)]
    seconds = float(sum(getattr(core, kind, 0.0) for core in usable for kind in kinds))
    root = psutil.Process()
    for process in [root, *root.children(recursive=True)]:
        # Its own and those of its children that have ended.
        with suppress(psutil.Error):
            seconds -= sum(process.cpu_times()[:4])
    return seconds


def _thread_seconds() -> Mapping[int, float]:
    threads = psutil.Process().threads()
    return {thread.id: thread.user_time + thread.system_time for thread in threads}


@dataclass(slots=True, kw_only=True)
class CpuTimer:
    """Adds up the processor seconds, in user and system mode, of this process and its threads.

    Only while something is timed; ``threads`` are by id.
    """

    now: Callable[[], float] = time.process_time
    threads_now: Callable[[], Mapping[int, float]] = _thread_seconds
    seconds: float = 0.0
    threads: dict[int, float] = field(default_factory=dict)
    _began: tuple[float, Mapping[int, float]] | None = None

    def start(self) -> None:
        """Begin to count, where it does not count already."""
        if self._began is None:
            self._began = self.now(), self.threads_now()

    def stop(self) -> None:
        """Add what was used since the start, if there was one."""
        if self._began is None:
            return
        began_s, earlier_s = self._began
        self.seconds += self.now() - began_s
        for thread, seconds in self.threads_now().items():
            spent_s = seconds - earlier_s.get(thread, 0.0)
            self.threads[thread] = self.threads.get(thread, 0.0) + spent_s
        self._began = None

    @property
    def sharing(self) -> int:
        """Number of threads that did the timed work, each a fair part of it."""
        busiest_s = max(self.threads.values(), default=0.0)
        return sum(seconds > _SHARED * busiest_s for seconds in self.threads.values())


class InputTimer:
    """Adds up the time that the thread which made it spends in getting batches."""

    def __init__(self, *, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._thread = threading.get_ident()
        self._waited_s = 0.0
        self._is_foreign = False

    @property
    def waited_s(self) -> float | None:
        """Seconds spent in getting batches; None where other threads did it, which hides it."""
        return None if self._is_foreign else self._waited_s

    def epochs(self, epochs: Sequence[Sequence[Batch]]) -> Sequence[Sequence[Batch]]:
        """Return the epochs with the getting of their batches, and of their order, timed."""
        return _TimedSequence(epochs, lambda get: _TimedSequence(self._timed(get), self._timed))

    def _timed(self, get: Callable[[], Item]) -> Item:
        if threading.get_ident() != self._thread:
            self._is_foreign = True
            return get()
        began_s = self._now()
        try:
            return get()
        finally:
            self._waited_s += self._now() - began_s


class _TimedSequence(Sequence[Item]):
    """A sequence that passes on how an item is got, instead of getting it."""

    def __init__(
        self, items: Sequence[Item], receive: Callable[[Callable[[], Item]], Item]
    ) -> None:
        self._items = items
        self._receive = receive

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._receive(lambda: self._items[index])
