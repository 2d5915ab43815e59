"""Clauses of the contract on weights and batches: what is learnt, and from which batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchharness.api import Backend, Batch, ConsumedBatches, Optimizer, Scores, Task
from benchharness.model.network import Shape
from benchharness.model.task import OptimizerName
from benchharness.testing.assertions import (
    FINGERPRINTS,
    LOGITS,
    REPEATED_LOSS,
    WEIGHTS,
    Clause,
    Subject,
    assert_equal,
    assert_loss,
    assert_near_in_norm,
    assert_near_largest,
    assert_other_loss,
    assert_same_arrays,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import (
    ADAM_WITH_DECAY,
    CPU,
    SGD,
    learn,
    linear,
    make_batches,
    make_fingerprint_spec,
    make_network,
    make_preprocessing,
    make_weights,
    small_cnn,
)

TRAINABLE = {
    "head": ("hidden", "logits"),
    "last": ("logits",),
    "front": ("conv_same",),
    "middle": ("conv_valid", "hidden"),
}
# The last batch has fewer images than the others, and than are recorded of a batch.
SIZES = (6, 6, 5, 2)
# Of such an epoch: all steps, some with and some without the ends, and positions beyond its end.
POSITIONS = {"all": (0, 1, 2, 3), "some": (0, 2, 3), "inner": (1, 2), "beyond": (2, 4, 63)}
AUGMENTED = pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
KINDS = pytest.mark.parametrize("kind", ["feed", "train"])
LAYERS = pytest.mark.parametrize("layers", TRAINABLE.values(), ids=TRAINABLE)


class RoundTrip(Clause, name="round_trip"):
    """Weights survive the round trip, bit for bit."""

    def test_training_starts_from_the_given_weights(self, subject: Subject) -> None:
        """Before the first step the weights are the task's, bit for bit."""
        weights = subject.train().weights()

        assert_same_arrays(weights, subject.task().weights, what="initial weights")

    def test_weights_survive_a_round_trip(self, subject: Subject) -> None:
        """What is loaded is what is read back, bit for bit."""
        training, other = subject.train(), make_weights(small_cnn(), seed=1)
        training.load_weights(other)

        assert_same_arrays(training.weights(), other, what="loaded weights")

    def test_loaded_weights_are_computed_with(self, subject: Subject) -> None:
        """Logits after loading are those of a training that began with these weights."""
        other, batch = make_weights(small_cnn(), seed=1), make_batches()[0]
        training = subject.train()
        training.logits(batch)
        expected = subject.train(weights=other).logits(batch)
        training.load_weights(other)

        assert_near_largest(training.logits(batch), expected, tolerance=LOGITS, what="logits")

    def test_weights_handed_out_do_not_change(self, subject: Subject) -> None:
        """Arrays read before a step still hold the old values after it."""
        training = subject.train()
        before = training.weights()
        learn(training, make_batches())

        assert_same_arrays(before, subject.task().weights, what="weights read before training")


class Shapes(Clause, name="shapes"):
    """Weights have canonical names, shapes and layout."""

    def test_weights_are_those_of_the_network(self, subject: Subject) -> None:
        """Names, shapes and dtypes are canonical, and no learnt array is missing or added."""
        weights = subject.train().weights()

        shapes = {name: parameter.shape for name, parameter in small_cnn().parameters().items()}
        assert_equal({n: array.shape for n, array in weights.items()}, shapes, what="weights")
        assert_equal({str(array.dtype) for array in weights.values()}, {"float32"}, what="dtype")


class Counts(Clause, name="counts"):
    """As many values learn as the network has trainable."""

    @LAYERS
    def test_trainable_count_is_that_of_the_network(
        self, subject: Subject, layers: tuple[str, ...]
    ) -> None:
        """Gradients exist for exactly the values that the network counts as trainable."""
        gradients = subject.train(trainable=layers).gradients(make_batches()[0])

        count = sum(gradient.size for gradient in gradients.values())
        what = f"trainable values in {', '.join(gradients)}"
        assert_equal(count, small_cnn().count(layers), what=what)


class Frozen(Clause, name="frozen"):
    """Frozen weights stay put, the others move."""

    @LAYERS
    def test_only_trainable_layers_move(self, subject: Subject, layers: tuple[str, ...]) -> None:
        """Frozen arrays stay bit for bit, decay or not, and every trainable one moves."""
        rule = Optimizer(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.1)
        training, before = subject.train(trainable=layers, optimizer=rule), subject.task().weights
        learn(training, make_batches())

        after = training.weights()
        moved = {name for name in after if not np.array_equal(after[name], before[name])}
        learning = {name for name in after if name.split("/")[0] in layers}
        assert_equal(moved, learning, what="arrays that moved")


