"""A whole network in plain NumPy: the way forward, and the way back along it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from benchharness.api import Network
from benchharness.testing.reference_layers import Array, Step, apply_layer

# Each step with the name of its layer, from the input to the logits.
Tape = list[tuple[str, Step]]


def forward(
    network: Network,
    inputs: Array,
    arrays: Mapping[str, Array],
    *,
    random: np.random.Generator | None = None,
) -> Tape:
    """Return every step of a batch through a network; the last one's output is the network's.

    Args:
        network: What to compute.
        inputs: Channels last, shape (batch, ...).
        arrays: Learnt arrays by canonical name.
        random: Draws the dropout masks; None outside training.
    """
    tape: Tape = []
    for layer in network.layers:
        for step in apply_layer(layer, inputs, arrays, random=random):
            tape.append((layer.name, step))
            inputs = step.output
    return tape


def backward(tape: Tape, gradient: Array, *, trainable: Collection[str]) -> dict[str, Array]:
    """Return the gradient of every trainable array; nothing below the lowest is computed.

    Args:
        tape: Of the way forward.
        gradient: The loss's by the network's output.
        trainable: Names of the layers that learn.
    """
    learning = [place for place, (name, _) in enumerate(tape) if name in trainable]
    found: dict[str, Array] = {}
    for place in range(len(tape) - 1, min(learning, default=len(tape)) - 1, -1):
        name, step = tape[place]
        if name in trainable:
            parts = step.to_parameters(gradient)
            found.update({f"{name}/{part}": value for part, value in parts.items()})
        if place > learning[0]:
            gradient = step.to_inputs(gradient)
    return found
