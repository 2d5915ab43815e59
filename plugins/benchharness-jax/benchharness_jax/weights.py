"""Canonical arrays in and out of Flax modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchharness_jax.layers import Chain

Arrays = dict[str, jax.Array]

# Twin note: the canonical layout is Flax's own, so nothing is transposed here.


def named_parameters(model: Chain) -> dict[str, jax.Array]:
    """Return each array with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``."""
    layers = nnx.to_pure_dict(nnx.state(model, nnx.Param))["layers"]
    return {f"{layer}/{part}": value for layer in layers for part, value in layers[layer].items()}


def merge(graph: nnx.GraphDef[Chain], arrays: Mapping[str, jax.Array]) -> Chain:
    """Return the network with these arrays, by canonical name."""
    layers: dict[str, dict[str, jax.Array]] = {}
    for name, array in arrays.items():
        layer, part = name.split("/")
        layers.setdefault(layer, {})[part] = array
    return nnx.merge(graph, nnx.State({"layers": layers}))


def load_weights(
    arrays: Mapping[str, NDArray[np.float32]], *, device: jax.Device
) -> dict[str, jax.Array]:
    """Return copies on the device, which a step may write over."""
    own = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return jax.device_put(own, device, may_alias=False)


def to_canonical(array: jax.Array) -> NDArray[np.float32]:
    """Return an array or its gradient as a float32 array of the host's own."""
    return np.array(array, np.float32)