class Seeds(Clause, name="seed"):
    """A seed repeats the loss, a reset starts afresh."""

    def test_a_seed_repeats_the_loss(self, subject: Subject) -> None:
        """Two trainings of one task, dropout and all, report the same losses."""
        network = small_cnn(dropout=0.5)
        runs = [learn(subject.train(network), make_batches(), make_batches()) for _ in range(2)]

        for again, first in zip(*runs, strict=True):
            assert_loss(again.loss, first.loss, tolerance=REPEATED_LOSS)

    def test_another_seed_drops_other_values(self, subject: Subject) -> None:
        """Dropout masks follow the task's seed: another one gives another loss."""
        first, second = (
            learn(subject.train(small_cnn(dropout=0.5), seed=seed), make_batches())[0]
            for seed in (1, 2)
        )

        assert_other_loss(second.loss, than=first.loss, why="the seed draws the dropout masks")

    @pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
    def test_reset_is_a_fresh_start(self, subject: Subject, name: OptimizerName) -> None:
        """After reset the weights are the initial ones, and the first epoch's loss returns."""
        training = subject.train(optimizer=Optimizer(name=name, lr=0.01, momentum=0.9))
        first = learn(training, make_batches())[0]
        training.reset()

        assert_same_arrays(training.weights(), subject.task().weights, what="weights after reset")
        again = learn(training, make_batches())[0]
        assert_loss(again.loss, first.loss, tolerance=REPEATED_LOSS)

    def test_deterministic_trainings_repeat_every_bit(self, subject: Subject) -> None:
        """Asked for determinism, two trainings, dropout and all, end at the same bits, or refuse.

        Two threads, because one adds in one order only.
        """
        task = subject.task(
            small_cnn(dropout=0.5),
            optimizer=ADAM_WITH_DECAY,
            is_augmented=True,
            execution=replace(subject.execution, is_deterministic=True, threads=2),
        )
        epochs = [make_batches(sizes=(6, 6, 2), is_augmented=True, seed=seed) for seed in (1, 2)]
        trainings = []
        for _ in range(2):
            trainings.append(subject.backend.train(task))
            learn(trainings[-1], *epochs)

        reported = [training.settings().get("deterministic") for training in trainings]
        assert_equal(reported, [True, True], what="deterministic")
        first, again = (training.weights() for training in trainings)
        assert_same_arrays(again, first, what="weights of the second training")


