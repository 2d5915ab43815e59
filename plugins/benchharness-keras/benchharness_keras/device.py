"""The device, and the process-wide switches of Keras that decide speed and rounding."""

from __future__ import annotations

import keras

from benchharness.api import Task, UnsupportedError
from benchharness_keras.engines import ENGINE


def use_device(task: Task) -> str:
    """Set precision and determinism for this process, and return the device Keras computes on.

    The core has already narrowed this process to the cores and the accelerator it may use, and
    every engine takes its threads and its first device from what it sees. On JAX, determinism once
    asked for lasts as long as the process.

    Raises:
        UnsupportedError: The device, the precision or the layout is not to be had here.
    """
    execution = task.execution
    # First of all, because JAX reads this switch with its first operation.
    # XLA in TensorFlow 2.21 cannot compile pooling's gradient once determinism is on, and who asks
    # to compile asks for that first.
    is_xla = execution.compile and keras.config.backend() == "tensorflow"
    ENGINE.use_determinism(execution.is_deterministic and not is_xla, seed=task.seed)
    if execution.device == "gpu" and not _is_on_gpu():
        raise UnsupportedError(
            f"device: Keras on {keras.config.backend()} sees no GPU; "
            "install a GPU build of its engine, or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    if execution.layout == "channels_first":
        raise UnsupportedError(
            "layout: Keras computes channels_last here; TensorFlow has no channels-first "
            "convolution on a CPU, and reorders automatically on a GPU"
        )
    is_mixed = execution.precision == "bfloat16"
    keras.config.set_dtype_policy("mixed_bfloat16" if is_mixed else "float32")
    keras.config.set_image_data_format("channels_last")
    # Keras has no switch of its own for TF32; each engine has another default.
    ENGINE.allow_tf32(execution.precision == "tf32")
    return f"{execution.device}:0"


def _is_on_gpu() -> bool:
    """Return whether Keras places its tensors on a GPU; asks a tensor, as every engine can."""
    place = str(keras.ops.zeros(1).device).lower()
    return "gpu" in place or "cuda" in place
