"""Networks in PyTorch: layers, canonical weights, published checkpoints, and extraction."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import singledispatch
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchharness.api import (
    Batches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    PluginError,
    Setting,
    Task,
)
from benchharness_torch.data import Inputs, ToDevice, autocast, device_settings, synchronize


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


def place(model: nn.Sequential, task: Task, *, device: torch.device) -> nn.Sequential:
    """Return the model on the device, in the task's memory layout."""
    is_last = task.execution.layout == "channels_last"
    layout = torch.channels_last if is_last else torch.contiguous_format
    return model.to(device=device, memory_format=layout)


def freeze(model: nn.Sequential, task: Task) -> None:
    """Let the task's layers learn and no others.

    Those are cast once where arithmetic is bfloat16: autocast keeps for the length of a step only
    what it casts of learning weights, and would cast the others anew in each step.
    """
    is_mixed = task.execution.precision == "bfloat16"
    for name, parameter in named_parameters(model):
        learns = name.split("/")[0] in task.trainable
        parameter.requires_grad_(learns)
        if is_mixed and not learns:
            parameter.data = parameter.data.bfloat16()


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


class TorchExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self._to_device = ToDevice(task, device=device)
        self._inputs = Inputs(task, device=device)
        self._model = place(build_network(network=task.network), task, device=device).eval()
        freeze(self._model, task)
        load_weights(self._model, task.weights)
        self._forward = torch.compile(self._model) if task.execution.compile else self._model

    @torch.inference_mode()
    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        pending: Callable[[], NDArray[np.float32]] | None = None
        for batch in batches:
            inputs = self._inputs(self._to_device(batch))
            with autocast(self._task, self._device):
                outputs = self._forward(inputs).float()
            if outputs.ndim == 4:
                outputs = outputs.permute(0, 2, 3, 1)
            # A GPU has the next batch before the host waits for this one.
            earlier, pending = pending, self._to_host(outputs.contiguous())
            if earlier is not None:
                yield earlier()
        if pending is not None:
            yield pending()

    def _to_host(self, outputs: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """Begin to copy outputs to the host; return what waits for them and gives them."""
        copied = outputs.to("cpu", non_blocking=True)
        if self._device.type == "cpu":
            return copied.numpy
        is_done = torch.cuda.Event()
        is_done.record()

        def wait() -> NDArray[np.float32]:
            is_done.synchronize()
            return copied.numpy()

        return wait

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(
            self._task,
            self._device,
            model=self._model,
            is_compiled=self._forward is not self._model,
        )


def network_settings(
    task: Task, device: torch.device, *, model: nn.Sequential, is_compiled: bool
) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed."""
    return {
        **device_settings(task, device),
        "layout": _layout(model) or task.execution.layout,
        "compile": is_compiled,
    }


def _layout(model: nn.Sequential) -> str | None:
    """Return how the kernels lie in memory; None where no kernel can tell."""
    for kernel in (parameter for parameter in model.parameters() if parameter.ndim == 4):
        is_last = kernel.is_contiguous(memory_format=torch.channels_last)
        # Kernels of one pixel, or of one channel, lie the same in both layouts.
        if is_last != kernel.is_contiguous():
            return "channels_last" if is_last else "channels_first"
    return None


_CONVOLUTION = re.compile(r"features\.(?P<place>[0-9]+)\.weight")


def read_checkpoint(path: Path, network: Network) -> Mapping[str, NDArray[np.float32]]:
    """Return the convolutions of a network from a checkpoint.

    torchvision numbers the layers of its ``features``; their order is that of the network's.

    Args:
        path: A state of a torchvision model; arrays alone are loaded from it, never code.
        network: A convolutional network without a classifier.

    Raises:
        PluginError: It cannot be read, or holds another number of convolutions.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise PluginError(
            f"{path}: expected a checkpoint of arrays, found one that cannot be read: {error}"
        ) from error
    matches = [match for name in state if (match := _CONVOLUTION.fullmatch(name))]
    places = sorted(int(match["place"]) for match in matches)
    layers = [layer.name for layer in network.layers if isinstance(layer, Conv)]
    if len(places) != len(layers):
        raise PluginError(
            f"{path}: expected {len(layers)} convolutions called features.NUMBER.weight, "
            f"found {len(places)}"
        )
    parts = {"kernel": "weight", "bias": "bias"}
    return {
        f"{layer}/{ours}": to_canonical(state[f"features.{place}.{theirs}"])
        for layer, place in zip(layers, places, strict=True)
        for ours, theirs in parts.items()
    }
