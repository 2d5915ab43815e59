"""The device, and the process-wide switches of Keras that decide speed and rounding."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from benchharness.api import Execution, Setting, UnsupportedError


def use_device(execution: Execution) -> str:
    """Set precision for this process and return the device Keras computes on.

    The core has already narrowed this process to the cores and the accelerator it may use, and
    every engine takes its threads and its first device from what it sees.

    Raises:
        UnsupportedError: The device, the precision or the layout is not to be had here.
    """
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
            "convolution on a CPU, and reorders by itself on a GPU"
        )
    is_mixed = execution.precision == "bfloat16"
    keras.config.set_dtype_policy("mixed_bfloat16" if is_mixed else "float32")
    keras.config.set_image_data_format("channels_last")
    if execution.device == "gpu":
        _allow_tf32(execution.precision == "tf32")
    return f"{execution.device}:0"


def settings(
    execution: Execution, device: str, *, jit_compile: bool | None = None
) -> Mapping[str, Setting]:
    """Return the effective settings, read back from Keras where it tells them."""
    return {
        "engine": keras.config.backend(),
        "device": device,
        "threads": execution.threads,
        "precision": execution.precision,
        "dtype_policy": keras.config.dtype_policy().name,
        "layout": keras.config.image_data_format(),
        "compile": execution.compile if jit_compile is None else jit_compile,
    }


def _is_on_gpu() -> bool:
    """Return whether Keras places its tensors on a GPU; asks a tensor, as every engine can."""
    place = str(keras.ops.zeros(1).device).lower()
    return "gpu" in place or "cuda" in place


def _allow_tf32(allowed: bool) -> None:
    # Keras has no switch of its own for TF32; each engine has another default.
    engine = keras.config.backend()
    if engine == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_tensor_float_32_execution(allowed)
    elif engine == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "float32")
    else:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed
