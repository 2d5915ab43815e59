"""Training under the core's clock: warm-up, epochs, evaluation between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from benchharness.errors import RunError
from benchharness.measure.blocks import Block, BlockTimer, seconds
from benchharness.measure.clock import InputTimer, PhaseClock, now_s
from benchharness.model.task import ConsumedBatches, Scores
from benchharness.model.work import Batches, Training


class DivergedError(RunError):
    """The loss is no longer a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        epoch: From 1.
        train_s: Seconds of its training alone, those of its blocks.
        train_loss: Mean over the epoch, with dropout and augmentation as trained.
        train_top1: Likewise; right guesses over images.
        train_right: Right guesses.
        validation_loss: None without a validation split.
        validation_top1: Likewise.
        validation_right: Likewise.
        blocks: The stretches of steps that were timed.
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

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON-able values; each block as ``[steps, seconds]``."""
        return asdict(self) | {"blocks": [[block.steps, block.seconds] for block in self.blocks]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Steps and images of one epoch, as counted.

    Attributes:
        epoch: From 1.
        steps: Handed to the device.
        images: Whose losses are in the scores of training.
        validated: Images in the scores of validation.
    """

    epoch: int
    steps: int
    images: int
    validated: int


@dataclass(slots=True, kw_only=True)
class TrainingLoop:
    """One training, watched.

    Attributes:
        training: The plugin's work.
        clock: Phases of the trial.
        validation: Batches to score after each epoch; empty for none.
        on_epoch: Told of each epoch as it ends.
        on_consumed: Told after each epoch, counted from 1, what the backend wrote down of it.
        on_count: Told after each epoch how much work the backend says it has done.
        on_timing: Told when timed work begins (True) and when it ends or is interrupted (False).
        on_edge: Told between two blocks of steps, off the clock, which epoch it is and its blocks
            so far.
        on_turn: Called before each epoch, off the clock: another worker may be at work until it
            returns.
        epochs: What has been recorded so far.
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
    on_count: Callable[[Count], None] = lambda count: None
    on_timing: Callable[[bool], None] = lambda is_timed: None
    on_edge: Callable[[int, Sequence[Block]], None] = lambda epoch, blocks: None
    on_turn: Callable[[], None] = lambda: None
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

        Args:
            warm: Repeats work, once everything is compiled, until the device is warm.
        """
        edges_s = [now_s()]

        def after_step() -> None:
            self.training.synchronize()
            edges_s.append(now_s())

        for batches in epochs:
            self.training.train([batches], after_step=after_step, after_epoch=_ignore)
        first, second, third = [*edges_s, edges_s[-1], edges_s[-1]][:3]
        warm(lambda: self.training.train(epochs[:1], after_step=after_step, after_epoch=_ignore))
        self.warm_steps_s = second - first, third - second
        if self.validation:
            self.training.evaluate([self.validation[0]])
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
        watch = InputTimer(now=now_s)
        steps = len(epochs[0])

        def after_epoch(scores: Scores) -> None:
            self._record(scores, timer.stop())
            begin()

        def begin() -> None:
            if len(self.epochs) < len(epochs):
                with self._paused():
                    self.on_turn()
            timer.start(steps=steps)

        self.on_timing(True)
        begin()
        self.training.train(watch.epochs(epochs), after_step=timer.step, after_epoch=after_epoch)
        self.on_timing(False)
        self.waited_s = watch.waited_s

    def _record(self, scores: Scores, blocks: Sequence[Block]) -> None:
        number = len(self.epochs) + 1
        if not math.isfinite(scores.loss):
            raise DivergedError(
                f"epoch {number}: the training loss is {scores.loss}; try a smaller learning rate"
            )
        if self.on_consumed is not None:
            with self._paused():
                self.on_consumed(number, self.training.consumed())
        held_out = self._validate()
        self.on_count(
            Count(
                epoch=number,
                steps=sum(block.steps for block in blocks),
                images=scores.count,
                validated=held_out.count if held_out else 0,
            )
        )
        epoch = Epoch(
            epoch=number,
            train_s=seconds(blocks),
            train_loss=scores.loss,
            train_top1=_share(scores),
            train_right=scores.right,
            validation_loss=held_out.loss if held_out else None,
            validation_top1=_share(held_out) if held_out else None,
            validation_right=held_out.right if held_out else None,
            blocks=tuple(blocks),
        )
        self.images += scores.count
        self.epochs.append(epoch)
        self.on_epoch(epoch)

    def _validate(self) -> Scores | None:
        if not self.validation:
            return None
        with self._paused(), self.clock.phase("evaluate"):
            began_s = now_s()
            scores = self.training.evaluate(self.validation)
            took_s = (now_s() - began_s) / scores.count
        self.evaluation_s = min(took_s, self.evaluation_s or took_s)
        return scores

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self.on_timing(False)
        yield
        self.on_timing(True)


def _share(scores: Scores) -> float:
    """Return right guesses over images, in float64 whatever the plugin computes means in."""
    return scores.top1 if scores.right is None else scores.right / scores.count


def _ignore(scores: Scores) -> None:
    """After an epoch of no interest."""
