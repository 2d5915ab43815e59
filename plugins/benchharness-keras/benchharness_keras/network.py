"""Networks in Keras: layers, canonical weights, and extraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    Batches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    Setting,
    Task,
)
from benchharness_keras.data import device_settings, input_tensors, network_input, precision_of
from benchharness_keras.engines import ENGINE, Tensor


def build_network(
    *, network: Network, trainable: tuple[str, ...], seed: int, is_drawn: bool
) -> list[keras.Layer]:
    """Return the network's layers, named as in the description, not yet connected.

    Twin note: Keras freezes a layer and seeds its dropout when it is made, PyTorch later.

    Args:
        network: As described.
        trainable: Names of the layers that learn.
        seed: Of dropout.
        is_drawn: Whether Keras draws initial weights; zeros otherwise, for whoever loads others.
    """
    layers = [build_layer(layer, seed) for layer in network.layers]
    for layer in layers:
        layer.trainable = layer.name in trainable
        if not is_drawn and hasattr(layer, "kernel_initializer"):
            layer.kernel_initializer = keras.initializers.Zeros()
    return layers


def connect(
    layers: list[keras.Layer], inputs: keras.KerasTensor, *, has_dropout: bool
) -> keras.KerasTensor:
    """Return the output of the chain of layers, with or without its dropout."""
    for layer in layers:
        if has_dropout or not isinstance(layer, keras.layers.Dropout):
            inputs = layer(inputs)
    # Under mixed precision the loss must see float32, as in PyTorch.
    return keras.layers.Activation("linear", dtype="float32")(inputs)


@singledispatch
def build_layer(layer: object, seed: int) -> keras.Layer:
    """Return the Keras layer for one layer of the description."""
    raise TypeError(f"no Keras layer for layer {layer!r}")


@build_layer.register
def _(layer: Conv, seed: int) -> keras.Layer:
    return ENGINE.conv(
        filters=layer.filters,
        kernel_size=layer.kernel,
        padding=layer.padding,
        activation=layer.activation,
        name=layer.name,
    )


@build_layer.register
def _(layer: MaxPool, seed: int) -> keras.Layer:
    return ENGINE.max_pool(layer.size, name=layer.name)


@build_layer.register
def _(layer: Flatten, seed: int) -> keras.Layer:
    return keras.layers.Flatten(name=layer.name)


@build_layer.register
def _(layer: Dropout, seed: int) -> keras.Layer:
    return keras.layers.Dropout(layer.rate, seed=ENGINE.dropout_seed(seed), name=layer.name)


@build_layer.register
def _(layer: Dense, seed: int) -> keras.Layer:
    return keras.layers.Dense(layer.units, activation=layer.activation, name=layer.name)


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


class KerasExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._layers = build_network(
            network=task.network, trainable=(), seed=task.seed, is_drawn=False
        )
        tensors = input_tensors(task, is_augmented=False)
        outputs = connect(self._layers, network_input(task, tensors), has_dropout=False)
        self._is_compiled = ENGINE.compiles(task.execution.compile)
        self._forward = ENGINE.forward(keras.Model(tensors, outputs), is_compiled=self._is_compiled)
        load_weights(self._layers, task.weights)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, an array per batch."""
        earlier: Tensor | None = None
        for batch in batches:
            arrays, _ = ENGINE.arrays(batch)
            # The next batch is gathered while a GPU is at this one; some engines read back in the
            # order of their work, so the next begins after that.
            done = None if earlier is None else _on_host(earlier)
            earlier = self._forward(arrays)
            if done is not None:
                yield done
        if earlier is not None:
            yield _on_host(earlier)

    def synchronize(self) -> None:
        """Return at once: each batch's output has come back to the host already."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(self._device, layers=self._layers, is_compiled=self._is_compiled)


def _on_host(outputs: Tensor) -> NDArray[np.float32]:
    """Wait for outputs and return them, float32."""
    return np.asarray(keras.ops.convert_to_numpy(outputs), np.float32)


def network_settings(
    device: str, *, layers: Sequence[keras.Layer], is_compiled: bool
) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed."""
    common = device_settings(device)
    dtypes = dict.fromkeys(layer.compute_dtype for layer in layers)
    layouts = dict.fromkeys(layer.data_format for layer in layers if hasattr(layer, "data_format"))
    return {
        **common,
        "precision": ", ".join(precision_of(dtype, common) for dtype in dtypes),
        "layout": ", ".join(layouts) or common["layout"],
        "compile": is_compiled,
    }
