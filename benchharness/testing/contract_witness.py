"""Contract's part on the record: a backend records the batches that it really consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchharness.api import Backend, Batch, ConsumedBatches, Execution, Scores, Task
from benchharness.model.network import Shape
from benchharness.testing.compare import (
    FINGERPRINTS,
    WEIGHTS,
    assert_equal,
    assert_near_in_norm,
    assert_near_largest,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import (
    CPU,
    learn,
    linear,
    make_batches,
    make_network,
    make_preprocessing,
    make_task,
    make_witness,
    small_cnn,
)

# The last batch has fewer images than the witness takes.
SIZES = (6, 6, 5, 2)
# Of such an epoch: all steps, some with and some without the ends, and positions beyond its end.
POSITIONS = {
    "all": (0, 1, 2, 3),
    "some": (0, 2, 3),
    "inner": (1, 2),
    "beyond": (2, 4, 63),
}
WITNESS = make_witness(images=4, steps=POSITIONS["some"])


class WitnessContract(Contract):
    """With a witness, the sampled steps of the last epoch are recorded; without, nothing is."""

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_what_is_consumed_is_told(
        self, backend: Backend, execution: Execution, kind: str, is_augmented: bool
    ) -> None:
        """Every step in order: the images the network saw, and the labels of the loss."""
        task = _task(kind, execution, positions=POSITIONS["all"], is_augmented=is_augmented)
        batches = make_batches(sizes=SIZES, is_augmented=is_augmented)

        found = _consumed(backend, kind, task, batches)

        _assert_consumed(found, _expected(kind, task, batches))
        assert_equal(found.labels.tolist(), _labels(batches), what="labels")

    @pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_sampled_steps_alone_are_recorded(
        self, backend: Backend, execution: Execution, kind: str, positions: tuple[int, ...]
    ) -> None:
        """A row for each sampled position within the epoch, in order, and for no other step."""
        task = _task(kind, execution, positions=positions)
        batches = make_batches(sizes=SIZES)

        found = _consumed(backend, kind, task, batches)

        sampled = [batches[position] for position in positions if position < len(batches)]
        assert_equal(len(found.labels), len(sampled), what="recorded steps")
        assert_equal(found.labels.tolist(), _labels(sampled), what="labels")
        _assert_consumed(found, _expected(kind, task, batches))

    @pytest.mark.parametrize("shape", [(7,), (4, 3, 5)], ids=["flat", "maps"])
    def test_consumed_features_are_told(
        self, backend: Backend, execution: Execution, shape: Shape
    ) -> None:
        """Features enter the network as they come, and are recorded so."""
        task = make_task(
            linear(input_shape=shape),
            preprocessing=None,
            execution=execution,
            witness=make_witness(shape=shape),
        )
        batches = make_batches(shape=shape, is_features=True)

        found = _consumed(backend, "train", task, batches)

        _assert_consumed(found, _expected("train", task, batches))

    def test_only_steps_since_the_reset_are_told(
        self, backend: Backend, execution: Execution
    ) -> None:
        """No step is recorded before the first, and after a reset none from before it."""
        task = _task("train", execution)
        batches = make_batches(sizes=(6, 6))
        training = backend.train(task)
        before = training.consumed()
        learn(training, batches)

        training.reset()

        assert_equal(before.labels.shape, (0, 4), what="shape of no labels")
        assert_equal(training.consumed().fingerprints.shape, (0, 4), what="shape after reset")
        learn(training, batches[1:])
        _assert_consumed(training.consumed(), _expected("train", task, batches[1:]))

    def test_steps_are_told_between_epochs(self, backend: Backend, execution: Execution) -> None:
        """Asked after each epoch, whatever was evaluated, a backend gives that epoch's record."""
        task = _task("train", execution)
        epochs = [make_batches(sizes=(6, 6, 5), seed=seed) for seed in (1, 2)]
        training = backend.train(task)
        found: list[ConsumedBatches] = []

        def after_epoch(scores: Scores) -> None:
            training.evaluate(make_batches(sizes=(3,), seed=3))
            training.logits(make_batches(sizes=(3,), seed=4)[0])
            found.append(training.consumed())

        training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)

        for consumed, epoch in zip(found, epochs, strict=True):
            _assert_consumed(consumed, _expected("train", task, epoch))

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_only_the_last_epoch_is_recorded(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """Asked once, after two calls of which the second is shorter, only that is recorded."""
        task = _task(kind, execution)
        first, second = make_batches(sizes=SIZES, seed=1), make_batches(sizes=(6, 6, 6), seed=2)

        found = _consumed(backend, kind, task, first, second)

        _assert_consumed(found, _expected(kind, task, second))

    def test_being_witnessed_changes_no_number(
        self, backend: Backend, execution: Execution
    ) -> None:
        """With dropout and augmentation, training ends where it ends unwitnessed."""
        task = make_task(small_cnn(dropout=0.5), is_augmented=True, execution=execution)
        batches = make_batches(sizes=SIZES, is_augmented=True)
        # One after the other: dropout's random numbers may be the whole process's.
        plain = backend.train(task)
        learn(plain, batches)

        with_fingerprints = backend.train(replace(task, witness=WITNESS))
        learn(with_fingerprints, batches)

        expected = plain.weights()
        assert_near_in_norm(
            with_fingerprints.weights(), expected, tolerance=WEIGHTS, what="weights"
        )

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_without_a_witness_nothing_is_told(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """Asking all the same is an error, not an empty answer."""
        task = replace(_task(kind, execution), witness=None)

        with pytest.raises(ValueError, match="witness"):
            _consumed(backend, kind, task, make_batches())


def _task(
    kind: str,
    execution: Execution,
    *,
    positions: Sequence[int] = POSITIONS["some"],
    is_augmented: bool = False,
) -> Task:
    return make_task(
        make_network() if kind == "feed" else small_cnn(),
        optimizer=None if kind == "feed" else make_task(small_cnn()).optimizer,
        preprocessing=make_preprocessing("caffe_bgr"),
        is_augmented=is_augmented,
        execution=execution,
        witness=make_witness(images=4, steps=positions),
    )


def _consumed(backend: Backend, kind: str, task: Task, *epochs: list[Batch]) -> ConsumedBatches:
    """Return the record after some epochs, each in a call of its own."""
    if kind == "feed":
        feeding = backend.feed(task)
        for batches in epochs:
            feeding.feed(batches, after_step=lambda: None)
        return feeding.consumed()
    training = backend.train(task)
    for batches in epochs:
        learn(training, batches)
    return training.consumed()


def _expected(kind: str, task: Task, batches: list[Batch]) -> ConsumedBatches:
    return _consumed(NumpyBackend(), kind, replace(task, execution=CPU), batches)


def _labels(batches: list[Batch]) -> list[list[int]]:
    """Return the first labels of each batch, starting over where it has fewer."""
    return [[int(batch.labels[i % len(batch)]) for i in range(4)] for batch in batches]


def _assert_consumed(found: ConsumedBatches, expected: ConsumedBatches) -> None:
    assert_equal(found.labels.tolist(), expected.labels.tolist(), what="labels consumed")
    assert_equal(str(found.labels.dtype), "int32", what="dtype of labels")
    assert_near_largest(
        found.fingerprints, expected.fingerprints, tolerance=FINGERPRINTS, what="fingerprints"
    )
