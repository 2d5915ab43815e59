"""The device, and the process-wide switches of PyTorch that decide speed and rounding."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchharness.api import PluginError, Task, UnsupportedError


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
        require_compiler(execution.device)
    # Inter-op threads would compete with the arithmetic for the same cores.
    torch.set_num_threads(execution.threads)
    has_tf32 = execution.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = has_tf32
    torch.backends.cudnn.allow_tf32 = has_tf32
    _use_determinism(execution.is_deterministic)
    return torch.device("cuda:0" if execution.device == "gpu" else "cpu")


def require_compiler(device: str) -> None:
    """Refuse to compile where what torch.compile writes cannot be translated.

    Raises:
        PluginError: There is no compiler, or it would lack the headers of this Python.
    """
    variable, usual = ("CC", "gcc") if device == "gpu" else ("CXX", "g++")
    compiler = os.environ.get(variable, usual)
    if shutil.which(compiler) is None:
        raise PluginError(
            f"compile: torch.compile calls {compiler}, which is not installed; install it, for "
            f"example with: apt install g++, or name another in {variable}, or leave out compile"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise PluginError(
            f"compile: torch.compile needs the headers of this Python, and {headers} has no "
            "Python.h; install it, for example with: apt install python3-dev, or leave out compile"
        )


def synchronize(device: torch.device) -> None:
    """Return when everything handed to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return partial(synchronize, torch.device(device))


def autocast(task: Task, device: torch.device) -> torch.autocast:
    """Return the context in which arithmetic is bfloat16 where the task asks for it."""
    is_mixed = task.execution.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_mixed)


def _use_determinism(wanted: bool) -> None:
    if wanted:
        # cuBLAS reads it with its first product; smaller workspaces would slow a timed trial.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    # Input shapes are constant but for an epoch's last batch, so searching once pays; but what
    # wins the search may differ from run to run.
    torch.backends.cudnn.benchmark = not wanted
