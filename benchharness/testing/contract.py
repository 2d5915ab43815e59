"""Contract that every backend must pass, as a class for pytest to run.

A plugin author writes, in a test module::

    from benchharness.testing import BackendContract

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self):
            return MyBackend()

What is learnt, and from which batches, comes first, then the arithmetic: a backend computes what
the reference computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AugmentationParams,
    Backend,
    Batch,
    Batches,
    ConsumedBatches,
    Conv,
    Dense,
    Execution,
    Flatten,
    MaxPool,
    Network,
    Optimizer,
    Scores,
    Task,
    Training,
)
from benchharness.fairness.micro import learnt_inputs
from benchharness.model.host import warp_on_host
from benchharness.model.network import Shape
from benchharness.model.task import OptimizerName, Output
from benchharness.testing.assertions import (
    FEATURES,
    FINGERPRINTS,
    GRADIENTS,
    LOGITS,
    PIXEL_LEVELS,
    REPEATED_LOSS,
    WEIGHTS,
    Arrays,
    Clause,
    Subject,
    assert_equal,
    assert_loss,
    assert_near_in_norm,
    assert_near_largest,
    assert_other_loss,
    assert_same_arrays,
    assert_scores,
    reference,
)
from benchharness.testing.contract_execution import Replay, Settings, Switches, Synchronization
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import (
    ADAM_WITH_DECAY,
    CPU,
    IMAGE_SHAPE,
    RULES,
    SGD,
    learn,
    linear,
    make_batches,
    make_fingerprint_spec,
    make_network,
    make_preprocessing,
    make_weights,
    movement,
    small_cnn,
)

TRAINABLE = {
    "head": ("hidden", "logits"),
    "last": ("logits",),
    "front": ("conv_same",),
    "middle": ("conv_valid", "hidden"),
}
# An epoch whose last batch has fewer images than the others, and than are recorded of a batch.
EPOCH_SIZES = (6, 6, 5, 2)
# Of its steps: all, some with and some without the ends, and positions beyond its end.
POSITIONS = {"all": (0, 1, 2, 3), "some": (0, 2, 3), "inner": (1, 2), "beyond": (2, 4, 63)}
AUGMENTED = pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
KINDS = pytest.mark.parametrize("kind", ["feed", "train"])
LAYERS = pytest.mark.parametrize("layers", TRAINABLE.values(), ids=TRAINABLE)
FLATTEN, LOGIT = Flatten(name="flatten"), Dense(name="logits", units=4)
CONV = Conv(name="conv", filters=5, padding="same")
# Those of another shape than images take features: float, as they come, flat or as maps.
NETWORKS = {
    "conv_same": make_network(CONV, FLATTEN, LOGIT),
    "conv_valid": make_network(replace(CONV, padding="valid"), FLATTEN, LOGIT),
    "conv_linear": make_network(Conv(name="conv", filters=5, activation="linear"), FLATTEN, LOGIT),
    "conv_even_kernel": make_network(replace(CONV, kernel=2), FLATTEN, LOGIT),
    "conv_wide_kernel": make_network(Conv(name="conv", filters=5, kernel=5), FLATTEN, LOGIT),
    "ragged_pool": make_network(MaxPool(name="pool", size=2), FLATTEN, LOGIT),
    "pool_of_three": make_network(MaxPool(name="pool", size=3), FLATTEN, LOGIT),
    "flatten_order": linear(),
    "hidden_dense": make_network(FLATTEN, Dense(name="hidden", units=6, activation="relu"), LOGIT),
    "every_layer": small_cnn(dropout=0.5),
    "one_channel": make_network(
        Conv(name="conv", filters=5), FLATTEN, LOGIT, input_shape=(11, 9, 1)
    ),
    "flat": make_network(LOGIT, input_shape=(7,)),
    "maps": linear(input_shape=(4, 3, 5)),
    "maps_convolved": make_network(CONV, FLATTEN, LOGIT, input_shape=(4, 3, 5)),
}
STACK = (
    replace(CONV, name="conv_1"),
    MaxPool(name="pool"),
    Conv(name="conv_2", filters=6, padding="same"),
)
STACKS = {"maps": make_network(*STACK), "flat": make_network(*STACK, FLATTEN)}
PREPROCESSINGS = ("unit", "caffe_bgr", "imagenet_rgb", "standard", "zca")
STRAIGHT = ((1, 0, 0), (0, 1, 0))
WARPS = {
    "untouched": STRAIGHT,
    "mirrored": ((-1, 0, 8), (0, 1, 0)),
    "shifted_right": ((1, 0, -2), (0, 1, 0)),
    "shifted_down": ((1, 0, 0), (0, 1, -3)),
    "half_a_pixel": ((1, 0, 0.5), (0, 1, 0.25)),
    "sheared": ((1, 0.4, 0), (0, 1, 0)),
    "zoomed_out": ((2, 0, -4), (0, 2, -5)),
    "far_outside": ((1, 0, 100), (0, 1, -100)),
}
# The last batch is smaller, so that a mean of the batches' means is not the images' mean.
SIZES = (6, 6, 2)
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9)
# Classes and logits of each output.
OUTPUTS: dict[Output, tuple[int, int]] = {"softmax": (4, 4), "sigmoid": (2, 1)}


# --- Weights and batches -------------------------------------------------------------------------


class RoundTrip(Clause, name="round_trip"):
    """Weights survive the round trip, bit for bit."""

    def test_training_starts_from_the_given_weights(self, subject: Subject) -> None:
        """Before the first step the weights are the task's, bit for bit."""
        weights = subject.train().weights()

        assert_same_arrays(weights, subject.task().weights, what="initial weights")

    def test_weights_survive_a_round_trip(self, subject: Subject) -> None:
        """Weights that are loaded are read back unchanged, bit for bit."""
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
        batches = WatchedBatches(make_batches(sizes=EPOCH_SIZES, is_augmented=is_augmented))
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
        batches = make_batches(sizes=EPOCH_SIZES, is_augmented=is_augmented)
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
        batches = make_batches(sizes=EPOCH_SIZES)
        record = _consumed(subject.backend, kind, task, batches)

        sampled = [batches[position] for position in positions if position < len(batches)]
        assert_equal(len(record.labels), len(sampled), what="recorded steps")
        assert_equal(record.labels.tolist(), _labels(sampled), what="labels")
        _assert_consumed(record, kind, task, batches)

    @KINDS
    def test_only_the_last_epoch_is_recorded(self, subject: Subject, kind: str) -> None:
        """Asked once, after two calls of which the second is shorter, only that is recorded."""
        task = _task(subject, kind)
        first, second = (
            make_batches(sizes=EPOCH_SIZES, seed=1),
            make_batches(sizes=(6, 6, 6), seed=2),
        )
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
        batches, weights = make_batches(sizes=EPOCH_SIZES, is_augmented=True), []
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


