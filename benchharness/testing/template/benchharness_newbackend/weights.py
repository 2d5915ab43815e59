"""Canonical arrays in and out of the network.

Canonical kernels are (height, width, in, out) and (in, out) over an NHWC flatten. A framework that
keeps them otherwise turns them here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness_newbackend.layers import Model


def named_parameters(model: Model) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield each learnt array with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``."""
    yield from model.arrays.items()


def load_weights(model: Model, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy canonical arrays into the model; names and shapes must match.

    Raises:
        ValueError: They do not.
    """
    parameters = model.network.parameters()
    expected = {name: parameter.shape for name, parameter in parameters.items()}
    found = {name: arrays[name].shape for name in arrays}
    if found != expected:
        raise ValueError(f"weights: expected {expected}, found {found}")
    # Copied: what the caller keeps must not change when the model learns. float64 keeps the
    # reference's own rounding out of sight; a framework takes float32.
    model.arrays = {name: np.array(arrays[name], np.float64) for name in parameters}


def to_canonical(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return a parameter or its gradient as a float32 array in canonical layout, a copy."""
    return np.array(array, np.float32)
