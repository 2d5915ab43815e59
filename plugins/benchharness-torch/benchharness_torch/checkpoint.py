"""Weights that torchvision publishes, as canonical arrays."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchharness.api import Conv, Network, PluginError
from benchharness_torch.weights import to_canonical

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
