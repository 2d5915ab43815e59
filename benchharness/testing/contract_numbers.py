"""Clauses of the contract on arithmetic: a backend computes what the reference computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AugmentationParams,
    Backend,
    Batch,
    Batches,
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
from benchharness.model.task import Output
from benchharness.testing.assertions import (
    FEATURES,
    GRADIENTS,
    LOGITS,
    PIXEL_LEVELS,
    WEIGHTS,
    Arrays,
    Clause,
    assert_equal,
    assert_loss,
    assert_near_in_norm,
    assert_near_largest,
    assert_other_loss,
    assert_same_arrays,
    assert_scores,
    reference,
)
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import (
    CPU,
    learn,
    linear,
    make_batches,
    make_network,
    make_preprocessing,
    make_task,
    movement,
    small_cnn,
)

FEATURES_SHAPE = (4, 3, 5)
FLATTEN, LOGIT = Flatten(name="flatten"), Dense(name="logits", units=4)
NETWORKS = {
    "conv_same": make_network(Conv(name="conv", filters=5, padding="same"), FLATTEN, LOGIT),
    "conv_valid": make_network(Conv(name="conv", filters=5, padding="valid"), FLATTEN, LOGIT),
    "conv_linear": make_network(Conv(name="conv", filters=5, activation="linear"), FLATTEN, LOGIT),
    "conv_even_kernel": make_network(
        Conv(name="conv", filters=5, kernel=2, padding="same"), FLATTEN, LOGIT
    ),
    "conv_wide_kernel": make_network(Conv(name="conv", filters=5, kernel=5), FLATTEN, LOGIT),
    "ragged_pool": make_network(MaxPool(name="pool", size=2), FLATTEN, LOGIT),
    "pool_of_three": make_network(MaxPool(name="pool", size=3), FLATTEN, LOGIT),
    "flatten_order": linear(),
    "hidden_dense": make_network(FLATTEN, Dense(name="hidden", units=6, activation="relu"), LOGIT),
    "one_channel": make_network(
        Conv(name="conv", filters=5), FLATTEN, LOGIT, input_shape=(11, 9, 1)
    ),
    "every_layer": small_cnn(dropout=0.5),
}
FEATURE_NETWORKS = {
    "flat": make_network(LOGIT, input_shape=(7,)),
    "maps": linear(input_shape=FEATURES_SHAPE),
    "maps_convolved": make_network(
        Conv(name="conv", filters=5, padding="same"), FLATTEN, LOGIT, input_shape=FEATURES_SHAPE
    ),
}
# No constant is a framework's default, and epsilon is large enough to show where it stands.
RULES = {
    "sgd": Optimizer(name="sgd", lr=0.2),
    "momentum": Optimizer(name="sgd", lr=0.1, momentum=0.8),
    "nesterov": Optimizer(name="sgd", lr=0.1, momentum=0.8, nesterov=True),
    "adam": Optimizer(name="adam", lr=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    "rmsprop": Optimizer(name="rmsprop", lr=0.01, rho=0.8, epsilon=1e-3),
}
ADAM_WITH_DECAY = Optimizer(name="adam", lr=0.02, epsilon=1e-5, weight_decay=0.1)
STACK = (
    Conv(name="conv_1", filters=5, padding="same"),
    MaxPool(name="pool"),
    Conv(name="conv_2", filters=6, padding="same"),
)
STACKS = {"maps": make_network(*STACK), "flat": make_network(*STACK, Flatten(name="flatten"))}
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
CLASSES: Mapping[Output, int] = {"softmax": 4, "sigmoid": 2}
OUTPUTS: Mapping[Output, int] = {"softmax": 4, "sigmoid": 1}


class Logits(Clause):
    """Logits are those of the float64 reference."""

    clause = "logits"

    @pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
    def test_logits_are_the_references(
        self, backend: Backend, execution: Execution, network: Network
    ) -> None:
        """Every layer, read off the logits of images: padding, ragged edges, flatten order."""
        preprocessing = None if network.input_shape[-1] == 1 else make_task(network).preprocessing
        task = make_task(network, preprocessing=preprocessing, execution=execution)
        batch = make_batches(shape=network.input_shape, is_features=preprocessing is None)[0]

        logits = backend.train(task).logits(batch)

        expected = reference(task).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")

    @pytest.mark.parametrize("network", FEATURE_NETWORKS.values(), ids=FEATURE_NETWORKS)
    def test_logits_of_features_are_the_references(
        self, backend: Backend, execution: Execution, network: Network
    ) -> None:
        """Float features, flat or channels-last maps, enter the network as they come."""
        task = make_task(network, preprocessing=None, execution=execution)
        batch = make_batches(shape=network.input_shape, is_features=True)[0]

        logits = backend.train(task).logits(batch)

        expected = reference(task).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")


class Gradients(Clause):
    """Gradients are those of the reference."""

    clause = "gradients"

    @pytest.mark.parametrize("layers", [None, ("hidden", "logits"), ("conv_same", "logits")])
    @pytest.mark.parametrize("output", OUTPUTS)
    def test_gradients_are_the_references(
        self, backend: Backend, execution: Execution, output: Output, layers: Sequence[str] | None
    ) -> None:
        """The mean loss's gradient of every trainable array, with and without frozen layers."""
        network = small_cnn(outputs=OUTPUTS[output], dropout=0.5)
        task = make_task(network, output=output, trainable=layers, execution=execution)
        batch = make_batches(classes=CLASSES[output])[0]

        gradients = backend.train(task).gradients(batch)

        expected = reference(task).gradients(batch)
        assert_near_in_norm(gradients, expected, tolerance=GRADIENTS, what="gradient")


