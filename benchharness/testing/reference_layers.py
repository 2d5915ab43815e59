"""Layers of a network in plain NumPy, each with its way back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchharness.api import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network

Array = NDArray[Any]


def _learns_nothing(gradient: Array) -> dict[str, Array]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One function applied to a batch, and the way back through it.

    Attributes:
        output: Shape (batch, ...).
        to_inputs: Turns the loss's gradient by the output into that by the input.
        to_parameters: Turns it into those by the learnt arrays, ``kernel`` and ``bias``.
    """

    output: Array
    to_inputs: Callable[[Array], Array]
    to_parameters: Callable[[Array], dict[str, Array]] = _learns_nothing


def apply_layer(
    layer: Layer,
    inputs: Array,
    arrays: Mapping[str, Array],
    *,
    random: np.random.Generator | None = None,
) -> tuple[Step, ...]:
    """Apply a layer: one step, or two when an activation follows.

    Args:
        layer: What to compute.
        inputs: Shape (batch, height, width, channels) or (batch, features).
        arrays: Learnt arrays by canonical name; the result has their dtype and that of inputs.
        random: Draws the dropout mask; None outside training, where dropout changes nothing.
    """
    match layer:
        case Conv():
            step = _conv(layer, inputs, **_own(layer, arrays))
        case Dense():
            step = _dense(inputs, **_own(layer, arrays))
        case MaxPool():
            step = _max_pool(layer, inputs)
        case Flatten():
            step = _flatten(inputs)
        case Dropout():
            return () if random is None else (_dropout(layer, inputs, random),)
    if isinstance(layer, Conv | Dense) and layer.activation == "relu":
        return (step, _relu(step.output))
    return (step,)


def _own(layer: Conv | Dense, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {part: arrays[f"{layer.name}/{part}"] for part in ("kernel", "bias")}


def _conv(layer: Conv, inputs: Array, *, kernel: Array, bias: Array) -> Step:
    # With an even kernel the odd row of padding goes below, the odd column to the right.
    total = layer.kernel - 1 if layer.padding == "same" else 0
    above, below = total // 2, total - total // 2
    windows = _windows(_pad(inputs, above, below), layer.kernel)

    def to_inputs(gradient: Array) -> Array:
        # Every input pixel met the kernel at all its offsets: a convolution with it turned round.
        reach = layer.kernel - 1
        spread = _windows(_pad(gradient, reach, reach), layer.kernel)
        padded = np.tensordot(spread, kernel[::-1, ::-1], axes=((3, 4, 5), (3, 0, 1)))
        return padded[:, above : padded.shape[1] - below, above : padded.shape[2] - below]

    def to_parameters(gradient: Array) -> dict[str, Array]:
        channels_first = np.tensordot(windows, gradient, axes=((0, 1, 2), (0, 1, 2)))
        return {"kernel": np.moveaxis(channels_first, 0, 2), "bias": gradient.sum(axis=(0, 1, 2))}

    return Step(
        output=np.tensordot(windows, kernel, axes=((3, 4, 5), (2, 0, 1))) + bias,
        to_inputs=to_inputs,
        to_parameters=to_parameters,
    )


def _pad(images: Array, before: int, after: int) -> Array:
    return np.pad(images, ((0, 0), (before, after), (before, after), (0, 0)))


def _windows(images: Array, size: int) -> Array:
    """Return every window as (batch, height, width, channels, size, size), without copying."""
    return sliding_window_view(images, (size, size), axis=(1, 2))


def _dense(inputs: Array, *, kernel: Array, bias: Array) -> Step:
    return Step(
        output=inputs @ kernel + bias,
        to_inputs=lambda gradient: gradient @ kernel.T,
        to_parameters=lambda gradient: {
            "kernel": inputs.T @ gradient,
            "bias": gradient.sum(axis=0),
        },
    )


def _relu(inputs: Array) -> Step:
    return Step(
        output=np.maximum(inputs, 0),
        to_inputs=lambda gradient: gradient * (inputs > 0),
    )


def _max_pool(layer: MaxPool, inputs: Array) -> Step:
    batch, height, width, channels = inputs.shape
    rows, columns, size = height // layer.size, width // layer.size, layer.size
    kept = (slice(None), slice(rows * size), slice(columns * size))
    tiles = inputs[kept].reshape(batch, rows, size, columns, size, channels)
    windows = np.moveaxis(tiles, 2, 3).reshape(batch, rows, columns, size * size, channels)
    winners = windows.argmax(axis=3, keepdims=True)

    def to_inputs(gradient: Array) -> Array:
        # Among equals the first of a window takes all, as in the frameworks.
        spread = np.zeros_like(windows)
        np.put_along_axis(spread, winners, gradient[:, :, :, None], axis=3)
        square = spread.reshape(batch, rows, columns, size, size, channels)
        found = np.zeros_like(inputs)
        found[kept] = np.moveaxis(square, 3, 2).reshape(inputs[kept].shape)
        return found

    return Step(
        output=np.take_along_axis(windows, winners, axis=3)[:, :, :, 0], to_inputs=to_inputs
    )


def _flatten(inputs: Array) -> Step:
    return Step(
        output=inputs.reshape(len(inputs), -1),
        to_inputs=lambda gradient: gradient.reshape(inputs.shape),
    )


def _dropout(layer: Dropout, inputs: Array, random: np.random.Generator) -> Step:
    is_kept = random.random(inputs.shape) >= layer.rate
    # Scaling up here, rather than down when evaluating, keeps the expected value (inverted).
    keep = 1.0 - layer.rate
    return Step(
        output=inputs * is_kept / keep,
        to_inputs=lambda gradient: gradient * is_kept / keep,
    )


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
    gradients: dict[str, Array] = {}
    for place in range(len(tape) - 1, min(learning, default=len(tape)) - 1, -1):
        name, step = tape[place]
        if name in trainable:
            parts = step.to_parameters(gradient)
            gradients.update({f"{name}/{part}": value for part, value in parts.items()})
        if place > learning[0]:
            gradient = step.to_inputs(gradient)
    return gradients
