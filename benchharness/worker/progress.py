"""Channel to the runner: events, progress while a phase lasts, and pauses between epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchharness.measure.blocks import Block, seconds
from benchharness.measure.clock import PhaseClock, now_s

# Often enough to watch; a message takes the worker 4 to 20 microseconds, which no clock sees.
_EVERY_S = 1.0
# The event of a worker that waits to be resumed.
YIELD: Final = "yield"

Emit = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A job's connection to the runner.

    Attributes:
        emit: Sends an event, JSON-able.
        resume_fd: Descriptor on which the runner answers a pause; None where it never pauses.
        metrics: Columns of the result, filled as they become known, so that a job that fails
            leaves those.
    """

    emit: Emit
    clock: PhaseClock
    resume_fd: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    def pause(self) -> None:
        """Let the runner resume another worker, and wait, on no clock, to be resumed."""
        if self.resume_fd is not None:
            with self.clock.standstill():
                self.emit({"event": YIELD})
                os.read(self.resume_fd, 1)


@dataclass(slots=True, kw_only=True)
class ProgressReporter:
    """Reports how many of an epoch's images are done, once a second at most and off its clock."""

    emit: Emit
    phase: str
    images: int
    batch_size: int
    now: Callable[[], float] = now_s
    _reported_s: float | None = None

    def is_due(self) -> bool:
        """Whether a second has passed since the first question, or since the last yes."""
        now = self.now()
        if self._reported_s is None:
            self._reported_s = now
        if now - self._reported_s < _EVERY_S:
            return False
        self._reported_s = now
        return True

    def report(self, *, done: int, timed_s: float, epoch: int | None = None) -> None:
        """Report how many images are done, and in how many timed seconds."""
        self.emit(
            {
                "event": "progress",
                "phase": self.phase,
                "epoch": epoch,
                "done": done,
                "images": self.images,
                "seconds": timed_s,
            }
        )

    def at_edge(self, epoch: int, blocks: Sequence[Block]) -> None:
        """Report between two blocks of an epoch, when that is due."""
        if self.is_due():
            steps = sum(block.steps for block in blocks)
            done = min(steps * self.batch_size, self.images)
            self.report(done=done, timed_s=seconds(blocks), epoch=epoch)
