"""The device, and the process-wide switches of PyTorch that decide speed and rounding."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from benchharness.api import Task, UnsupportedError
from benchharness_torch.compiling import prepare_compiler


def use_device(task: Task) -> torch.device:
    """Set threads, precision and determinism for this process, and return the device.

    Raises:
        UnsupportedError: The device or the precision is not to be had here.
        PluginError: torch.compile has no compiler to call.
    """
    execution = task.execution
    if execution.device == "gpu" and not torch.cuda.is_available():
        raise UnsupportedError(
            f"device: PyTorch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of torch, or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    if execution.compile:
        is_gpu = execution.device == "gpu"
        prepare_compiler(is_gpu=is_gpu, is_timed=not execution.is_deterministic)
    # Inter-op threads would compete with the arithmetic for the same cores.
    torch.set_num_threads(execution.threads)
    has_tf32 = execution.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = has_tf32
    torch.backends.cudnn.allow_tf32 = has_tf32
    _use_determinism(execution.is_deterministic)
    return torch.device("cuda:0" if execution.device == "gpu" else "cpu")


def synchronize(device: torch.device) -> None:
    """Return when everything handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return partial(synchronize, torch.device(device))


def autocast(task: Task, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which arithmetic is bfloat16 where the task asks for it."""
    # PyTorch's context takes some microseconds even where it changes nothing.
    if task.execution.precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _use_determinism(wanted: bool) -> None:
    if wanted:
        # cuBLAS reads it with its first product; smaller workspaces would slow a timed trial.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != wanted:
        # The call imports the compiler, a second of a trial that may need none (PyTorch 2.15).
        torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    # Input shapes are constant but for an epoch's last batch, so searching once pays; but what
    # wins the search may differ from run to run.
    torch.backends.cudnn.benchmark = not wanted
