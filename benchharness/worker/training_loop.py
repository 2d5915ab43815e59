"""Training under the core's clock: warm-up, epochs, evaluation between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median
from typing import Any

from benchharness.errors import RunError
from benchharness.measure.blocks import Block, BlockTimer, best_epoch, seconds, step_percentiles
from benchharness.measure.clock import InputTimer, PhaseClock, now_s
from benchharness.model.task import ConsumedBatches, Scores
from benchharness.model.work import Batches, Training

# Shorter epochs are recorded whole, and no step of theirs is like another.
_KINDS = 3

Metrics = dict[str, float | int | bool | str | None]


class DivergedError(RunError):
    """The loss is no longer a number."""

    status = "diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Results of one epoch, from 1; of validation None without a validation split.

    Losses and shares of training are means over the epoch, with dropout and augmentation.
    """

    epoch: int
    train_s: float
    train_loss: float
    train_top1: float
    train_right: int | None = None
    validation_loss: float | None = None
    validation_top1: float | None = None
    validation_right: int | None = None
    blocks: tuple[Block, ...] = ()


def _columns(split: str, scores: Scores) -> dict[str, Any]:
    """Return scores by column; the share in float64 whatever the plugin computes means in."""
    share = scores.top1 if scores.right is None else scores.right / scores.count
    columns = {"loss": scores.loss, "top1": share, "right": scores.right}
    return {f"{split}_{name}": value for name, value in columns.items()}


@dataclass(slots=True, kw_only=True)
class TrainingLoop:
    """One training and its measurements.

    Attributes:
        validation: Batches to score after each epoch; empty for none.
        on_epoch: Called with each epoch as it ends.
        on_consumed: Called after each epoch with its number, from 1, and what the backend recorded.
        on_counts: Called after each epoch with its number and the work that the backend reports:
            ``steps`` handed over, ``images trained on`` and ``images validated``.
        on_timing: Called when timed work begins (True) and when it ends or is interrupted (False).
        on_edge: Called between two blocks of steps, off the clock, with the epoch's number and its
            blocks so far.
        before_epoch: Called before each epoch, off the clock: another worker may be at work until
            it returns.
        images: Training images seen so far.
        waited_s: Training seconds spent in getting batches; None where that cannot be seen.
        evaluation_s: Seconds to evaluate an image, of the fastest epoch; None without validation.
        warm_steps_s: Seconds of the first and the second step of the warm-up.
    """

    training: Training
    clock: PhaseClock
    validation: Batches
    on_epoch: Callable[[Epoch], None]
    on_consumed: Callable[[int, ConsumedBatches], None] | None = None
    on_counts: Callable[[int, Mapping[str, int]], None] = lambda epoch, counts: None
    on_timing: Callable[[bool], None] = lambda is_timed: None
    on_edge: Callable[[int, Sequence[Block]], None] = lambda epoch, blocks: None
    before_epoch: Callable[[], None] = lambda: None
    epochs: list[Epoch] = field(default_factory=list)
    images: int = 0
    waited_s: float | None = None
    evaluation_s: float | None = None
    warm_steps_s: tuple[float, float] = (0.0, 0.0)

    @property
    def train_s(self) -> float:
        """Training seconds of all epochs so far."""
        return sum(epoch.train_s for epoch in self.epochs)

    def warm_up(
        self,
        epochs: Sequence[Batches],
        *,
        warm: Callable[[Callable[[], None]], None] = lambda work: None,
    ) -> None:
        """Compile everything on short epochs of real batches, then forget what was learnt.

        ``warm`` repeats work, once everything is compiled, until the device is warm.
        """
        edges_s = [now_s()]

        def after_step() -> None:
            self.training.synchronize()
            edges_s.append(now_s())

        def train(batches: Batches) -> None:
            self.training.train([batches], after_step=after_step, after_epoch=lambda scores: None)

        for batches in epochs:
            train(batches)
        first, second, third = [*edges_s, edges_s[-1], edges_s[-1]][:3]
        self.warm_steps_s = second - first, third - second
        warm(lambda: train(epochs[0]))
        if self.validation:
            # The last batch may be smaller, and another program.
            self.training.evaluate(warmup_batches(self.validation))
        self.training.reset()
        self.training.synchronize()

    def run(self, epochs: Sequence[Batches]) -> None:
        """Train, timing the training and nothing else.

        Raises:
            DivergedError: The loss of an epoch is not finite.
        """
        timer = BlockTimer(
            synchronize=self.training.synchronize,
            now=now_s,
            on_edge=lambda blocks: self.on_edge(len(self.epochs) + 1, blocks),
        )
        input_timer = InputTimer(now=now_s)
        steps = len(epochs[0])

        def after_epoch(scores: Scores) -> None:
            self._end_epoch(scores, timer.stop())
            begin()

        def begin() -> None:
            if len(self.epochs) < len(epochs):
                with self._paused():
                    self.before_epoch()
            timer.start(steps=steps)

        self.on_timing(True)
        begin()
        self.training.train(
            input_timer.epochs(epochs), after_step=timer.step, after_epoch=after_epoch
        )
        self.on_timing(False)
        self.waited_s = input_timer.waited_s

    def _end_epoch(self, scores: Scores, blocks: Sequence[Block]) -> None:
        number = len(self.epochs) + 1
        if not math.isfinite(scores.loss):
            raise DivergedError(
                f"epoch {number}: the training loss is {scores.loss}; try a smaller learning rate"
            )
        columns, validated = _columns("train", scores), 0
        if self.on_consumed is not None:
            with self._paused():
                self.on_consumed(number, self.training.consumed())
        if self.validation:
            with self._paused(), self.clock.phase("evaluate"):
                began_s = now_s()
                validation = self.training.evaluate(self.validation)
                validated = validation.count
                image_s = (now_s() - began_s) / validated
            self.evaluation_s = min(image_s, self.evaluation_s or image_s)
            columns |= _columns("validation", validation)
        counts = {
            "steps": sum(block.steps for block in blocks),
            "images trained on": scores.count,
            "images validated": validated,
        }
        self.on_counts(number, counts)
        epoch = Epoch(epoch=number, train_s=seconds(blocks), blocks=tuple(blocks), **columns)
        self.images += scores.count
        self.epochs.append(epoch)
        self.on_epoch(epoch)

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self.on_timing(False)
        yield
        self.on_timing(True)


