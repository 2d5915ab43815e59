"""The device, and the process-wide switches of PyTorch that decide speed and rounding."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchharness.api import Execution, Setting, UnsupportedError


def use_device(execution: Execution) -> torch.device:
    """Set threads and precision for this process and return the device to compute on.

    Raises:
        UnsupportedError: The device or the precision is not to be had here.
    """
    if execution.device == "gpu" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device: PyTorch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of torch, or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    # Inter-op threads would compete with the arithmetic for the same cores.
    torch.set_num_threads(execution.threads)
    has_tf32 = execution.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = has_tf32
    torch.backends.cudnn.allow_tf32 = has_tf32
    # Input shapes are constant but for an epoch's last batch, so searching once pays.
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda:0" if execution.device == "gpu" else "cpu")


def synchronize(device: torch.device) -> None:
    """Return when everything handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def settings(execution: Execution, device: torch.device) -> Mapping[str, Setting]:
    """Return the effective settings, read back from PyTorch where it tells them."""
    return {
        "engine": "torch",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": execution.precision,
        "tf32": torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32,
        "layout": execution.layout,
        "compile": execution.compile,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autotune": torch.backends.cudnn.benchmark and device.type == "cuda",
    }
