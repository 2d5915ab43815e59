"""Training under the core's clock: warm-up, epochs, evaluation between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from benchharness.errors import RunError
from benchharness.measure.clock import PhaseClock, Stopwatch, now_s
from benchharness.model.task import Scores
from benchharness.model.work import Batches, Training


class DivergedError(RunError):
    """The loss is no longer a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        epoch: From 1.
        train_s: Seconds of its training alone.
        train_loss: Mean over the epoch, with dropout and augmentation as trained.
        train_top1: Likewise.
        validation_loss: None without a validation split.
        validation_top1: Likewise.
    """

    epoch: int
    train_s: float
    train_loss: float
    train_top1: float
    validation_loss: float | None = None
    validation_top1: float | None = None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the record as JSON-able values."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class Lesson:
    """One training, watched.

    Attributes:
        training: The plugin's work.
        clock: Phases of the trial.
        validation: Batches to score after each epoch; empty for none.
        on_epoch: Told of each epoch as it ends.
        epochs: What has been recorded so far.
        images: Training images seen so far.
    """

    training: Training
    clock: PhaseClock
    validation: Batches
    on_epoch: Callable[[Epoch], None]
    epochs: list[Epoch] = field(default_factory=list)
    images: int = 0

    def warm_up(self, batches: Batches) -> None:
        """Compile everything on real batches, then forget what was learnt."""
        self.training.train([batches], after_step=_nothing, after_epoch=_ignore)
        if self.validation:
            self.training.evaluate([self.validation[0]])
        self.training.reset()
        self.training.synchronize()

    def teach(self, epochs: Sequence[Batches]) -> None:
        """Train, timing the training and nothing else.

        Raises:
            DivergedError: The loss of an epoch is not finite.
        """
        stopwatch = Stopwatch(synchronize=self.training.synchronize, now=now_s)

        def after_epoch(scores: Scores) -> None:
            self._record(scores, train_s=stopwatch.stop())
            stopwatch.start()

        stopwatch.start()
        self.training.train(epochs, after_step=_nothing, after_epoch=after_epoch)

    def _record(self, scores: Scores, *, train_s: float) -> None:
        number = len(self.epochs) + 1
        if not math.isfinite(scores.loss):
            raise DivergedError(
                f"epoch {number}: the training loss is {scores.loss}; try a smaller learning rate"
            )
        held_out = self._validate()
        epoch = Epoch(
            epoch=number,
            train_s=train_s,
            train_loss=scores.loss,
            train_top1=scores.top1,
            validation_loss=held_out.loss if held_out else None,
            validation_top1=held_out.top1 if held_out else None,
        )
        self.images += scores.count
        self.epochs.append(epoch)
        self.on_epoch(epoch)

    def _validate(self) -> Scores | None:
        if not self.validation:
            return None
        with self.clock.phase("evaluate"):
            return self.training.evaluate(self.validation)


def _nothing() -> None:
    """After a step of no interest."""


def _ignore(scores: Scores) -> None:
    """After an epoch of no interest."""