def warmup_batches(batches: Batches) -> Batches:
    """Return the first and the last batch, for warming up.

    The last one may be smaller; to a tracing framework that is another program.
    """
    first, last = batches[0], batches[len(batches) - 1]
    return [first] if len(first) == len(last) else [first, last]


def warmup_epochs(batches: Batches) -> Sequence[Batches]:
    """Return short epochs that take every kind of step of an epoch, for warming up.

    An epoch's first step is recorded and its second is not; the last one is recorded, and its
    batch may be smaller. To a compiling framework each may be another program.
    """
    first, last = batches[0], batches[len(batches) - 1]
    if len(batches) < _KINDS:
        return [list(batches)]
    return [[first, batches[1]], *([[last]] if len(last) != len(first) else [])]


def training_metrics(
    loop: TrainingLoop, *, target_top1: float | None, is_waiting_known: bool = True
) -> Metrics:
    """Return the columns that follow from the epochs of a training.

    A backend that loads files waits for them where it cannot be measured.
    """
    epochs, last = loop.epochs, loop.epochs[-1]
    validated = [epoch for epoch in epochs if epoch.validation_top1 is not None]
    best = max(validated, key=lambda epoch: epoch.validation_top1 or 0.0, default=None)
    waited_s = loop.waited_s if is_waiting_known else None
    return {
        "train_images_per_s": loop.images / loop.train_s,
        "epoch_s": median(epoch.train_s for epoch in epochs),
        "best_epoch_s": best_epoch([epoch.blocks for epoch in epochs]),
        "train_s": loop.train_s,
        **step_percentiles([block for epoch in epochs for block in epoch.blocks]),
        "input_wait_fraction": None if waited_s is None else waited_s / loop.train_s,
        "train_loss": last.train_loss,
        "train_top1": last.train_top1,
        "validation_loss": last.validation_loss,
        "validation_top1": last.validation_top1,
        "validation_right": last.validation_right,
        "best_validation_top1": best.validation_top1 if best else None,
        "best_epoch": best.epoch if best else None,
        "time_to_top1_s": time_to_top1(validated, target_top1),
    }


def time_to_top1(epochs: list[Epoch], target_top1: float | None) -> float | None:
    """Return the training seconds until validation reaches the target; None if it never does."""
    for elapsed_s, epoch in zip(accumulate(epoch.train_s for epoch in epochs), epochs, strict=True):
        if target_top1 is not None and (epoch.validation_top1 or 0.0) >= target_top1:
            return elapsed_s
    return None
