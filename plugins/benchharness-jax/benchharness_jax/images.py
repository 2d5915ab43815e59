"""From a batch's uint8 images to the network's input, inside the compiled step."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from benchharness.api import Batch, Task

Arrays = dict[str, jax.Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """``(image[..., order] - mean) * scale``, then whitening where the task states it.

    Twin note: arguments of a compiled function here, for what it closes over is compiled into it;
    a module in PyTorch, layers in Keras.
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
        images = (images[..., np.array(self.order)] - self.mean) * self.scale
        if self.whitening is None:
            return images
        mean, basis, gain = self.whitening
        white = (((images.reshape(len(images), -1) - mean) @ basis) * gain) @ basis.T
        return white.reshape(images.shape)


def arrays(batch: Batch, *, device: jax.Device) -> Arrays:
    """Return a batch's inputs, and its warp where it has one, on the device."""
    named = {"inputs": batch.inputs}
    if batch.warp is not None:
        named |= {"affine": batch.warp.affine, "colour": batch.warp.colour}
    return jax.device_put(named, device)


def labels(batch: Batch, *, device: jax.Device) -> jax.Array:
    """Return a batch's int32 labels on the device."""
    return jax.device_put(batch.labels, device)


def network_input(arrays: Arrays, preprocess: Preprocess | None) -> jax.Array:
    """Return what the first layer of the network sees, float32, channels last."""
    if preprocess is None:
        return arrays["inputs"]
    images = arrays["inputs"].astype(jnp.float32)
    if "affine" in arrays:
        shifted = warp(images, arrays["affine"]) + arrays["colour"][:, None, None, :]
        images = jnp.clip(shifted, 0, 255)
    return preprocess(images)


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
