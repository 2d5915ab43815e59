"""The one clock: phases that add up, and epochs whose evaluation does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Comparable between the runner and its workers: the kernel counts it from boot.
now_s: Callable[[], float] = time.monotonic


class PhaseClock:
    """Shares the wall time of a trial out among named phases.

    Phases may be nested; each second belongs to the innermost one, so they never add up to more
    than the wall time.

    Args:
        started_s: Reading of ``now`` at which the trial began.
        now: Monotonic clock in seconds.
        on_phase: Told which phase is entered. The time that takes belongs to the phase around it,
            or to itself where there is none.
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
        self._started_s = started_s
        self._changed_s = started_s
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

    def other_s(self) -> float:
        """Return the seconds that no phase has claimed."""
        return self.wall_s() - sum(self.seconds.values())

    def _credit(self) -> None:
        now = self._now()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._changed_s
        self._changed_s = now
