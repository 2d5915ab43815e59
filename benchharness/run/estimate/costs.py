"""What one step costs, counted from the layers: operations, and bytes that pass through memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchharness.model.network import Dense, Dropout, Flatten, Network

FLOAT_BYTES = 4
# Arrays as large as the parameters that an update reads and writes: parameter, gradient and each
# state are read, parameter and each state written.
_STATES: Mapping[str, int] = {"sgd": 1, "rmsprop": 1, "adam": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Work in numbers that add up.

    Attributes:
        calls: Steps that a framework is asked for.
        flops: Operations of convolutions and dense layers.
        activation_bytes: Of layers' outputs, written and read.
        parameter_bytes: Of dense kernels and of what an optimizer updates, written and read.
    """

    calls: float = 0.0
    flops: float = 0.0
    activation_bytes: float = 0.0
    parameter_bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            calls=self.calls + other.calls,
            flops=self.flops + other.flops,
            activation_bytes=self.activation_bytes + other.activation_bytes,
            parameter_bytes=self.parameter_bytes + other.parameter_bytes,
        )

    def __mul__(self, times: float) -> Cost:
        return Cost(
            calls=self.calls * times,
            flops=self.flops * times,
            activation_bytes=self.activation_bytes * times,
            parameter_bytes=self.parameter_bytes * times,
        )


def optimizer_states(name: str, *, momentum: float = 0.0) -> int:
    """Return how many arrays as large as the parameters a rule keeps."""
    return 0 if name == "sgd" and momentum == 0 else _STATES[name]


def training_step(
    network: Network, trainable: tuple[str, ...], *, batch_size: int, states: int
) -> Cost:
    """Return the cost of one optimizer step.

    A dense layer's kernel passes through memory once on the way there, and on the way back once
    for its gradient where it learns and once for its input's where a layer before it learns.

    Args:
        states: Arrays that the optimizer keeps.
    """
    kernels, has_learner_before = 0, False
    for layer, before, _ in network.steps():
        is_learning = layer.name in trainable
        if isinstance(layer, Dense):
            kernels += before[0] * layer.units * (1 + is_learning + has_learner_before)
        has_learner_before |= is_learning
    updated = network.count(trainable) * (3 + 2 * states)
    return Cost(
        calls=1,
        flops=batch_size * network.train_flops_per_image(trainable),
        activation_bytes=batch_size * _activation_bytes(network, trainable),
        parameter_bytes=FLOAT_BYTES * (kernels + updated),
    )


def forward_step(network: Network, *, batch_size: int) -> Cost:
    """Return the cost of running one batch through a network without learning."""
    kernels = sum(
        before[0] * layer.units for layer, before, _ in network.steps() if isinstance(layer, Dense)
    )
    return Cost(
        calls=1,
        flops=batch_size * network.flops_per_image(),
        activation_bytes=batch_size * _activation_bytes(network, ()),
        parameter_bytes=FLOAT_BYTES * kernels,
    )


def _activation_bytes(network: Network, trainable: tuple[str, ...]) -> int:
    """Return what one image's way through the layers reads and writes.

    A layer reads its input and writes its output; on the way back, where anything at or before it
    learns, it reads both and their gradients pass as well: twice as much again.
    """
    values, is_learning = 0, False
    for layer, before, after in network.steps():
        is_learning |= layer.name in trainable
        if not isinstance(layer, Flatten | Dropout):
            values += (math.prod(before) + math.prod(after)) * (3 if is_learning else 1)
    return FLOAT_BYTES * values
