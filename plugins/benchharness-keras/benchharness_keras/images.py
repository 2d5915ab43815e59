"""Path from a batch's uint8 images to the network's inputs, as layers inside the model."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from benchharness.api import Batch, Preprocessing, Task
from benchharness_keras.engines import ENGINE, Arrays, Tensor


def input_tensors(
    task: Task, *, is_augmented: bool, is_loaded: bool = False
) -> dict[str, keras.KerasTensor]:
    """Return the model's symbolic inputs: the images or features, and the warp where there is one.

    Keras's own loader of folders gives images as float32 (``is_loaded``), everything else uint8.

    Twin note: layers inside the model here, which become part of the compiled step; a module that
    runs before the network in PyTorch.
    """
    is_float = task.preprocessing is None or (is_loaded and bool(task.files.folder))
    dtype = "float32" if is_float else "uint8"
    tensors = {"inputs": keras.Input(task.input_shape, dtype=dtype, name="inputs")}
    if is_augmented:
        tensors["affine"] = keras.Input((2, 3), name="affine")
        tensors["colour"] = keras.Input((task.input_shape[2],), name="colour")
    return tensors


def network_input(task: Task, tensors: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
    """Return what the first layer of the network sees, float32, channels last."""
    images = tensors["inputs"]
    if "affine" in tensors:
        images = WarpImages(dtype="float32")([images, tensors["affine"], tensors["colour"]])
    if task.preprocessing is None:
        return images
    return PreprocessImages(task.preprocessing, dtype="float32")(images)


class ToDevice:
    """Brings batches to the device, where inputs that the task hands over whole stay."""

    def __init__(self, task: Task) -> None:
        self._held = None if task.inputs is None else ENGINE.hold(np.asarray(task.inputs))
        self._take = ENGINE.function(lambda held, ids: ops.take(held, ids, axis=0))

    def __call__(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return a batch's arrays by name, and its labels, as ``Engine.arrays`` does."""
        arrays, labels = ENGINE.arrays(batch)
        if self._held is not None and not batch.inputs.size:
            ids = ENGINE.array(batch.ids.astype(np.int32))
            arrays["inputs"] = self._take(self._held, ids)
        return arrays, labels


class WarpImages(keras.Layer):
    """Resample each image by its affine map, add its colour shift, clip to 0-255."""

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Map images, affine (batch, 2, 3) and colour (batch, channels) to float32 images."""
        images, affine, colour = inputs
        return ENGINE.recolour(ENGINE.resample(ops.cast(images, "float32"), affine), colour)


class PreprocessImages(keras.Layer):
    """``(image[..., order] - mean) * scale``, then whitening where the task states it."""

    def __init__(self, preprocessing: Preprocessing, **options: object) -> None:
        super().__init__(**options)
        order = preprocessing.order
        self._order = None if list(order) == sorted(order) else np.array(order, np.int32)
        self._scale = tuple(map(float, preprocessing.scale))
        pairs = zip(preprocessing.mean, preprocessing.scale, strict=True)
        self._shift = tuple(-mean * scale for mean, scale in pairs)
        self._whitening = preprocessing.whitening

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Map images of any dtype to float32 of the same shape."""
        if self._order is not None:
            images = ops.take(images, ENGINE.constant(self._order, like=images), axis=-1)
        images = ENGINE.normalise(images, self._scale, self._shift)
        if self._whitening is None:
            return images
        mean, basis, gain = (
            ENGINE.constant(array, like=images)
            for array in (self._whitening.mean, self._whitening.basis, self._whitening.gain)
        )
        flat = ops.reshape(images, (-1, len(self._whitening.mean))) - mean
        white = ops.matmul(flat, basis) * gain
        return ops.reshape(ops.matmul(white, basis.T), ops.shape(images))