# --- Arithmetic ----------------------------------------------------------------------------------


class Logits(Clause, name="logits"):
    """Logits are those of the float64 reference."""

    @pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
    def test_logits_are_the_references(self, subject: Subject, network: Network) -> None:
        """Every layer, read off the logits: padding, ragged edges, flatten order, features."""
        is_features = network.input_shape != IMAGE_SHAPE
        batch = make_batches(shape=network.input_shape, is_features=is_features)[0]
        options = {"preprocessing": None} if is_features else {}
        ours, theirs = (training.logits(batch) for training in subject.both(network, **options))

        assert_near_largest(ours, theirs, tolerance=LOGITS, what="logits")


class Gradients(Clause, name="gradients"):
    """Gradients are those of the reference."""

    @pytest.mark.parametrize("layers", [None, ("hidden", "logits"), ("conv_same", "logits")])
    @pytest.mark.parametrize("output", OUTPUTS)
    def test_gradients_are_the_references(
        self, subject: Subject, output: Output, layers: Sequence[str] | None
    ) -> None:
        """The mean loss's gradient of every trainable array, with and without frozen layers."""
        classes, outputs = OUTPUTS[output]
        batch = make_batches(classes=classes)[0]
        network = small_cnn(outputs=outputs, dropout=0.5)
        ours, theirs = subject.both(network, output=output, trainable=layers)

        assert_near_in_norm(
            ours.gradients(batch), theirs.gradients(batch), tolerance=GRADIENTS, what="gradient"
        )


