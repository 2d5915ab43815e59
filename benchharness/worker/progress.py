"""Channel to the runner: events, progress while a phase lasts, and pauses between epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from benchharness.measure.blocks import Block, seconds
from benchharness.measure.clock import PhaseClock, now_s

if TYPE_CHECKING:
    from benchharness.worker.context import TrialContext

# Often enough to watch; a message takes the worker 4 to 20 microseconds, which no clock sees.
EVERY_S = 1.0
# The event of a worker that waits to be resumed.
YIELD: Final = "yield"

Emit = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A job's connection to the runner.

    Attributes:
        emit: Sends an event, JSON-able.
        clock: Started where the runner spawned this process.
        resume_fd: Descriptor on which the runner answers a pause; None where it never pauses.
        metrics: Columns of the result, filled as they become known, so that a job that fails
            leaves those.
    """

    emit: Emit
    clock: PhaseClock
    resume_fd: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochBarrier:
    """Waits before each epoch, on no clock, while another worker is at work.

    Attributes:
        resume_fd: Descriptor on which the runner answers; None where nothing is waited for.
    """

    clock: PhaseClock
    emit: Emit
    resume_fd: int | None = None

    def wait(self) -> None:
        """Tell the runner that another worker may continue, and wait to be resumed."""
        if self.resume_fd is None:
            return
        with self.clock.standstill():
            self.emit({"event": YIELD})
            os.read(self.resume_fd, 1)


@dataclass(slots=True, kw_only=True)
class ProgressReporter:
    """Reports how many images of a phase are done, once a second at most and off its clock.

    Attributes:
        images: In all, of an epoch or of the phase.
        batch_size: Of every batch but the last.
        now: Monotonic clock in seconds.
    """

    emit: Emit
    phase: str
    images: int
    batch_size: int
    now: Callable[[], float] = now_s
    _reported_s: float | None = None

    @classmethod
    def of(cls, context: TrialContext, *, phase: str, images: int) -> Self:
        """Return the reporter of a trial's phase."""
        return cls(
            emit=context.emit, phase=phase, images=images, batch_size=context.settings.batch_size
        )

    def is_due(self) -> bool:
        """Whether a second has passed since the first question, or since the last yes."""
        now = self.now()
        if self._reported_s is None:
            self._reported_s = now
        if now - self._reported_s < EVERY_S:
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
