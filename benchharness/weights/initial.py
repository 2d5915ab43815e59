"""Initial weights, seeded, the same for every backend."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from benchharness.model.network import Network, Parameter


def initial_weights(network: Network, *, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return a float32 array for every parameter of the network, by canonical name.

    Each array depends on the seed and its own name only, so a layer starts alike in every network
    that holds it.
    """
    parameters = network.parameters()
    return {name: draw_parameter(parameters[name], name=name, seed=seed) for name in parameters}


def draw_parameter(parameter: Parameter, *, name: str, seed: int) -> NDArray[np.float32]:
    """Return one array: Glorot uniform for a kernel, zero for a bias.

    Source:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks" (2010), equation 16: uniform within sqrt(6 / (fan_in + fan_out)).
    """
    if not parameter.fan_in:
        return np.zeros(parameter.shape, np.float32)
    limit = math.sqrt(6 / (parameter.fan_in + parameter.fan_out))
    generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    values = generator.random(parameter.shape, dtype=np.float32)
    # In place: the largest kernel of the suites has 2.8 GB.
    values *= np.float32(2 * limit)
    values -= np.float32(limit)
    return values