class Optimizers(Clause):
    """Each optimizer moves the weights by the stated formula."""

    clause = "optimizers"

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1], ids=["no_decay", "decay"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_optimizers_move_weights_as_the_reference_does(
        self, backend: Backend, execution: Execution, rule: Optimizer, weight_decay: float
    ) -> None:
        """Five steps in three epochs, two of them in one call, end where the reference ends."""
        optimizer = replace(rule, weight_decay=weight_decay)
        task = make_task(small_cnn(), optimizer=optimizer, execution=execution)

        moved = _five_steps(backend.train(task), task)

        expected = _five_steps(reference(task), task)
        assert_near_in_norm(moved, expected, tolerance=WEIGHTS, what="movement")


class PreprocessingClause(Clause):
    """Images are preprocessed as the task describes."""

    clause = "preprocessing"

    @pytest.mark.parametrize(
        ("name", "channels"),
        [*((name, 3) for name in PREPROCESSINGS), ("unit", 1), ("standard", 1), ("zca", 1)],
    )
    def test_preprocessing_is_the_references(
        self, backend: Backend, execution: Execution, name: str, channels: int
    ) -> None:
        """Channel order, mean, scale and whitening, read off the logits of a linear network."""
        shape = (11, 9, channels)
        preprocessing = make_preprocessing(name, shape=shape)
        task = make_task(
            linear(input_shape=shape), preprocessing=preprocessing, execution=execution
        )
        batch = make_batches(shape=shape)[0]

        logits = backend.train(task).logits(batch)

        expected = reference(task).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what=f"logits after {name}")


