"""The network from the core's description: its weights, output, loss and gradients.

Canonical kernels are (height, width, in, out) and (in, out) over an NHWC flatten. A framework that
keeps them otherwise turns them here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batches, Network, Setting, Task
from benchharness.testing.reference import JUDGES, Judgement, Tape, backward, forward
from benchharness_newbackend.data import Inputs, device_settings, synchronize, to_device

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
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != expected:
        raise ValueError(f"weights: expected {expected}, found {shapes}")
    # Copied: what the caller keeps must not change when the model learns. float64 keeps the
    # reference's own rounding out of sight; a framework takes float32.
    model.arrays = {name: np.array(arrays[name], np.float64) for name in parameters}


def to_canonical(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return a parameter or its gradient as a float32 array in canonical layout, a copy."""
    return np.array(array, np.float32)


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


class NewExtraction:
    """Runs images through the task's frozen network."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._model = build_network(network=task.network)
        load_weights(self._model, task.weights)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        for batch in batches:
            inputs = self._inputs(to_device(batch, device=self._device))
            yield np.array(self._model(inputs), np.float32)

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)
