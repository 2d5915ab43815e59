"""Canonical arrays in and out of Keras layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness_keras.engines import ENGINE, Tensor

# Twin note: the canonical layout is Keras's own, so nothing is transposed here.


def named_parameters(layers: list[keras.Layer]) -> Iterator[tuple[str, keras.Variable]]:
    """Yield each variable with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``.

    Variables that are no weights (the state of a dropout's random numbers) are left out.
    """
    for layer in layers:
        for variable in layer.weights:
            yield f"{layer.name}/{variable.name}", variable


def load_weights(layers: list[keras.Layer], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy canonical arrays into the layers; names and shapes must match."""
    for name, variable in named_parameters(layers):
        array = np.asarray(arrays[name], np.float32)
        variable.assign(array.copy() if ENGINE.shares_memory else array)


def to_canonical(variable: keras.Variable | Tensor) -> NDArray[np.float32]:
    """Return a variable or its gradient as a float32 array in canonical layout."""
    return np.array(keras.ops.convert_to_numpy(variable), dtype=np.float32)
