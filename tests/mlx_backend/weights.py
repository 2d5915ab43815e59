"""Canonical arrays in and out of the network.

They stay in canonical layout on the device: MLX turns a convolution's kernel by a view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from benchharness_mlx.layers import Model


def named_parameters(model: Model) -> Iterator[tuple[str, mx.array]]:
    """Yield each learnt array with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``."""
    yield from model.arrays.items()


def load_weights(model: Model, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy canonical arrays to the device; names and shapes must match.

    Raises:
        ValueError: They do not.
    """
    parameters = model.network.parameters()
    expected = {name: parameter.shape for name, parameter in parameters.items()}
    found = {name: arrays[name].shape for name in arrays}
    if found != expected:
        raise ValueError(f"weights: expected {expected}, found {found}")
    model.arrays = {name: mx.array(arrays[name]) for name in parameters}


def to_canonical(array: mx.array) -> NDArray[np.float32]:
    """Return a parameter or its gradient as a float32 array in canonical layout, a copy."""
    return np.array(array, np.float32)
