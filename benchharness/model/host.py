"""Work that the core does for a plugin on the host, in NumPy: slower than a device.

It is also the definition of that work, to which every plugin is held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.model.task import (
    AugmentationParams,
    ConsumedBatches,
    FingerprintSpec,
    Preprocessing,
)


def warp_on_host(images: NDArray[np.uint8], warp: AugmentationParams) -> NDArray[np.float32]:
    """Return the images as a warp changes them, computed by NumPy.

    Args:
        images: uint8, shape (batch, height, width, channels).
        warp: One affine map and one colour shift for each.

    Returns:
        float32, the shape of ``images``, 0-255.
    """
    batch, height, width, _ = images.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    where = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    across, down = np.moveaxis(warp.affine.astype(np.float64) @ where, 1, 0)
    left, right, x_part = _neighbours(across, width)
    top, bottom, y_part = _neighbours(down, height)
    row = np.arange(batch)[:, None]
    pixels = images.astype(np.float64)
    upper = pixels[row, top, left] * (1 - x_part) + pixels[row, top, right] * x_part
    lower = pixels[row, bottom, left] * (1 - x_part) + pixels[row, bottom, right] * x_part
    blended = upper * (1 - y_part) + lower * y_part
    shifted = np.clip(blended + warp.colour[:, None, :], 0, 255)
    return shifted.reshape(images.shape).astype(np.float32)


def preprocess_on_host(
    images: NDArray[np.float32], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return network inputs, whitened where the task states it, computed by NumPy.

    Args:
        images: 0-255, shape (batch, height, width, channels).
        preprocessing: What to do.

    Returns:
        float32, the shape of ``images``.
    """
    ordered = images[..., list(preprocessing.order)].astype(np.float64)
    scaled = (ordered - np.array(preprocessing.mean)) * np.array(preprocessing.scale)
    whitening = preprocessing.whitening
    if whitening is not None:
        flat = scaled.reshape(len(scaled), -1) - whitening.mean
        scaled = ((flat @ whitening.basis * whitening.gain) @ whitening.basis.T).reshape(
            scaled.shape
        )
    inputs: NDArray[np.float32] = scaled.astype(np.float32)
    return inputs


class HostLedger:
    """Record of the sampled steps of the last epoch, computed by NumPy.

    Every sampled step waits for the device, because it reads the inputs back.

    Args:
        spec: The task's; None to record nothing.
    """

    def __init__(self, spec: FingerprintSpec | None) -> None:
        self._spec = spec
        self._sampled = frozenset(spec.steps if spec else ())
        self._rows: list[tuple[NDArray[np.float64], NDArray[np.int32]]] = []
        self._position = 0

    def clear(self) -> None:
        """Forget every step and count from 0: an epoch starts, or everything is reset."""
        self._rows.clear()
        self._position = 0

    def write(self, inputs: Any, labels: Any) -> None:
        """Record one step, where it is sampled.

        Args:
            inputs: As the network sees them, shape (batch, ...), channels last; anything that
                ``np.asarray`` takes, which is called at sampled steps alone.
            labels: As the loss sees them, shape (batch,); likewise.
        """
        position, self._position = self._position, self._position + 1
        if self._spec is None or position not in self._sampled:
            return
        inputs, labels = np.asarray(inputs), np.asarray(labels)
        chosen = np.arange(self._spec.images) % len(labels)
        weighed = inputs[chosen].astype(np.float64) * self._spec.pattern
        prints = weighed.reshape(len(chosen), -1).sum(axis=1)
        self._rows.append((prints, labels[chosen]))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        if self._spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        shape = (len(self._rows), self._spec.images)
        return ConsumedBatches(
            fingerprints=np.array([row[0] for row in self._rows], np.float32).reshape(shape),
            labels=np.array([row[1] for row in self._rows], np.int32).reshape(shape),
        )


def _neighbours(
    position: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the pixels on both sides of each position, and how far it is to the second."""
    inside = np.clip(position, 0, count - 1)
    first = np.floor(inside).astype(np.int64)
    return first, np.minimum(first + 1, count - 1), (inside - first)[..., None]
