"""The contract's part on progress: what a backend reports, when, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    Backend,
    Batch,
    Batches,
    Execution,
    Optimizer,
    Scores,
    Training,
)
from benchharness.testing.compare import (
    WEIGHTS,
    assert_equal,
    assert_near_largest,
    assert_scores,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import CPU, make_batches, make_network, make_task, small_cnn

# The last batch is smaller, so that a mean of the batches' means is not the images' mean.
SIZES = (6, 6, 2)
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9)


class WatchedBatches(Sequence[Batch]):
    """Batches that know which of them have been read, and how often a step was reported."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._read: set[int] = set()
        self.steps = 0
        self.early: list[int] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        self._read.add(index)
        return self._batches[index]

    def after_step(self, synchronize: Callable[[], None]) -> None:
        """Count a step, and note it where its batch has not been read yet."""
        synchronize()
        if self.steps not in self._read:
            self.early.append(self.steps)
        self.steps += 1


class StepsContract(Contract):
    """Steps and epochs are reported as they happen, and what is done in between does no harm."""

    def test_training_reports_every_step_once(self, backend: Backend, execution: Execution) -> None:
        """``after_step`` comes once per batch, after that batch is read; waiting there is safe."""
        training = backend.train(make_task(small_cnn(), execution=execution))
        batches = WatchedBatches(make_batches(sizes=(6, 6, 6, 2)))

        training.train(
            [batches],
            after_step=lambda: batches.after_step(training.synchronize),
            after_epoch=lambda scores: None,
        )

        assert_equal(batches.steps, len(batches), what="reported steps")
        assert not batches.early, f"steps reported before their batch was read: {batches.early}"

    def test_an_epoch_is_reported_after_its_last_step(
        self, backend: Backend, execution: Execution
    ) -> None:
        """``after_epoch`` comes once per epoch, when all its steps and none later are reported."""
        training = backend.train(make_task(small_cnn(), execution=execution))
        events: list[str] = []

        training.train(
            [make_batches(sizes=SIZES, seed=seed) for seed in (1, 2)],
            after_step=lambda: events.append("step"),
            after_epoch=lambda scores: events.append("epoch"),
        )

        assert_equal(events, [*["step"] * 3, "epoch"] * 2, what="reports")

    def test_work_between_epochs_sees_the_weights_of_that_moment(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Evaluating and reading weights after an epoch gives its results, and disturbs nothing."""
        task = make_task(small_cnn(), optimizer=MOMENTUM, execution=execution)
        epochs = [make_batches(sizes=SIZES, seed=seed) for seed in (1, 2)]

        found = _epochs(backend.train(task), epochs)

        expected = _epochs(NumpyBackend().train(replace(task, execution=CPU)), epochs)
        for (trained, evaluated, bias), wanted in zip(found, expected, strict=True):
            assert_scores(trained, wanted[0])
            assert_scores(evaluated, wanted[1])
            assert_near_largest(bias, wanted[2], tolerance=WEIGHTS, what="bias after an epoch")

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    def test_feeding_reports_every_batch_once(
        self, backend: Backend, execution: Execution, is_augmented: bool
    ) -> None:
        """``after_step`` comes once per batch fed, the last and smaller one included."""
        task = make_task(
            make_network(), optimizer=None, is_augmented=is_augmented, execution=execution
        )
        feeding = backend.feed(task)
        batches = WatchedBatches(make_batches(sizes=SIZES, is_augmented=is_augmented))

        feeding.feed(batches, after_step=lambda: batches.after_step(feeding.synchronize))

        assert_equal(batches.steps, len(batches), what="reported steps")
        assert not batches.early, f"steps reported before their batch was read: {batches.early}"


def _epochs(
    training: Training, epochs: Sequence[Batches]
) -> list[tuple[Scores, Scores, NDArray[np.float32]]]:
    """Return for each epoch its scores, an evaluation right after it, and a bias."""
    found = []

    def after_epoch(scores: Scores) -> None:
        training.synchronize()
        evaluated = training.evaluate(make_batches(sizes=(4, 4, 4, 3), seed=3))
        found.append((scores, evaluated, training.weights()["logits/bias"]))

    training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)
    return found
