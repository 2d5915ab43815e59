"""The device, batches on it, and the record of what the network receives, in MLX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from benchharness.api import (
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    FingerprintSpec,
    Preprocessing,
    Setting,
    Task,
    UnsupportedError,
)


def use_device(task: Task) -> mx.Device:
    """Choose the device for this process, and return it.

    Raises:
        UnsupportedError: MLX has no such device or setting.
    """
    execution = task.execution
    only = {
        "device": "cpu",
        # A stream of MLX on a CPU is one thread.
        "threads": 1,
        "precision": "float32",
        "layout": "channels_last",
        "compile": False,
    }
    for setting, expected in only.items():
        value = getattr(execution, setting)
        if value != expected:
            raise UnsupportedError(f"{setting} = {value}: mlx has {expected} alone")
    if task.native is not None:
        raise UnsupportedError("track: mlx has no defaults of its own yet")
    if task.files is not None:
        raise UnsupportedError("input: mlx has no loader of files yet; use prepared images")
    device = mx.Device(mx.cpu)
    mx.set_default_device(device)
    return device


def synchronize(device: mx.Device) -> None:
    """Return when everything handed to the device is done.

    It waits for what ``mx.eval`` and ``mx.async_eval`` have handed over. An operation that was only
    recorded is nobody's work yet: each step hands over all of its own.
    """
    mx.synchronize(mx.default_stream(device))


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return mx.synchronize


def device_settings(device: mx.Device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    return {
        "engine": "mlx",
        "device": str(mx.default_device()),
        "threads": 1,
        "precision": str(mx.ones(1).dtype).rpartition(".")[2],
        "tf32": False,
        "layout": "channels_last",
        "compile": False,
        "deterministic": True,
        "loader_workers": 0,
        "images": Inputs.computed_by,
        "fingerprints": Ledger.computed_by,
    }


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


class Ledger:
    """The fingerprints and labels of the sampled steps of the last epoch, kept on the device.

    Attributes:
        computed_by: What computes them, for the settings.
    """

    computed_by = "mlx"

    def __init__(self, spec: FingerprintSpec | None) -> None:
        self._spec = spec
        self._sampled = frozenset(spec.steps if spec else ())
        self._pattern = spec and mx.array(spec.pattern)
        self.clear()

    def clear(self) -> None:
        """Forget every step and count from 0: an epoch starts, or everything is reset."""
        self._rows: list[tuple[mx.array, mx.array]] = []
        self._position = 0

    def write(self, inputs: mx.array, labels: mx.array) -> None:
        """Record one step where it is sampled, without waiting for the device."""
        position, self._position = self._position, self._position + 1
        if position not in self._sampled:
            return
        chosen = mx.arange(self._spec.images) % len(labels)
        weighed = (inputs[chosen] * self._pattern).reshape(len(chosen), -1)
        row = weighed.sum(axis=1), labels[chosen]
        mx.async_eval(row)
        self._rows.append(row)

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        if self._spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        shape = (len(self._rows), self._spec.images)
        return ConsumedBatches(
            fingerprints=np.array([np.array(p) for p, _ in self._rows], np.float32).reshape(shape),
            labels=np.array([np.array(seen) for _, seen in self._rows], np.int32).reshape(shape),
        )


class MlxFeeding:
    """Brings batches to the device, for no network."""

    def __init__(self, task: Task, *, device: mx.Device) -> None:
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.fingerprint_spec)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for batch in batches:
            arrays = to_device(batch, device=self._device)
            inputs = self._inputs(arrays)
            # Nobody else asks for them, so they would never be computed.
            mx.async_eval(inputs)
            self._ledger.write(inputs, arrays.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)
