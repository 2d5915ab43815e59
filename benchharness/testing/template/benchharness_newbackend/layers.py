"""The network from the core's description, its loss, and the loss's gradients."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Network
from benchharness.testing.reference_network import Tape, backward, forward
from benchharness.testing.reference_rules import JUDGES, Judgement

Array = NDArray[Any]


class Model:
    """The task's network and its arrays.

    Attributes:
        network: What it computes.
        trainable: Names of the layers that learn, in the network's order.
        arrays: Learnt arrays by canonical name; ``load_weights`` puts them here, and each step of
            the optimizer replaces those that learn.
    """

    def __init__(self, network: Network, *, trainable: Collection[str]) -> None:
        self.network = network
        self.trainable = tuple(name for name in network.learning_layers() if name in trainable)
        self.arrays: dict[str, Array] = {}

    def __call__(self, inputs: Array) -> Array:
        """Return the network's output without dropout, channels last."""
        tape = _forward(self, inputs)
        return tape[-1][1].output if tape else inputs


def build_network(*, network: Network, trainable: Collection[str] = ()) -> Model:
    """Return the network, its layers named as in the description; its arrays are still to come."""
    return Model(network, trainable=trainable)


def loss(model: Model, inputs: Array, labels: Array, *, output: str) -> tuple[Array, Array]:
    """Return the loss of a batch without dropout.

    Args:
        model: The network.
        inputs: As ``Inputs`` gives them.
        labels: int32, shape (batch,).
        output: ``softmax`` or ``sigmoid``, as ``Task.output``.

    Returns:
        Each image's cross-entropy in nats, shape (batch,), and whether its best guess is right,
        bool, shape (batch,).
    """
    _, judgement = _judge(model, inputs, labels, output=output)
    return judgement.losses, judgement.is_right


def loss_and_gradients(
    model: Model, inputs: Array, labels: Array, *, output: str, dropout_seed: int | None = None
) -> tuple[Array, Array, dict[str, Array]]:
    """Return what ``loss`` returns, and the mean loss's gradients.

    Where the framework differentiates by itself, this is its ``value_and_grad`` of the mean of
    ``loss``, with dropout, by the arrays of the layers that learn.

    Args:
        model: The network.
        inputs: As ``Inputs`` gives them.
        labels: int32, shape (batch,).
        output: ``softmax`` or ``sigmoid``.
        dropout_seed: Draws the dropout masks of this step; None for no dropout.

    Returns:
        Losses and right guesses, each of shape (batch,), and the gradient of every trainable array
        by its canonical name.
    """
    tape, judgement = _judge(model, inputs, labels, output=output, dropout_seed=dropout_seed)
    gradients = backward(tape, judgement.gradient, trainable=model.trainable)
    return judgement.losses, judgement.is_right, gradients


def _judge(
    model: Model, inputs: Array, labels: Array, *, output: str, dropout_seed: int | None = None
) -> tuple[Tape, Judgement]:
    tape = _forward(model, inputs, dropout_seed=dropout_seed)
    return tape, JUDGES[output](tape[-1][1].output, np.asarray(labels))


def _forward(model: Model, inputs: Array, *, dropout_seed: int | None = None) -> Tape:
    random = None if dropout_seed is None else np.random.default_rng(dropout_seed)
    return forward(model.network, np.asarray(inputs), model.arrays, random=random)
