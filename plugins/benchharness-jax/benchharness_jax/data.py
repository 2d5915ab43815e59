"""JAX's device, batches on it, and the record of what the network receives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from numpy.typing import NDArray

from benchharness.api import (
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    FingerprintSpec,
    Setting,
    Task,
    UnsupportedError,
)

# Read by XLA with its first operation.
XLA_DETERMINISM = "--xla_gpu_deterministic_ops=true"


def use_device(task: Task) -> jax.Device:
    """Set precision and determinism for this process, and return the device.

    The core has already narrowed this process to the cores and the accelerator it may use; JAX
    takes a thread for each core it sees. On a GPU, determinism once asked for lasts as long as
    the process.

    Raises:
        UnsupportedError: The device, the precision or the layout is not to be had here.
    """
    execution = task.execution
    # First of all, because looking for devices starts XLA.
    _use_determinism(execution.is_deterministic)
    if execution.device == "gpu" and not _has_gpu():
        raise UnsupportedError(
            f"device: JAX {jax.__version__} sees no GPU; "
            "install it with: pip install 'benchharness-jax[cuda]', or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    if execution.layout == "channels_first":
        raise UnsupportedError(
            "layout: Flax's convolutions take channels_last, and XLA chooses their layout in memory"
        )
    # TF32 on a GPU unless told otherwise.
    precision = "tensorfloat32" if execution.precision == "tf32" else "float32"
    jax.config.update("jax_default_matmul_precision", precision)
    return jax.devices(execution.device)[0]


def synchronize(arrays: object) -> None:
    """Return when arrays, and thereby everything that they were computed from, are there.

    Twin note: JAX waits for arrays, PyTorch for a device.
    """
    jax.block_until_ready(arrays)


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours: for every array there is."""
    return lambda: synchronize(jax.live_arrays())


def _has_gpu() -> bool:
    try:
        return bool(jax.devices("gpu"))
    except RuntimeError:
        return False


def _use_determinism(wanted: bool) -> None:
    flags = os.environ.get("XLA_FLAGS", "")
    if wanted and XLA_DETERMINISM not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {XLA_DETERMINISM}".strip()


def device_settings(device: jax.Device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    is_gpu = device.platform == "gpu"
    flags = os.environ.get("XLA_FLAGS", "")
    is_flagged = XLA_DETERMINISM in flags
    preallocates = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower()
    return {
        "engine": "jax",
        "device": f"{device.platform}:{device.id}",
        "threads": len(os.sched_getaffinity(0)),
        "precision": precision_of("float32"),
        "tf32": _has_tf32(),
        "layout": "channels_last",
        # Not a choice: step by step, JAX compiles every single operation.
        "compile": True,
        "deterministic": is_flagged or not is_gpu,
        "autotune": is_gpu and not is_flagged,
        "loader_workers": 0,
        "preallocation": is_gpu and preallocates not in ("false", "0"),
        **({"xla_flags": flags} if flags else {}),
    }


def precision_of(dtype: str) -> str:
    """Return the precision of arithmetic in a dtype: products of float32 may round to TF32."""
    return "tf32" if dtype == "float32" and _has_tf32() else dtype


def _has_tf32() -> bool:
    return jax.config.jax_default_matmul_precision not in ("float32", "highest")


# Cached, so that trainings of equal settings share what is compiled.
@cache
def compiled(
    function: Callable[..., Any], *, device: jax.Device, donated: int | None = None, **static: Any
) -> Callable[..., Any]:
    """Return a function of arrays, compiled for a device, with its static arguments bound.

    Args:
        function: What to compile.
        device: Where to compute; arrays that are elsewhere are brought there.
        donated: Position of the argument whose memory the result takes; None for none.
        static: Arguments by keyword. Left to ``jax.jit``, a graph would be hashed in each call,
            which takes as long as a step of a small network.
    """
    return jax.jit(
        partial(function, **static),
        # Stated, so that arrays of the host and of the device call the same executable.
        in_shardings=jax.sharding.SingleDeviceSharding(device),
        donate_argnums=donated,
    )


def build_loader(task: Task) -> None:
    """Return None, for a task whose batches bring their images along.

    Twin note: JAX has no decoder and no loader. Its users take those of another framework, and
    timing these would time that framework.

    Raises:
        UnsupportedError: The task states files.
    """
    if task.files is not None:
        raise UnsupportedError(
            "input: JAX has no loader of image files; "
            'set input = "prepared", or leave jax out of this benchmark'
        )


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


class JaxFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        build_loader(task)
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._preprocess = Preprocess.of(task, device=device)
        self._held = hold(task, device=device)
        self._ledger = Ledger(task.fingerprint_spec, device=device)
        self._feed = compiled(feed, device=device)
        self._turn = np.int32(0)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for step, batch in enumerate(batches):
            self._turn, inputs, labels = self._feed(
                self._turn, BatchArrays.of(batch), self._preprocess, self._held
            )
            self._ledger.write(step, inputs, labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._turn)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)


def feed(
    turn: jax.Array, batch: BatchArrays, preprocess: Preprocess, held: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the next turn, and a batch and its labels as a network would see them.

    Each batch takes the turn of the previous: whoever waits for the last waits for all.
    """
    return turn + 1, network_input(batch, preprocess, held), batch.labels


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device."""

    def __init__(self, spec: FingerprintSpec | None, *, device: jax.Device) -> None:
        self._spec = spec
        self._rows: list[tuple[jax.Array, jax.Array]] = []
        self._sampled = frozenset(spec.steps if spec else ())
        if spec is not None:
            self._pattern = jax.device_put(spec.pattern, device)
            self._first_rows = compiled(first_rows, device=device, images=spec.images)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: Array, labels: Array) -> None:
        """Record a step, by its position from 0, if it is sampled; the device is not waited for."""
        if step in self._sampled:
            if isinstance(inputs, np.ndarray):
                # Features in host memory: no more than are needed are brought to the device.
                inputs, labels = inputs[: self._spec.images], labels[: self._spec.images]
            self._rows.append(self._first_rows(inputs, labels, self._pattern))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        if self._spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        rows = jax.device_get(self._rows)
        shape = (len(rows), self._spec.images)
        return ConsumedBatches(
            fingerprints=np.array([prints for prints, _ in rows], np.float32).reshape(shape),
            labels=np.array([labels for _, labels in rows], np.int32).reshape(shape),
        )


def first_rows(
    inputs: jax.Array, labels: jax.Array, pattern: jax.Array, *, images: int
) -> tuple[jax.Array, jax.Array]:
    """Return the fingerprints and labels of a batch's first images, starting over at its end."""
    rows, seen = inputs[:images], labels[:images]
    if len(labels) < images:
        chosen = np.arange(images) % len(labels)
        rows, seen = inputs[chosen], labels[chosen]
    # Faster than a product and a sum; the precision keeps it from TF32.
    prints = jnp.dot(rows.reshape(images, -1), pattern.ravel(), precision="highest")
    return prints, seen
