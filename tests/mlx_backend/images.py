"""From a batch's uint8 images to the network's input, in MLX."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from benchharness.api import Batch, Preprocessing, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrays:
    """A batch as a step takes it, on the device.

    Attributes:
        inputs: uint8 images, channels last, or float32 features.
        labels: int32, shape (batch,).
        affine: Of the warp; None for no warp.
        colour: Likewise.
    """

    inputs: mx.array
    labels: mx.array
    affine: mx.array | None
    colour: mx.array | None


def to_device(batch: Batch, *, device: mx.Device) -> BatchArrays:
    """Return copies of a batch's arrays on the device."""
    warp = batch.warp
    return BatchArrays(
        inputs=mx.array(batch.inputs),
        labels=mx.array(batch.labels),
        affine=warp and mx.array(warp.affine),
        colour=warp and mx.array(warp.colour),
    )


class Inputs:
    """Augments and preprocesses batches in bulk.

    Attributes:
        computed_by: What computes them, for the settings.
    """

    computed_by = "mlx"

    def __init__(self, task: Task, *, device: mx.Device) -> None:
        self._preprocess = task.preprocessing and Preprocess(task.preprocessing)

    def __call__(self, batch: BatchArrays) -> mx.array:
        """Return float32 (batch, height, width, channels), or features as they are."""
        if self._preprocess is None:
            return batch.inputs
        images = batch.inputs.astype(mx.float32)
        if batch.affine is not None:
            shifted = warp(images, batch.affine) + batch.colour[:, None, None, :]
            images = mx.clip(shifted, 0, 255)
        return self._preprocess(images)


class Preprocess:
    """``(image[..., order] - mean) * scale``, then whitening where the task states it."""

    def __init__(self, stated: Preprocessing) -> None:
        self._order = mx.array(np.array(stated.order, np.int32))
        self._mean, self._scale = mx.array(stated.mean), mx.array(stated.scale)
        whitening = stated.whitening
        self._whitening = whitening and tuple(
            mx.array(array) for array in (whitening.mean, whitening.basis, whitening.gain)
        )

    def __call__(self, images: mx.array) -> mx.array:
        """Map float32 images to float32 of the same shape."""
        images = (mx.take(images, self._order, axis=3) - self._mean) * self._scale
        if self._whitening is None:
            return images
        mean, basis, gain = self._whitening
        white = ((images.reshape(len(images), -1) - mean) @ basis * gain) @ basis.T
        return white.reshape(images.shape)


def warp(images: mx.array, affine: mx.array) -> mx.array:
    """Resample each image by its affine map, bilinear, edge pixels repeated outside.

    Args:
        images: float32, shape (batch, height, width, channels).
        affine: float32, shape (batch, 2, 3), output pixel to input pixel.
    """
    count, height, width, channels = images.shape
    columns, rows = mx.arange(width)[None, None, :], mx.arange(height)[None, :, None]
    x, y = (
        affine[:, axis, 0, None, None] * columns
        + affine[:, axis, 1, None, None] * rows
        + affine[:, axis, 2, None, None]
        for axis in (0, 1)
    )
    left, right, x_part = _neighbours(x, width)
    top, bottom, y_part = _neighbours(y, height)
    pixels = images.reshape(count, height * width, channels)
    image = mx.arange(count)[:, None, None]
    upper = (1 - x_part) * pixels[image, top * width + left]
    upper = upper + x_part * pixels[image, top * width + right]
    lower = (1 - x_part) * pixels[image, bottom * width + left]
    lower = lower + x_part * pixels[image, bottom * width + right]
    return (1 - y_part) * upper + y_part * lower


def _neighbours(position: mx.array, count: int) -> tuple[mx.array, mx.array, mx.array]:
    """Return the pixels on both sides of each position, and how far it is to the second."""
    inside = mx.clip(position, 0, count - 1)
    first = mx.floor(inside)
    before = first.astype(mx.int32)
    return before, mx.minimum(before + 1, count - 1), (inside - first)[..., None]
