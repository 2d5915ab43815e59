"""The contract's part on what was consumed: a backend writes down what it really works on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchharness.api import Backend, Batch, Consumed, Execution, Scores, Task
from benchharness.model.network import Shape
from benchharness.testing.compare import (
    FINGERPRINTS,
    WEIGHTS,
    assert_equal,
    assert_near_in_norm,
    assert_near_largest,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.refusal import Contract
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

# The last batch has fewer images than the witness takes, and the first is soon forgotten.
SIZES = (6, 6, 5, 2)
WITNESS = make_witness(images=4, steps=3)


class WitnessContract(Contract):
    """With a witness, the last steps' images and labels can be told; without, nothing is."""

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_what_is_consumed_is_told(
        self, backend: Backend, execution: Execution, kind: str, is_augmented: bool
    ) -> None:
        """Of the last steps in order: the images the network saw, and the labels of the loss."""
        task = _task(kind, execution, is_augmented=is_augmented)
        batches = make_batches(sizes=SIZES, is_augmented=is_augmented)

        found = _consumed(backend, kind, task, batches)

        _assert_consumed(found, _expected(kind, task, batches))
        assert_equal(found.labels.tolist(), _labels(batches[-3:]), what="labels")

    @pytest.mark.parametrize("shape", [(7,), (4, 3, 5)], ids=["flat", "maps"])
    def test_consumed_features_are_told(
        self, backend: Backend, execution: Execution, shape: Shape
    ) -> None:
        """Features enter the network as they come, and are written down so."""
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
        """No step is told before the first, and after a reset none from before it."""
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
        """Asked after each epoch, whatever was evaluated, a backend tells the steps so far."""
        task = _task("train", execution)
        epochs = [make_batches(sizes=(6, 5), seed=seed) for seed in (1, 2)]
        training = backend.train(task)
        found: list[Consumed] = []

        def after_epoch(scores: Scores) -> None:
            training.evaluate(make_batches(sizes=(3,), seed=3))
            training.logits(make_batches(sizes=(3,), seed=4)[0])
            found.append(training.consumed())

        training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)

        _assert_consumed(found[0], _expected("train", task, epochs[0]))
        _assert_consumed(found[1], _expected("train", task, [*epochs[0], *epochs[1]]))

    def test_being_witnessed_changes_no_number(
        self, backend: Backend, execution: Execution
    ) -> None:
        """With dropout and augmentation, training ends where it ends unwitnessed."""
        task = make_task(small_cnn(dropout=0.5), is_augmented=True, execution=execution)
        batches = make_batches(sizes=SIZES, is_augmented=True)
        # One after the other: dropout's random numbers may be the whole process's.
        plain = backend.train(task)
        learn(plain, batches)

        witnessed = backend.train(replace(task, witness=WITNESS))
        learn(witnessed, batches)

        expected = plain.weights()
        assert_near_in_norm(witnessed.weights(), expected, tolerance=WEIGHTS, what="weights")

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_without_a_witness_nothing_is_told(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """Asking all the same is an error, not an empty answer."""
        task = replace(_task(kind, execution), witness=None)

        with pytest.raises(ValueError, match="witness"):
            _consumed(backend, kind, task, make_batches())


def _task(kind: str, execution: Execution, *, is_augmented: bool = False) -> Task:
    return make_task(
        make_network() if kind == "feed" else small_cnn(),
        optimizer=None if kind == "feed" else make_task(small_cnn()).optimizer,
        preprocessing=make_preprocessing("caffe_bgr"),
        is_augmented=is_augmented,
        execution=execution,
        witness=WITNESS,
    )


def _consumed(backend: Backend, kind: str, task: Task, batches: list[Batch]) -> Consumed:
    if kind == "feed":
        feeding = backend.feed(task)
        feeding.feed(batches, after_step=lambda: None)
        return feeding.consumed()
    training = backend.train(task)
    learn(training, batches)
    return training.consumed()


def _expected(kind: str, task: Task, batches: list[Batch]) -> Consumed:
    return _consumed(NumpyBackend(), kind, replace(task, execution=CPU), batches)


def _labels(batches: list[Batch]) -> list[list[int]]:
    """Return the first labels of each batch, beginning again where it has fewer."""
    return [[int(batch.labels[i % len(batch)]) for i in range(4)] for batch in batches]


def _assert_consumed(found: Consumed, expected: Consumed) -> None:
    assert_equal(found.labels.tolist(), expected.labels.tolist(), what="labels consumed")
    assert_equal(str(found.labels.dtype), "int32", what="dtype of labels")
    assert_near_largest(
        found.fingerprints, expected.fingerprints, tolerance=FINGERPRINTS, what="fingerprints"
    )
