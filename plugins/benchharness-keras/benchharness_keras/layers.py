"""Layers of a network: from the core's description to Keras layers."""

from __future__ import annotations

from functools import singledispatch

import keras

from benchharness.api import Conv, Dense, Dropout, Flatten, MaxPool, Network
from benchharness_keras.engines import ENGINE

# Twin note: Keras computes channels last, so Flatten needs no permutation here.


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
