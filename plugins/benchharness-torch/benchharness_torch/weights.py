"""Canonical arrays in and out of PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# Twin note: canonical kernels are HWIO and (in, out), PyTorch's OIHW and (out, in).
_TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
_TO_CANONICAL = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def named_parameters(model: nn.Sequential) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield each parameter with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``."""
    for name, parameter in model.named_parameters():
        layer, _, part = name.rpartition(".")
        yield f"{layer}/{'kernel' if part == 'weight' else part}", parameter


@torch.no_grad()
def load_weights(model: nn.Sequential, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy canonical arrays into the model; names and shapes must match."""
    for name, parameter in named_parameters(model):
        canonical = torch.from_numpy(np.array(arrays[name], dtype=np.float32))
        parameter.copy_(canonical.permute(_TO_TORCH[canonical.ndim]))


def to_canonical(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a parameter or its gradient as a float32 array in canonical layout."""
    permuted = tensor.detach().float().permute(_TO_CANONICAL[tensor.ndim])
    return np.array(permuted.cpu().numpy(), order="C")