class Optimizers(Clause, name="optimizers"):
    """Each optimizer moves the weights by the stated formula."""

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1], ids=["no_decay", "decay"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_optimizers_move_weights_as_the_reference_does(
        self, subject: Subject, rule: Optimizer, weight_decay: float
    ) -> None:
        """Five steps in three epochs, two of them in one call, end where the reference ends."""
        task = subject.task(optimizer=replace(rule, weight_decay=weight_decay))
        moved = _five_steps(subject.backend.train(task), task)

        # Of the movement alone: a wrong step cannot hide behind large weights.
        expected = _five_steps(reference(task), task)
        assert_near_in_norm(moved, expected, tolerance=WEIGHTS, what="movement")


class PreprocessingClause(Clause, name="preprocessing"):
    """Images are preprocessed as the task describes."""

    @pytest.mark.parametrize(
        ("name", "channels"),
        [*((name, 3) for name in PREPROCESSINGS), ("unit", 1), ("standard", 1), ("zca", 1)],
    )
    def test_preprocessing_is_the_references(
        self, subject: Subject, name: str, channels: int
    ) -> None:
        """Channel order, mean, scale and whitening, read off the logits of a linear network."""
        shape = (11, 9, channels)
        preprocessing = make_preprocessing(name, shape=shape)
        batch = make_batches(shape=shape)[0]
        ours, theirs = subject.both(linear(input_shape=shape), preprocessing=preprocessing)

        what = f"logits after {name}"
        assert_near_largest(ours.logits(batch), theirs.logits(batch), tolerance=LOGITS, what=what)


class Augmentation(Clause, name="augmentation"):
    """Training sees the warped pixels, evaluation the plain ones."""

    @pytest.mark.parametrize("affine", WARPS.values(), ids=WARPS)
    def test_training_sees_warped_pixels(
        self, subject: Subject, affine: tuple[tuple[float, ...], ...]
    ) -> None:
        """One map at a time: a training step learns from exactly the warped pixels."""
        _assert_learnt(subject, _warped(affine, np.zeros((3, 3))))

    def test_training_sees_shifted_colours_clipped(self, subject: Subject) -> None:
        """Colours shift per image and channel, and stop at 0 and 255."""
        colour = np.array([[90, -90, 0], [-200, 30.5, 200], [0, 0, 255]])

        _assert_learnt(subject, _warped(STRAIGHT, colour))

    def test_training_sees_each_image_by_its_own_warp(self, subject: Subject) -> None:
        """A batch of images, each turned, sheared, zoomed, mirrored and coloured differently."""
        _assert_learnt(subject, make_batches(sizes=(8,), is_augmented=True)[0])

    @pytest.mark.parametrize("is_features", [False, True], ids=["images", "features"])
    def test_inputs_kept_on_the_device_are_those_of_the_batches(
        self, subject: Subject, is_features: bool
    ) -> None:
        """A backend that keeps all inputs learns from ids alone what others learn from batches."""
        batches = make_batches(is_features=is_features, is_augmented=not is_features)
        # No image is where its place in an epoch is.
        inputs = np.concatenate([batch.inputs for batch in batches])[::-1].copy()
        bare = [
            replace(b, ids=len(inputs) - 1 - b.ids, inputs=np.empty((len(b), 0, 0, 0), "u1"))
            for b in batches
        ]
        task = subject.task(
            linear(),
            preprocessing=None if is_features else make_preprocessing("caffe_bgr"),
            is_augmented=not is_features,
            optimizer=Optimizer(name="sgd", lr=1e-4),
        )
        training = subject.backend.train(replace(task, inputs=inputs))
        if not getattr(training, "holds_inputs", False):
            # Nobody has to: batches have the pixels then.
            return
        wanted = reference(task)
        scores, expected = learn(training, bare, bare), learn(wanted, batches, batches)
        plain, bare = ([replace(batch, warp=None) for batch in part] for part in (batches, bare))
        scores += [training.evaluate(plain), training.evaluate(bare)]
        expected += [wanted.evaluate(plain)] * 2

        for ours, theirs in zip(scores, expected, strict=True):
            assert_loss(ours.loss, theirs.loss)

    def test_losses_on_augmented_batches_are_the_references(self, subject: Subject) -> None:
        """Two epochs lose what the reference loses, and so do images without warps, scored."""
        batches = make_batches(is_augmented=True)
        runs = (
            [*learn(training, batches, batches), training.evaluate(make_batches())]
            for training in subject.both(linear(), is_augmented=True)
        )

        for ours, theirs in zip(*runs, strict=True):
            assert_loss(ours.loss, theirs.loss)


class Features(Clause, name="features"):
    """Extracted features are those of the reference."""

    @pytest.mark.parametrize("network", STACKS.values(), ids=STACKS)
    def test_extracted_features_are_the_references(
        self, subject: Subject, network: Network
    ) -> None:
        """One float32 array per batch, in order, channels last, the partial batch included."""
        preprocessing = make_preprocessing("caffe_bgr")
        task = subject.task(network, trainable=(), optimizer=None, preprocessing=preprocessing)
        batches = make_batches(sizes=SIZES)
        features = list(subject.backend.extract(task).extract(batches))

        expected = list(NumpyBackend().extract(replace(task, execution=CPU)).extract(batches))
        assert_equal([len(part) for part in features], list(SIZES), what="images per array")
        for part, wanted in zip(features, expected, strict=True):
            assert_near_largest(part, wanted, tolerance=FEATURES, what="features")


class MeanScores(Clause, name="scores"):
    """Losses and accuracies are means over images."""

    @pytest.mark.parametrize("output", OUTPUTS)
    @pytest.mark.parametrize("is_training", [True, False], ids=["training", "evaluation"])
    def test_scores_are_means_over_images(
        self, subject: Subject, is_training: bool, output: Output
    ) -> None:
        """Loss, top-1 and count of a pass are the reference's, partial batch included."""
        classes, outputs = OUTPUTS[output]
        batches = make_batches(sizes=SIZES, classes=classes)
        ours, theirs = (
            learn(training, batches)[0] if is_training else training.evaluate(batches)
            for training in subject.both(small_cnn(outputs=outputs), output=output)
        )

        assert_scores(ours, theirs)

    def test_confident_answers_have_finite_losses(self, subject: Subject) -> None:
        """The loss comes from logits: a certain wrong answer costs its logit, not infinity."""
        for output, (_, outputs) in OUTPUTS.items():
            network = small_cnn(outputs=outputs)
            weights = {n: np.zeros(p.shape, "f4") for n, p in network.parameters().items()}
            weights["logits/bias"][0] = 300
            wrong = np.full(4, 1 if output == "softmax" else 0, np.int32)
            batch = replace(make_batches(sizes=(4,))[0], labels=wrong)
            scores = subject.train(network, weights=weights, output=output).evaluate([batch])

            assert_loss(scores.loss, 300)

    def test_work_between_epochs_sees_the_weights_of_that_moment(self, subject: Subject) -> None:
        """Evaluating and reading weights after an epoch gives its results, and disturbs nothing."""
        epochs = [make_batches(sizes=SIZES, seed=seed) for seed in (1, 2)]
        reports = (_epochs(training, epochs) for training in subject.both(optimizer=MOMENTUM))

        for (trained, evaluated, bias), wanted in zip(*reports, strict=True):
            assert_scores(trained, wanted[0])
            assert_scores(evaluated, wanted[1])
            assert_near_largest(bias, wanted[2], tolerance=WEIGHTS, what="bias after an epoch")


class DropoutClause(Clause, name="dropout"):
    """Dropout acts in training alone, and asking learns nothing."""

    def test_evaluation_neither_learns_nor_drops(self, subject: Subject) -> None:
        """Evaluating leaves every weight as it was, and gives the loss without dropout."""
        batches = make_batches(sizes=SIZES)
        task = subject.task(small_cnn(dropout=0.5))
        training = subject.backend.train(task)
        scores = training.evaluate(batches)

        assert_same_arrays(training.weights(), task.weights, what="weights after evaluation")
        without = reference(subject.task(weights=task.weights))
        assert_scores(scores, without.evaluate(batches))

    def test_asking_for_numbers_does_not_learn(self, subject: Subject) -> None:
        """Logits and gradients leave weights and optimizer as they were, and drop nothing."""
        batches = make_batches(sizes=SIZES)
        task = subject.task(small_cnn(dropout=0.5), optimizer=MOMENTUM)
        expected = learn(subject.backend.train(task), batches)[0]
        training = subject.backend.train(task)
        training.logits(batches[0])
        training.gradients(batches[0])

        assert_same_arrays(training.weights(), task.weights, what="weights after asking")
        assert_loss(learn(training, batches)[0].loss, expected.loss)

    def test_dropout_is_at_work_in_training(self, subject: Subject) -> None:
        """Three epochs with dropout 0.5 lose otherwise than three without."""
        runs = (
            learn(subject.train(small_cnn(dropout=rate)), *[make_batches()] * 3)
            for rate in (0.0, 0.5)
        )

        # Once in a hundred seeds, honest masks give one epoch the same loss within a thousandth.
        plain, dropped = max(
            zip(*runs, strict=True), key=lambda pair: abs(pair[0].loss - pair[1].loss)
        )
        assert_other_loss(dropped.loss, than=plain.loss, why="dropout hides half the values")

    def test_dropout_scales_up_what_it_keeps(self, subject: Subject) -> None:
        """A value is dropped with the stated probability, or divided by that of being kept."""
        batch = make_batches(sizes=(8,))[0]
        images = np.maximum(batch.inputs, 1)
        seen = _seen(subject, replace(batch, inputs=images), dropout=0.25)

        is_kept = seen > 0.5
        assert_near_largest(
            seen, np.where(is_kept, images / np.float32(0.75), 0), tolerance=1e-4, what="dropout"
        )
        # Of 2376 values; a fair draw is off by more than 0.05 once in ten million seeds.
        assert abs(is_kept.mean() - 0.75) < 0.05, (
            f"dropout: expected to keep 0.75 of the values, found {is_kept.mean():.3f}"
        )


def _five_steps(training: Training, task: Task) -> Arrays:
    batches = make_batches(sizes=(6, 6, 6, 6, 3))
    learn(training, batches[:2], batches[2:4])
    learn(training, batches[4:])
    return movement(training, task)


def _warped(affine: tuple[tuple[float, ...], ...], colour: NDArray[Any]) -> Batch:
    """Return three images, each with the same map and with a colour shift of its own."""
    warp = AugmentationParams(
        affine=np.tile(np.array(affine, np.float32), (3, 1, 1)), colour=colour.astype(np.float32)
    )
    return replace(make_batches(sizes=(3,))[0], warp=warp)


def _assert_learnt(subject: Subject, batch: Batch) -> None:
    """Fail unless a training step sees the batch's pixels as its warp has them."""
    assert batch.warp is not None
    expected = warp_on_host(batch.inputs.astype(np.uint8), batch.warp)
    off = np.abs(_seen(subject, batch) - expected).max(axis=(1, 2, 3))
    assert off.max() <= PIXEL_LEVELS, (
        f"pixels: expected within {PIXEL_LEVELS} of 255 levels, found images off by {off}"
    )


def _seen(subject: Subject, batch: Batch, *, dropout: float = 0.0) -> NDArray[np.float32]:
    """Return the pixels, 0-255, that the last layer of a network saw of a batch in training."""
    network = make_network(input_shape=batch.inputs.shape[1:])
    task = subject.task(network, is_augmented=batch.warp is not None)
    return learnt_inputs(subject.backend, batch, task=task, dropout=dropout) * 255


def _epochs(
    training: Training, epochs: Sequence[Batches]
) -> list[tuple[Scores, Scores, NDArray[np.float32]]]:
    """Return for each epoch its scores, an evaluation right after it, and a bias."""
    reports = []

    def after_epoch(scores: Scores) -> None:
        training.synchronize()
        evaluated = training.evaluate(make_batches(sizes=(4, 4, 4, 3), seed=3))
        reports.append((scores, evaluated, training.weights()["logits/bias"]))

    training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)
    return reports


class BackendContract(
    RoundTrip,
    Shapes,
    Counts,
    Frozen,
    Seeds,
    Steps,
    Order,
    Logits,
    Gradients,
    Optimizers,
    PreprocessingClause,
    Augmentation,
    Features,
    MeanScores,
    DropoutClause,
    Synchronization,
    Replay,
    Settings,
    Switches,
):
    """What the core relies on, each fact a test; numbers are compared with the NumPy reference.

    Tests take seconds: networks are tiny, and computed by default on the CPU in float32.
    """

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend under test; override this."""
        raise NotImplementedError(f"{type(self).__name__}: override the fixture 'backend'")

    @pytest.fixture
    def execution(self) -> Execution:
        """Return how to compute; override it to hold a backend to the contract on its GPU."""
        return CPU

    @pytest.fixture
    def subject(self, backend: Backend, execution: Execution) -> Subject:
        """Return both, as the checks take them."""
        return Subject(backend, execution)
