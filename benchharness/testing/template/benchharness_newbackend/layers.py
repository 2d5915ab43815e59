"""From the core's description of a network to one that computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Network
from benchharness.testing.reference_network import Tape, backward, forward


class Model:
    """The task's network: its arrays, the way forward, and the way back.

    Attributes:
        network: What it computes.
        arrays: Learnt arrays by canonical name.
        trainable: Names of the layers that learn, in the network's order.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.arrays: dict[str, NDArray[Any]] = {}
        self.trainable = network.learning_layers()

    def forward(
        self, inputs: NDArray[Any], *, random: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Tape]:
        """Return the output of a batch, and what ``backward`` needs.

        Args:
            inputs: Channels last.
            random: Draws the dropout masks; None outside training.
        """
        tape = forward(self.network, inputs, self.arrays, random=random)
        return (tape[-1][1].output if tape else inputs), tape

    def backward(self, tape: Tape, gradient: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the loss's gradient by every trainable array, given that by the output."""
        return backward(tape, gradient, trainable=self.trainable)


def build_network(*, network: Network) -> Model:
    """Return the network, its layers named as in the description; its arrays are still to come."""
    return Model(network)
