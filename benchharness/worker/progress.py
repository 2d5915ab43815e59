"""How far a phase has come, told while it lasts and off its clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from benchharness.measure.blocks import Block, seconds
from benchharness.measure.clock import now_s
from benchharness.worker.context import Emit, TrialContext

# Often enough to watch; a message takes the worker 4 to 20 microseconds, which no clock sees.
EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class ProgressReporter:
    """Tells the runner how many images are done, once a second at most.

    Attributes:
        phase: Which one it is.
        images: In all, of an epoch or of the phase.
        batch_size: Of every batch but the last.
        now: Monotonic clock in seconds.
    """

    emit: Emit
    phase: str
    images: int
    batch_size: int
    now: Callable[[], float] = now_s
    _told_s: float | None = None

    @classmethod
    def of(cls, scene: TrialContext, *, phase: str, images: int) -> Self:
        """Return what tells of a trial's phase."""
        return cls(
            emit=scene.emit, phase=phase, images=images, batch_size=scene.settings.batch_size
        )

    def is_due(self) -> bool:
        """Whether a second has passed since the first question, or since the last yes."""
        now = self.now()
        if self._told_s is None:
            self._told_s = now
        if now - self._told_s < EVERY_S:
            return False
        self._told_s = now
        return True

    def tell(self, *, done: int, timed_s: float, epoch: int | None = None) -> None:
        """Tell how many images are done, and in how many timed seconds."""
        self.emit(
            {
                "event": "advance",
                "phase": self.phase,
                "epoch": epoch,
                "done": done,
                "images": self.images,
                "seconds": timed_s,
            }
        )

    def at_edge(self, epoch: int, blocks: Sequence[Block]) -> None:
        """Tell between two blocks of an epoch how far it has come, when that is due."""
        if self.is_due():
            steps = sum(block.steps for block in blocks)
            done = min(steps * self.batch_size, self.images)
            self.tell(done=done, timed_s=seconds(blocks), epoch=epoch)
