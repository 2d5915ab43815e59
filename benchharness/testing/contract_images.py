"""The contract's part on images: preprocessing, augmentation and extracted features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AugmentationParams,
    Backend,
    Batch,
    Conv,
    Execution,
    Flatten,
    MaxPool,
    Network,
    Optimizer,
)
from benchharness.model.host import warp_on_host
from benchharness.testing.compare import (
    FEATURES,
    LOGITS,
    PIXEL_LEVELS,
    assert_equal,
    assert_loss,
    assert_near_largest,
)
from benchharness.testing.pixels import learnt_inputs
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
)

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


class ImagesContract(Contract):
    """Images reach the network as the task describes them, pixel for pixel."""

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

        expected = NumpyBackend().train(replace(task, execution=CPU)).logits(batch)
        assert_near_largest(logits, expected, tolerance=LOGITS, what=f"logits after {name}")

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

        _assert_learnt(
            backend, replace(batch, warp=AugmentationParams(affine=maps, colour=colour)), execution
        )

    def test_training_sees_each_image_by_its_own_warp(
        self, backend: Backend, execution: Execution
    ) -> None:
        """A batch of images, each turned, sheared, zoomed, mirrored and coloured differently."""
        _assert_learnt(backend, make_batches(sizes=(8,), is_augmented=True)[0], execution)

    def test_losses_on_augmented_batches_are_the_references(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Two epochs of a linear network on augmented batches lose what the reference loses."""
        task = make_task(linear(), is_augmented=True, execution=execution)
        batches = make_batches(is_augmented=True)
        training = backend.train(task)
        reference = NumpyBackend().train(replace(task, execution=CPU))

        found = learn(training, batches, batches)

        for scores, expected in zip(found, learn(reference, batches, batches), strict=True):
            assert_loss(scores.loss, expected.loss)

    def test_evaluation_of_an_augmented_task_is_plain(
        self, backend: Backend, execution: Execution
    ) -> None:
        """A task whose training is augmented evaluates batches that carry no warp."""
        task = make_task(linear(), is_augmented=True, execution=execution)

        scores = backend.train(task).evaluate(make_batches())

        expected = NumpyBackend().train(replace(task, execution=CPU)).evaluate(make_batches())
        assert_loss(scores.loss, expected.loss)

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
        training, reference = (
            backend.train(replace(task, inputs=inputs)),
            NumpyBackend().train(replace(task, execution=CPU)),
        )
        if not getattr(training, "holds_inputs", False):
            # Nobody has to: batches have the pixels then.
            return

        found = learn(training, bare, bare)
        expected = learn(reference, batches, batches)
        plain = [replace(batch, warp=None) for batch in batches]
        for kept in (plain, [replace(batch, warp=None) for batch in bare]):
            found.append(training.evaluate(kept))
            expected.append(reference.evaluate(plain))

        for scores, wanted in zip(found, expected, strict=True):
            assert_loss(scores.loss, wanted.loss)

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
        for found, wanted in zip(features, expected, strict=True):
            assert_near_largest(found, wanted, tolerance=FEATURES, what="features")


def _assert_learnt(backend: Backend, batch: Batch, execution: Execution) -> None:
    assert batch.warp is not None
    seen = learnt_inputs(backend, batch, execution=execution) * 255
    images: NDArray[np.uint8] = batch.inputs.astype(np.uint8)
    expected = warp_on_host(images, batch.warp)
    off = np.abs(seen - expected).max(axis=(1, 2, 3))
    assert off.max() <= PIXEL_LEVELS, (
        f"pixels: expected within {PIXEL_LEVELS} of 255 levels, found images off by {off}"
    )
