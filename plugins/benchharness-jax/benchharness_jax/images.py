"""Path from a batch's uint8 images to the network's inputs, compiled."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from numpy.typing import NDArray

from benchharness.api import Batch, Task
from benchharness_jax.steps import compiled

Array = jax.Array | NDArray[np.generic]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArrays:
    """A batch as a step takes it.

    Twin note: NumPy arrays or arrays on the device, because a compiled function copies NumPy arrays
    to the device faster than ``device_put`` does; in PyTorch tensors on the device.

    Attributes:
        inputs: uint8 images, channels last, or float32 features; of inputs that stay on the device,
            int32 ids, shape (batch,).
        labels: int32, shape (batch,).
        affine: Of the warp; None for no warp.
        colour: Likewise.
    """

    inputs: Array
    labels: Array
    affine: Array | None
    colour: Array | None

    @classmethod
    def of(cls, batch: Batch) -> BatchArrays:
        """Return the arrays of a batch, in host memory."""
        warp = batch.warp
        return cls(
            inputs=batch.inputs if batch.inputs.size else batch.ids.astype(np.int32),
            labels=batch.labels,
            affine=None if warp is None else warp.affine,
            colour=None if warp is None else warp.colour,
        )


def to_device(batch: Batch, *, device: jax.Device) -> BatchArrays:
    """Return copies of a batch's arrays on the device."""
    return jax.device_put(BatchArrays.of(batch), device, may_alias=False)


class Inputs:
    """Augments and preprocesses batches in bulk.

    Twin note: one compiled function, and not a part of the compiled step: there a second reader of
    the images, such as the record, keeps XLA from fusing the resampling into one kernel, which
    makes it five times as slow. In PyTorch eager operations.
    """

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        self._preprocess = Preprocess.of(task, device=device)
        self._held = hold(task, device=device)
        self._compiled = compiled(network_input, device=device)
        self._rows = compiled(rows, device=device)

    def __call__(self, batch: BatchArrays) -> Array:
        """Return float32 (batch, height, width, channels), or features as they are."""
        if self._preprocess is not None:
            return self._compiled(batch, self._preprocess, self._held)
        return batch.inputs if batch.inputs.ndim > 1 else self._rows(batch.inputs, self._held)


def hold(task: Task, *, device: jax.Device) -> jax.Array | None:
    """Return all inputs on the device, where the task hands them over; else None."""
    return None if task.inputs is None else jax.device_put(np.asarray(task.inputs), device)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """``(image[..., order] - mean) * scale``, then whitening where the task states it.

    Twin note: arguments of a compiled function here, because what it closes over is compiled into
    it; a class with tensors in PyTorch, layers in Keras.
    """

    order: tuple[int, ...] = field(metadata={"static": True})
    mean: jax.Array
    scale: jax.Array
    whitening: tuple[jax.Array, jax.Array, jax.Array] | None

    @classmethod
    def of(cls, task: Task, *, device: jax.Device) -> Preprocess | None:
        """Return the task's preprocessing on the device; None where its inputs are features."""
        stated = task.preprocessing
        if stated is None:
            return None
        whitening = stated.whitening
        return cls(
            order=stated.order,
            mean=jnp.array(stated.mean, jnp.float32, device=device),
            scale=jnp.array(stated.scale, jnp.float32, device=device),
            whitening=whitening
            and jax.device_put((whitening.mean, whitening.basis, whitening.gain), device),
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map float32 images to float32 of the same shape."""
        images = (reorder(images, self.order) - self.mean) * self.scale
        if self.whitening is None:
            return images
        mean, basis, gain = self.whitening
        white = (((images.reshape(len(images), -1) - mean) @ basis) * gain) @ basis.T
        return white.reshape(images.shape)


def rows(inputs: jax.Array, held: jax.Array | None) -> jax.Array:
    """Return a batch's inputs: as they are, or by their ids from those on the device."""
    return inputs if inputs.ndim > 1 else jnp.take(held, inputs, axis=0, mode="clip")


def network_input(
    batch: BatchArrays, preprocess: Preprocess, held: jax.Array | None = None
) -> jax.Array:
    """Return what the first layer of the network sees, float32, channels last."""
    images = rows(batch.inputs, held).astype(jnp.float32)
    if batch.affine is not None:
        shifted = warp(images, batch.affine) + batch.colour[:, None, None, :]
        images = jnp.clip(shifted, 0, 255)
    return preprocess(images)


def reorder(images: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """Return images with their channels in another order."""
    # XLA gathers value by value even where nothing moves; reading backwards costs nothing.
    if order == tuple(range(len(order))):
        return images
    if order == tuple(reversed(range(len(order)))):
        return images[..., ::-1]
    return images[..., np.array(order)]


@jax.vmap
def warp(image: jax.Array, affine: jax.Array) -> jax.Array:
    """Resample an image by its affine map, bilinear, edge pixels repeated outside.

    Args:
        image: float32, shape (height, width, channels).
        affine: float32, shape (2, 3), output pixel to input pixel.
    """
    height, width, _ = image.shape
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    # Written out, because a product of matrices may round to TF32: by half a pixel.
    source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in affine)
    resample = jax.vmap(map_coordinates, in_axes=(-1, None, None, None), out_axes=-1)
    return resample(image, [source_y, source_x], 1, "nearest")
