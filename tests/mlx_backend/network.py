"""The network from the core's description: its weights, output, loss and gradients, in MLX.

Arrays stay in canonical layout on the device: MLX turns a convolution's kernel by a view.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    Batches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Network,
    Setting,
    Task,
)
from benchharness_mlx.data import Inputs, device_settings, synchronize, to_device

Arrays = dict[str, mx.array]


class Model:
    """The task's network and its arrays.

    Attributes:
        network: What it computes.
        trainable: Names of the layers that learn, in the network's order.
        arrays: Learnt arrays by canonical name, in canonical layout.
    """

    def __init__(self, network: Network, *, trainable: Collection[str]) -> None:
        self.network = network
        self.trainable = tuple(name for name in network.learning_layers() if name in trainable)
        self.arrays: Arrays = {}

    def __call__(self, inputs: mx.array) -> mx.array:
        """Return the network's output without dropout, channels last."""
        return _forward(self.network, _on_device(self.arrays), inputs, dropout_seed=None)


def build_network(*, network: Network, trainable: Collection[str] = ()) -> Model:
    """Return the network, its layers named as in the description; its arrays are still to come."""
    return Model(network, trainable=trainable)


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


def loss(
    model: Model, inputs: mx.array, labels: mx.array, *, output: str
) -> tuple[mx.array, mx.array]:
    """Return each image's cross-entropy, and whether its best guess is right, without dropout."""
    return _judge(model(inputs), labels, output=output)


def loss_and_gradients(
    model: Model,
    inputs: mx.array,
    labels: mx.array,
    *,
    output: str,
    dropout_seed: int | None = None,
) -> tuple[mx.array, mx.array, Arrays]:
    """Return what ``loss`` returns, and the mean loss's gradient of every trainable array."""
    arrays = _on_device(model.arrays)
    learnt = {n: array for n, array in arrays.items() if n.split("/")[0] in model.trainable}

    def mean_loss(learnt: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        logits = _forward(model.network, arrays | learnt, inputs, dropout_seed=dropout_seed)
        losses, is_right = _judge(logits, labels, output=output)
        return losses.mean(), losses, is_right

    (_, losses, is_right), gradients = mx.value_and_grad(mean_loss)(learnt)
    return losses, is_right, gradients


def _on_device(arrays: Arrays) -> Arrays:
    # NumPy's until optimizers.py is replaced too; MLX's own are not copied.
    return {name: mx.array(array, mx.float32) for name, array in arrays.items()}


def _judge(logits: mx.array, labels: mx.array, *, output: str) -> tuple[mx.array, mx.array]:
    if output == "sigmoid":
        logit, target = logits[:, 0], labels.astype(mx.float32)
        losses = nn.losses.binary_cross_entropy(logit, target, reduction="none")
        return losses, (logit > 0) == (labels == 1)
    return nn.losses.cross_entropy(logits, labels), logits.argmax(axis=1) == labels


def _forward(
    network: Network, arrays: Arrays, values: mx.array, *, dropout_seed: int | None
) -> mx.array:
    for place, layer in enumerate(network.layers):
        if not isinstance(layer, Dropout):
            values = build_layer(layer, arrays)(values)
        elif dropout_seed is not None:
            values = _dropout(layer, values, key=mx.random.key(dropout_seed + 2**32 * place))
    return values


def build_layer(layer: Layer, arrays: Arrays) -> Callable[[mx.array], mx.array]:
    """Return what computes a layer of the description, other than dropout."""
    match layer:
        case Conv():
            return lambda values: _activate(layer, _convolve(layer, values, arrays))
        case Dense():
            kernel, bias = arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]
            return lambda values: _activate(layer, values @ kernel + bias)
        case MaxPool():
            return lambda values: _max_pool(layer, values)
        case Flatten():
            return lambda values: values.reshape(len(values), -1)
    raise TypeError(f"layer: expected Conv, Dense, MaxPool or Flatten, found {layer}")


def _convolve(layer: Conv, images: mx.array, arrays: Arrays) -> mx.array:
    # The odd row of padding, which an even kernel has, goes below, and the odd column to the right.
    total = layer.kernel - 1 if layer.padding == "same" else 0
    before, after = [total // 2] * 2, [total - total // 2] * 2
    # MLX takes (out, height, width, in); a view of the canonical kernel costs nothing.
    kernel = arrays[f"{layer.name}/kernel"].transpose(3, 0, 1, 2)
    return mx.conv_general(images, kernel, padding=(before, after)) + arrays[f"{layer.name}/bias"]


def _activate(layer: Conv | Dense, values: mx.array) -> mx.array:
    return mx.maximum(values, 0) if layer.activation == "relu" else values


def _max_pool(layer: MaxPool, images: mx.array) -> mx.array:
    count, height, width, channels = images.shape
    rows, columns, size = height // layer.size, width // layer.size, layer.size
    kept = images[:, : rows * size, : columns * size]
    return kept.reshape(count, rows, size, columns, size, channels).max(axis=(2, 4))


def _dropout(layer: Dropout, values: mx.array, *, key: mx.array) -> mx.array:
    keep = 1 - layer.rate
    return values * mx.random.bernoulli(keep, values.shape, key=key) / keep


class MlxExtraction:
    """Runs images through the task's frozen network."""

    def __init__(self, task: Task, *, device: mx.Device) -> None:
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
