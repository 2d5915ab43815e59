"""The device, and the process-wide switches of JAX that decide speed and rounding."""

from __future__ import annotations

import os
from collections.abc import Callable

import jax

from benchharness.api import Task, UnsupportedError

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