class WatchedBatches(Sequence[Batch]):
    """Batches that know which of them have been read, and how often a step was reported."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._read: set[int] = set()
        self._steps = 0
        self._early: list[int] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]
        self._read.add(index)
        return self._batches[index]

    def after_step(self, synchronize: Callable[[], None]) -> None:
        """Count a step, and note it where its batch has not been read yet."""
        synchronize()
        if self._steps not in self._read:
            self._early.append(self._steps)
        self._steps += 1

    def assert_reported_once(self) -> None:
        """Fail unless each batch was reported once, after it was read."""
        assert_equal(self._steps, len(self), what="reported steps")
        assert not self._early, f"steps reported before their batch was read: {self._early}"


class Steps(Clause, name="steps"):
    """Every step and epoch is reported once, as it happens."""

    def test_training_reports_every_step_once(self, subject: Subject) -> None:
        """``after_step`` comes once per batch, after that batch is read; waiting there is safe."""
        training, batches = subject.train(), WatchedBatches(make_batches(sizes=(6, 6, 6, 2)))
        training.train(
            [batches],
            after_step=lambda: batches.after_step(training.synchronize),
            after_epoch=lambda scores: None,
        )

        batches.assert_reported_once()

    def test_an_epoch_is_reported_after_its_last_step(self, subject: Subject) -> None:
        """``after_epoch`` comes once per epoch, when all its steps and none later are reported."""
        events: list[str] = []
        subject.train().train(
            [make_batches(sizes=(6, 6, 2), seed=seed) for seed in (1, 2)],
            after_step=lambda: events.append("step"),
            after_epoch=lambda scores: events.append("epoch"),
        )

        assert_equal(events, [*["step"] * 3, "epoch"] * 2, what="reports")

    @AUGMENTED
    def test_feeding_reports_every_batch_once(self, subject: Subject, is_augmented: bool) -> None:
        """``after_step`` comes once per batch fed, the last and smaller one included."""
        task = subject.task(make_network(), optimizer=None, is_augmented=is_augmented)
        feeding = subject.backend.feed(task)
        batches = WatchedBatches(make_batches(sizes=SIZES, is_augmented=is_augmented))
        feeding.feed(batches, after_step=lambda: batches.after_step(feeding.synchronize))

        batches.assert_reported_once()


class Order(Clause, name="order"):
    """Batches are consumed in the given order, and sampled steps recorded."""

    @AUGMENTED
    @KINDS
    def test_what_is_consumed_is_told(
        self, subject: Subject, kind: str, is_augmented: bool
    ) -> None:
        """Every step in order: the images the network saw, and the labels of the loss."""
        task = _task(subject, kind, positions=POSITIONS["all"], is_augmented=is_augmented)
        batches = make_batches(sizes=SIZES, is_augmented=is_augmented)
        record = _consumed(subject.backend, kind, task, batches)

        _assert_consumed(record, kind, task, batches)
        assert_equal(record.labels.tolist(), _labels(batches), what="labels")

    @pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
    @KINDS
    def test_sampled_steps_alone_are_recorded(
        self, subject: Subject, kind: str, positions: tuple[int, ...]
    ) -> None:
        """A row for each sampled position within the epoch, in order, and for no other step."""
        task = _task(subject, kind, positions=positions)
        batches = make_batches(sizes=SIZES)
        record = _consumed(subject.backend, kind, task, batches)

        sampled = [batches[position] for position in positions if position < len(batches)]
        assert_equal(len(record.labels), len(sampled), what="recorded steps")
        assert_equal(record.labels.tolist(), _labels(sampled), what="labels")
        _assert_consumed(record, kind, task, batches)

    @KINDS
    def test_only_the_last_epoch_is_recorded(self, subject: Subject, kind: str) -> None:
        """Asked once, after two calls of which the second is shorter, only that is recorded."""
        task = _task(subject, kind)
        first, second = make_batches(sizes=SIZES, seed=1), make_batches(sizes=(6, 6, 6), seed=2)
        record = _consumed(subject.backend, kind, task, first, second)

        _assert_consumed(record, kind, task, second)

    @pytest.mark.parametrize("shape", [(7,), (4, 3, 5)], ids=["flat", "maps"])
    def test_consumed_features_are_told(self, subject: Subject, shape: Shape) -> None:
        """Features enter the network as they come, and are recorded so."""
        network, spec = linear(input_shape=shape), make_fingerprint_spec(shape=shape)
        task = subject.task(network, preprocessing=None, fingerprint_spec=spec)
        batches = make_batches(shape=shape, is_features=True)
        record = _consumed(subject.backend, "train", task, batches)

        _assert_consumed(record, "train", task, batches)

    def test_steps_are_told_between_epochs(self, subject: Subject) -> None:
        """Asked after each epoch, whatever was evaluated, a backend gives that epoch's record."""
        task = _task(subject, "train")
        epochs = [make_batches(sizes=(6, 6, 5), seed=seed) for seed in (1, 2)]
        training = subject.backend.train(task)
        records: list[ConsumedBatches] = []

        def after_epoch(scores: Scores) -> None:
            training.evaluate(make_batches(sizes=(3,), seed=3))
            training.logits(make_batches(sizes=(3,), seed=4)[0])
            records.append(training.consumed())

        training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)

        for record, epoch in zip(records, epochs, strict=True):
            _assert_consumed(record, "train", task, epoch)

    def test_only_steps_since_the_reset_are_told(self, subject: Subject) -> None:
        """No step is recorded before the first, and after a reset none from before it."""
        task, batches = _task(subject, "train"), make_batches(sizes=(6, 6))
        training = subject.backend.train(task)
        before = training.consumed()
        learn(training, batches)
        training.reset()

        assert_equal(before.labels.shape, (0, 4), what="shape of no labels")
        assert_equal(training.consumed().fingerprints.shape, (0, 4), what="shape after reset")
        learn(training, batches[1:])
        _assert_consumed(training.consumed(), "train", task, batches[1:])

    @KINDS
    def test_without_a_fingerprint_spec_nothing_is_recorded(
        self, subject: Subject, kind: str
    ) -> None:
        """Asking all the same is an error, not an empty answer."""
        task = replace(_task(subject, kind), fingerprint_spec=None)

        with pytest.raises(ValueError, match="fingerprint_spec"):
            _consumed(subject.backend, kind, task, make_batches())

    def test_recording_changes_no_number(self, subject: Subject) -> None:
        """With dropout and augmentation, training ends where it ends without a record."""
        batches, weights = make_batches(sizes=SIZES, is_augmented=True), []
        # One after the other: dropout's random numbers may be the whole process's.
        for spec in (None, make_fingerprint_spec(images=4, steps=POSITIONS["some"])):
            training = subject.train(
                small_cnn(dropout=0.5), is_augmented=True, fingerprint_spec=spec
            )
            learn(training, batches)
            weights.append(training.weights())

        assert_near_in_norm(weights[1], weights[0], tolerance=WEIGHTS, what="weights")


def _task(
    subject: Subject,
    kind: str,
    *,
    positions: Sequence[int] = POSITIONS["some"],
    is_augmented: bool = False,
) -> Task:
    return subject.task(
        make_network() if kind == "feed" else small_cnn(),
        optimizer=None if kind == "feed" else SGD,
        preprocessing=make_preprocessing("caffe_bgr"),
        is_augmented=is_augmented,
        fingerprint_spec=make_fingerprint_spec(images=4, steps=positions),
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


def _labels(batches: list[Batch]) -> list[list[int]]:
    """Return the first labels of each batch, starting over where it has fewer."""
    return [[int(batch.labels[i % len(batch)]) for i in range(4)] for batch in batches]


def _assert_consumed(record: ConsumedBatches, kind: str, task: Task, batches: list[Batch]) -> None:
    """Fail unless a record is the reference's of an epoch."""
    expected = _consumed(NumpyBackend(), kind, replace(task, execution=CPU), batches)
    assert_equal(record.labels.tolist(), expected.labels.tolist(), what="labels consumed")
    assert_equal(str(record.labels.dtype), "int32", what="dtype of labels")
    assert_near_largest(
        record.fingerprints, expected.fingerprints, tolerance=FINGERPRINTS, what="fingerprints"
    )
