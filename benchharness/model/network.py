"""Networks as data: what both backends build, and what the core counts without a framework.

A network is a chain of layers. Arrays are channels-last (NHWC), convolution kernels are
(height, width, in, out), dense kernels (in, out) over an NHWC flatten: Keras's layout.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, ...]
Activation = Literal["linear", "relu"]
Padding = Literal["same", "valid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One learnt array.

    Attributes:
        shape: Canonical shape.
        fan_in: Inputs that feed one output; 0 for a bias.
        fan_out: Outputs that one input feeds; 0 for a bias.
    """

    shape: Shape
    fan_in: int = 0
    fan_out: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def _kernel_and_bias(*shape: int) -> Mapping[str, Parameter]:
    """Return a kernel of this shape, whose last two axes are (in, out), and its bias."""
    *window, ins, outs = shape
    area = math.prod(window)
    kernel = Parameter(shape=shape, fan_in=area * ins, fan_out=area * outs)
    return {"kernel": kernel, "bias": Parameter(shape=(outs,))}


class _Unlearnt:
    """A layer without anything to learn, which keeps the shape."""

    __slots__ = ()

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one output, the batch axis left out."""
        return shape

    def parameters(self, shape: Shape) -> Mapping[str, Parameter]:
        """Return nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """A stride-1 convolution with bias, followed by its activation."""

    name: str
    filters: int
    kernel: int = 3
    padding: Padding = "valid"
    activation: Activation = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height, width, filters)."""
        shrink = 0 if self.padding == "same" else self.kernel - 1
        return (shape[0] - shrink, shape[1] - shrink, self.filters)

    def parameters(self, shape: Shape) -> Mapping[str, Parameter]:
        """Return kernel (kernel, kernel, in, filters) and bias (filters,)."""
        return _kernel_and_bias(self.kernel, self.kernel, shape[2], self.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(_Unlearnt):
    """Maximum over ``size`` x ``size`` windows without overlap; a ragged edge is dropped."""

    name: str
    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height // size, width // size, channels)."""
        return (shape[0] // self.size, shape[1] // self.size, shape[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(_Unlearnt):
    """All values of an image in NHWC order, whatever layout the backend computes in."""

    name: str

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height * width * channels,)."""
        return (math.prod(shape),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(_Unlearnt):
    """In training, each value is zeroed with probability ``rate``, the rest scaled up."""

    name: str
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A fully connected layer with bias, followed by its activation."""

    name: str
    units: int
    activation: Activation = "linear"

    def output_shape(self, shape: Shape) -> Shape:
        """Return (units,)."""
        return (self.units,)

    def parameters(self, shape: Shape) -> Mapping[str, Parameter]:
        """Return kernel (in, units) and bias (units,)."""
        return _kernel_and_bias(shape[0], self.units)


Layer = Conv | MaxPool | Flatten | Dropout | Dense


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A chain of layers whose last one gives logits.

    Attributes:
        input_shape: One input without the batch axis: (height, width, channels) or (features,).
        layers: From input to logits. Empty for work that has no network.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Refuse a network whose feature maps shrink to nothing.

        Raises:
            ValueError: A layer's output would have no pixels.
        """
        for layer, _, after in self.steps():
            if min(after) < 1:
                raise ValueError(
                    f"layer {layer.name}: output shape {after} has no pixels; "
                    f"an input of {self.input_shape} is too small for this network"
                )

    def steps(self) -> Iterator[tuple[Layer, Shape, Shape]]:
        """Yield each layer with its input and output shape, the batch axis left out."""
        shape = self.input_shape
        for layer in self.layers:
            after = layer.output_shape(shape)
            yield layer, shape, after
            shape = after

    @property
    def output_shape(self) -> Shape:
        """Shape after the last layer, the batch axis left out."""
        return functools.reduce(
            lambda shape, layer: layer.output_shape(shape), self.layers, self.input_shape
        )

    def parameters(self) -> dict[str, Parameter]:
        """Return every learnt array by canonical name, for example ``block1_conv1/kernel``."""
        return {
            f"{layer.name}/{part}": parameter
            for layer, before, _ in self.steps()
            for part, parameter in layer.parameters(before).items()
        }

    def count(self, layers: tuple[str, ...] | None = None) -> int:
        """Return the number of learnt values, of the named layers or of all."""
        return sum(
            parameter.size
            for name, parameter in self.parameters().items()
            if layers is None or name.split("/")[0] in layers
        )

    def learning_layers(self) -> tuple[str, ...]:
        """Return the names of the layers that have something to learn."""
        return tuple(layer.name for layer, before, _ in self.steps() if layer.parameters(before))

    def flops_per_image(self) -> int:
        """Return floating-point operations of one forward pass, a multiply-add counted as two.

        Convolutions and dense layers only: the rest is memory traffic.
        """
        return sum(_flops(layer, before, after) for layer, before, after in self.steps())

    def train_flops_per_image(self, trainable: tuple[str, ...]) -> int:
        """Return the operations of one training step, per image, counted as above.

        Every layer runs forward once. The way back costs a layer as much again for the gradient
        of its kernel where it learns, and as much again for the gradient of its input where a
        layer before it learns.
        """
        total, has_learner_before = 0, False
        for layer, before, after in self.steps():
            is_learning = layer.name in trainable
            total += _flops(layer, before, after) * (1 + is_learning + has_learner_before)
            has_learner_before |= is_learning
        return total

    def split(self, after: str) -> tuple[Network, Network]:
        """Return the network up to and including layer ``after``, and the rest of it.

        Raises:
            ValueError: No layer has that name.
        """
        cut = [layer.name for layer in self.layers].index(after) + 1
        front = Network(input_shape=self.input_shape, layers=self.layers[:cut])
        return front, Network(input_shape=front.output_shape, layers=self.layers[cut:])

    def then(self, layers: tuple[Layer, ...]) -> Network:
        """Return this network followed by ``layers``."""
        return Network(input_shape=self.input_shape, layers=self.layers + layers)


def _flops(layer: Layer, before: Shape, after: Shape) -> int:
    kernel = layer.parameters(before).get("kernel")
    return 2 * kernel.size * math.prod(after[:-1]) if kernel else 0
