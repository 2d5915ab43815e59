"""The effective settings, read back from PyTorch's own objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from benchharness.api import Setting, Task
from benchharness_torch.device import autocast
from benchharness_torch.optimizers import read_optimizer
from benchharness_torch.weights import named_parameters


def device_settings(task: Task, device: torch.device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    return {
        "engine": "torch",
        "device": str(device),
        "threads": torch.get_num_threads(),
        "inter_op_threads": torch.get_num_interop_threads(),
        "precision": _precision(task, device),
        "tf32": _has_tf32(),
        "layout": task.execution.layout,
        "compile": False,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autotune": torch.backends.cudnn.benchmark and device.type == "cuda",
        "loader_workers": 0,
        "mkldnn": torch.backends.mkldnn.enabled,
    }


def network_settings(
    task: Task, device: torch.device, *, model: nn.Sequential, is_compiled: bool
) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed."""
    return {
        **device_settings(task, device),
        "layout": _layout(model) or task.execution.layout,
        "compile": is_compiled,
    }


def learning_settings(
    *, model: nn.Sequential, optimizer: torch.optim.Optimizer, drawn: Collection[str]
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    Args:
        model: The task's network.
        optimizer: Of its trainable arrays.
        drawn: Names of the arrays that the framework has initialised by itself.
    """
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    learning = [name for name, parameter in named_parameters(model) if parameter.requires_grad]
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(dict.fromkeys(name.split("/")[0] for name in learning)),
        # PyTorch's layers keep no record of it; this is what Linear and Conv2d do (2.11 to 2.15).
        "initialiser": "kaiming_uniform" if drawn else "given",
    }


def _precision(task: Task, device: torch.device) -> str:
    with autocast(task, device):
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    return "tf32" if _has_tf32() else "float32"


def _has_tf32() -> bool:
    # Either is enough to round more than float32 does.
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def _layout(model: nn.Sequential) -> str | None:
    """Return how the kernels lie in memory; None where no kernel can tell."""
    for kernel in (parameter for parameter in model.parameters() if parameter.ndim == 4):
        is_last = kernel.is_contiguous(memory_format=torch.channels_last)
        # Kernels of one pixel, or of one channel, lie the same in both layouts.
        if is_last != kernel.is_contiguous():
            return "channels_last" if is_last else "channels_first"
    return None