class Augmentation(Clause):
    """Training sees the warped pixels, evaluation the plain ones."""

    clause = "augmentation"

    @pytest.mark.parametrize("affine", WARPS.values(), ids=WARPS)
    def test_training_sees_warped_pixels(
        self, backend: Backend, execution: Execution, affine: tuple[tuple[float, ...], ...]
    ) -> None:
        """One map at a time: a training step learns from exactly the warped pixels."""
        batch = make_batches(sizes=(3,))[0]
        maps = np.tile(np.array(affine, np.float32), (3, 1, 1))
        warp = AugmentationParams(affine=maps, colour=np.zeros((3, 3), np.float32))

        _assert_learnt(backend, replace(batch, warp=warp), execution)

    def test_training_sees_shifted_colours_clipped(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Colours shift per image and channel, and stop at 0 and 255."""
        batch = make_batches(sizes=(3,))[0]
        colour = np.array([[90, -90, 0], [-200, 30.5, 200], [0, 0, 255]], np.float32)
        maps = np.tile(np.array(STRAIGHT, np.float32), (3, 1, 1))
        warp = AugmentationParams(affine=maps, colour=colour)

        _assert_learnt(backend, replace(batch, warp=warp), execution)

    def test_training_sees_each_image_by_its_own_warp(
        self, backend: Backend, execution: Execution
    ) -> None:
        """A batch of images, each turned, sheared, zoomed, mirrored and coloured differently."""
        _assert_learnt(backend, make_batches(sizes=(8,), is_augmented=True)[0], execution)

    @pytest.mark.parametrize("is_features", [False, True], ids=["images", "features"])
    def test_inputs_kept_on_the_device_are_those_of_the_batches(
        self, backend: Backend, execution: Execution, is_features: bool
    ) -> None:
        """A backend that keeps all inputs learns from ids alone what others learn from batches."""
        batches = make_batches(is_features=is_features, is_augmented=not is_features)
        # No image is where its place in an epoch is.
        inputs = np.concatenate([batch.inputs for batch in batches])[::-1].copy()
        bare = [
            replace(
                batch, ids=len(inputs) - 1 - batch.ids, inputs=np.empty((len(batch), 0, 0, 0), "u1")
            )
            for batch in batches
        ]
        task = make_task(
            linear(),
            preprocessing=None if is_features else make_preprocessing("caffe_bgr"),
            is_augmented=not is_features,
            optimizer=Optimizer(name="sgd", lr=1e-4),
            execution=execution,
        )
        training = backend.train(replace(task, inputs=inputs))
        if not getattr(training, "holds_inputs", False):
            # Nobody has to: batches have the pixels then.
            return

        wanted = reference(task)
        scores, expected = learn(training, bare, bare), learn(wanted, batches, batches)
        plain = [replace(batch, warp=None) for batch in batches]
        for kept in (plain, [replace(batch, warp=None) for batch in bare]):
            scores.append(training.evaluate(kept))
            expected.append(wanted.evaluate(plain))

        for ours, theirs in zip(scores, expected, strict=True):
            assert_loss(ours.loss, theirs.loss)

    def test_losses_on_augmented_batches_are_the_references(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Two epochs of a linear network on augmented batches lose what the reference loses."""
        task = make_task(linear(), is_augmented=True, execution=execution)
        batches = make_batches(is_augmented=True)

        scores = learn(backend.train(task), batches, batches)

        expected = learn(reference(task), batches, batches)
        for ours, theirs in zip(scores, expected, strict=True):
            assert_loss(ours.loss, theirs.loss)

    def test_evaluation_of_an_augmented_task_is_plain(
        self, backend: Backend, execution: Execution
    ) -> None:
        """A task whose training is augmented evaluates batches that carry no warp."""
        task = make_task(linear(), is_augmented=True, execution=execution)

        scores = backend.train(task).evaluate(make_batches())

        expected = reference(task).evaluate(make_batches())
        assert_loss(scores.loss, expected.loss)


class Features(Clause):
    """Extracted features are those of the reference."""

    clause = "features"

    @pytest.mark.parametrize("network", STACKS.values(), ids=STACKS)
    def test_extracted_features_are_the_references(
        self, backend: Backend, execution: Execution, network: Network
    ) -> None:
        """One float32 array per batch, in order, channels last, the partial batch included."""
        task = make_task(
            network,
            trainable=(),
            optimizer=None,
            preprocessing=make_preprocessing("caffe_bgr"),
            execution=execution,
        )
        batches = make_batches(sizes=(6, 6, 2))

        features = list(backend.extract(task).extract(batches))

        expected = list(NumpyBackend().extract(replace(task, execution=CPU)).extract(batches))
        assert_equal([len(part) for part in features], [6, 6, 2], what="images per array")
        for part, wanted in zip(features, expected, strict=True):
            assert_near_largest(part, wanted, tolerance=FEATURES, what="features")


class MeanScores(Clause):
    """Losses and accuracies are means over images."""

    clause = "scores"

    @pytest.mark.parametrize("output", OUTPUTS)
    def test_training_scores_are_means_over_images(
        self, backend: Backend, execution: Execution, output: Output
    ) -> None:
        """Loss, top-1 and count of a training pass are the reference's, partial batch included."""
        task = make_task(small_cnn(outputs=OUTPUTS[output]), output=output, execution=execution)
        batches = make_batches(sizes=SIZES, classes=CLASSES[output])

        scores = learn(backend.train(task), batches)[0]

        assert_scores(scores, learn(reference(task), batches)[0])

    @pytest.mark.parametrize("output", OUTPUTS)
    def test_evaluation_scores_are_means_over_images(
        self, backend: Backend, execution: Execution, output: Output
    ) -> None:
        """Loss, top-1 and count of an evaluation are the reference's, partial batch included."""
        task = make_task(small_cnn(outputs=OUTPUTS[output]), output=output, execution=execution)
        batches = make_batches(sizes=SIZES, classes=CLASSES[output])

        scores = backend.train(task).evaluate(batches)

        assert_scores(scores, reference(task).evaluate(batches))

    def test_confident_answers_have_finite_losses(
        self, backend: Backend, execution: Execution
    ) -> None:
        """The loss comes from logits: a certain wrong answer costs its logit, not infinity."""
        for output in OUTPUTS:
            network = small_cnn(outputs=OUTPUTS[output])
            weights = {n: np.zeros(p.shape, "f4") for n, p in network.parameters().items()}
            weights["logits/bias"][0] = 300
            task = make_task(network, weights=weights, output=output, execution=execution)
            wrong = np.full(4, 1 if output == "softmax" else 0, np.int32)
            batch = replace(make_batches(sizes=(4,))[0], labels=wrong)

            scores = backend.train(task).evaluate([batch])

            assert_loss(scores.loss, 300)

    def test_work_between_epochs_sees_the_weights_of_that_moment(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Evaluating and reading weights after an epoch gives its results, and disturbs nothing."""
        task = make_task(small_cnn(), optimizer=MOMENTUM, execution=execution)
        epochs = [make_batches(sizes=SIZES, seed=seed) for seed in (1, 2)]

        reports = _epochs(backend.train(task), epochs)

        expected = _epochs(reference(task), epochs)
        for (trained, evaluated, bias), wanted in zip(reports, expected, strict=True):
            assert_scores(trained, wanted[0])
            assert_scores(evaluated, wanted[1])
            assert_near_largest(bias, wanted[2], tolerance=WEIGHTS, what="bias after an epoch")


class DropoutClause(Clause):
    """Dropout acts in training alone, and asking learns nothing."""

    clause = "dropout"

    def test_evaluation_neither_learns_nor_drops(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Evaluating leaves every weight as it was, and gives the loss without dropout."""
        batches = make_batches(sizes=SIZES)
        task = make_task(small_cnn(dropout=0.5), execution=execution)
        training = backend.train(task)

        scores = training.evaluate(batches)

        assert_same_arrays(training.weights(), task.weights, what="weights after evaluation")
        without = reference(make_task(small_cnn(), weights=task.weights))
        assert_scores(scores, without.evaluate(batches))

    def test_asking_for_numbers_does_not_learn(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Logits and gradients leave weights and optimizer as they were, and drop nothing."""
        batches = make_batches(sizes=SIZES)
        task = make_task(small_cnn(dropout=0.5), optimizer=MOMENTUM, execution=execution)
        expected = learn(backend.train(task), batches)[0]
        training = backend.train(task)

        training.logits(batches[0])
        training.gradients(batches[0])

        assert_same_arrays(training.weights(), task.weights, what="weights after asking")
        assert_loss(learn(training, batches)[0].loss, expected.loss)

    def test_dropout_is_at_work_in_training(self, backend: Backend, execution: Execution) -> None:
        """Three epochs with dropout 0.5 lose otherwise than three without."""
        tasks = [make_task(small_cnn(dropout=rate), execution=execution) for rate in (0.0, 0.5)]

        runs = [learn(backend.train(task), *[make_batches()] * 3) for task in tasks]

        # Once in a hundred seeds, honest masks give one epoch the same loss within a thousandth.
        plain, dropped = max(
            zip(*runs, strict=True), key=lambda pair: abs(pair[0].loss - pair[1].loss)
        )
        assert_other_loss(dropped.loss, than=plain.loss, why="dropout hides half the values")

    def test_dropout_scales_up_what_it_keeps(self, backend: Backend, execution: Execution) -> None:
        """A value is dropped with the stated probability, or divided by that of being kept."""
        batch = make_batches(sizes=(8,))[0]
        images = np.maximum(batch.inputs, 1)

        seen = _seen(backend, replace(batch, inputs=images), execution, dropout=0.25)

        is_kept = seen > 0.5
        assert_near_largest(
            seen, np.where(is_kept, images / np.float32(0.75), 0), tolerance=1e-4, what="dropout"
        )
        # Of 2376 values; a fair draw is off by more than 0.05 once in ten million seeds.
        assert abs(is_kept.mean() - 0.75) < 0.05, (
            f"dropout: expected to keep 0.75 of the values, found {is_kept.mean():.3f}"
        )


def _five_steps(training: Training, task: Task) -> Arrays:
    """Return how far five steps move each array: a wrong step cannot hide behind large weights."""
    batches = make_batches(sizes=(6, 6, 6, 6, 3))
    learn(training, batches[:2], batches[2:4])
    learn(training, batches[4:])
    return movement(training, task)


def _assert_learnt(backend: Backend, batch: Batch, execution: Execution) -> None:
    assert batch.warp is not None
    images: NDArray[np.uint8] = batch.inputs.astype(np.uint8)
    expected = warp_on_host(images, batch.warp)
    off = np.abs(_seen(backend, batch, execution) - expected).max(axis=(1, 2, 3))
    assert off.max() <= PIXEL_LEVELS, (
        f"pixels: expected within {PIXEL_LEVELS} of 255 levels, found images off by {off}"
    )


def _seen(
    backend: Backend, batch: Batch, execution: Execution, *, dropout: float = 0.0
) -> NDArray[np.float32]:
    """Return the pixels, 0-255, that the last layer of a network saw of a batch in training."""
    task = make_task(
        make_network(input_shape=batch.inputs.shape[1:]),
        is_augmented=batch.warp is not None,
        execution=execution,
    )
    return learnt_inputs(backend, batch, task=task, dropout=dropout) * 255


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
