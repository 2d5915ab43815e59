"""Layers of a network: from the core's description to PyTorch modules."""

from __future__ import annotations

from collections import OrderedDict
from functools import singledispatch

import torch
from torch import nn

from benchharness.api import Conv, Dense, Dropout, Flatten, MaxPool, Network


class FlattenChannelsLast(nn.Module):
    """Flatten in NHWC order, as the canonical dense kernels expect.

    Twin note: PyTorch's logical order is NCHW, Keras's is NHWC. With channels-last memory the
    permutation costs nothing, because the values already lie in that order.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to (batch, height * width * channels)."""
        return images.permute(0, 2, 3, 1).flatten(1)


def build_network(*, network: Network) -> nn.Sequential:
    """Return the network, its children named as its layers; activations are ``NAME_relu``."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for layer, shape, _ in network.steps():
        modules[layer.name] = build_layer(layer, shape)
        if getattr(layer, "activation", "linear") == "relu":
            modules[f"{layer.name}_relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(modules)


@singledispatch
def build_layer(layer: object, shape: tuple[int, ...]) -> nn.Module:
    """Return the module for one layer that receives ``shape`` (channels last, no batch axis)."""
    raise TypeError(f"no PyTorch module for layer {layer!r}")


@build_layer.register
def _(layer: Conv, shape: tuple[int, ...]) -> nn.Module:
    return nn.Conv2d(shape[2], layer.filters, layer.kernel, padding=layer.padding)


@build_layer.register
def _(layer: MaxPool, shape: tuple[int, ...]) -> nn.Module:
    return nn.MaxPool2d(layer.size)


@build_layer.register
def _(layer: Flatten, shape: tuple[int, ...]) -> nn.Module:
    return FlattenChannelsLast() if len(shape) == 3 else nn.Identity()


@build_layer.register
def _(layer: Dropout, shape: tuple[int, ...]) -> nn.Module:
    return nn.Dropout(layer.rate)


@build_layer.register
def _(layer: Dense, shape: tuple[int, ...]) -> nn.Module:
    return nn.Linear(shape[0], layer.units)
