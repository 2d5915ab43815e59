"""Networks in Flax: layers, canonical weights, and extraction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce, singledispatch

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
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
from benchharness_jax.data import BatchArrays, Inputs, compiled, device_settings, precision_of


class Chain(nnx.Module):
    """Layers by name, one after the other."""

    def __init__(self, layers: Mapping[str, Callable[[jax.Array], jax.Array]]) -> None:
        # Flax sorts what it holds by name.
        self.names = tuple(layers)
        self.layers = nnx.Dict(layers)

    def __call__(self, values: jax.Array, *, key: jax.Array | None) -> jax.Array:
        """Return the float32 output; without a key, without dropout."""
        for place, name in enumerate(self.names):
            layer = self.layers[name]
            if not isinstance(layer, nnx.Dropout):
                values = layer(values)
            elif key is not None:
                values = layer(values, rngs=jax.random.fold_in(key, place))
        # Under mixed precision the loss must see float32, as in the twins.
        return values.astype(jnp.float32)


class Pool(nnx.Module):
    """Maximum over windows that do not overlap."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map (batch, height, width, channels) to fewer pixels; a ragged edge is dropped."""
        return max_pool(images, self.size)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(images: jax.Array, size: int) -> jax.Array:
    """Return the maxima of windows that do not overlap; a ragged edge is dropped.

    XLA's own pooling has a gradient that takes seventeen times as long on a CPU (jaxlib 0.10), and
    on a GPU scatters an element at a time where it must be deterministic. As there, the gradient
    goes to the first maximum of a window.

    Args:
        images: Shape (batch, height, width, channels).
        size: Height and width of a window.
    """
    window = (1, size, size, 1)
    return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, window, window, "VALID")


def _pool_forward(images: jax.Array, size: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Where a gradient follows, XLA fuses these with what its taps need.
    maxima = reduce(jnp.maximum, _taps(images, size))
    return maxima, (images, maxima)


def _pool_backward(
    size: int, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    images, maxima = kept
    is_open, parts = jnp.ones(maxima.shape, bool), []
    for tap in _taps(images, size):
        is_first = is_open & (tap == maxima)
        is_open &= ~is_first
        parts.append(jnp.where(is_first, gradient, 0))
    rows = [jnp.stack(parts[start : start + size], axis=3) for start in range(0, len(parts), size)]
    batch, height, width, channels = maxima.shape
    whole = jnp.stack(rows, axis=2).reshape(batch, height * size, width * size, channels)
    edges = [(0, found - made) for found, made in zip(images.shape, whole.shape, strict=True)]
    return (jnp.pad(whole, edges),)


max_pool.defvjp(_pool_forward, _pool_backward)


def _taps(images: jax.Array, size: int) -> list[jax.Array]:
    """Return the pixels at each place of a window, row by row, each of all windows."""
    height, width = (side // size * size for side in images.shape[1:3])
    whole = images[:, :height, :width]
    return [whole[:, y::size, x::size] for y in range(size) for x in range(size)]


def flatten(images: jax.Array) -> jax.Array:
    """Map (batch, ...) to (batch, values).

    Twin note: JAX's images are channels last, so Flatten needs no permutation here.
    """
    return images.reshape(len(images), -1)


def build_network(*, network: Network, dtype: jnp.dtype, seed: int) -> Chain:
    """Return the network, its layers named as in the description; activations are ``NAME_relu``.

    Arithmetic is in the dtype, weights are float32; the seed is of Flax's own initial weights.
    """
    rngs = nnx.Rngs(seed)
    layers: dict[str, Callable[[jax.Array], jax.Array]] = {}
    for layer, shape, _ in network.steps():
        layers[layer.name] = build_layer(layer, shape, dtype, rngs)
        if getattr(layer, "activation", "linear") == "relu":
            layers[f"{layer.name}_relu"] = nnx.relu
    return Chain(layers)


def describe_network(task: Task) -> Chain:
    """Return the network with shapes in place of arrays: nothing is drawn, nothing computed."""
    return nnx.eval_shape(lambda: draw_network(task))


def draw_network(task: Task) -> Chain:
    """Return the network with the weights that Flax draws from the task's seed."""
    is_mixed = task.execution.precision == "bfloat16"
    dtype = jnp.bfloat16 if is_mixed else jnp.float32
    return build_network(network=task.network, dtype=dtype, seed=task.seed)


@singledispatch
def build_layer(
    layer: object, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs
) -> Callable[[jax.Array], jax.Array]:
    """Return the module for one layer that receives ``shape`` (channels last, no batch axis)."""
    raise TypeError(f"no Flax module for layer {layer!r}")


@build_layer.register
def _(layer: Conv, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        shape[2],
        layer.filters,
        (layer.kernel, layer.kernel),
        padding=layer.padding.upper(),
        dtype=dtype,
        rngs=rngs,
    )


@build_layer.register
def _(layer: MaxPool, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs) -> Pool:
    return Pool(layer.size)


@build_layer.register
def _(
    layer: Flatten, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs
) -> Callable[[jax.Array], jax.Array]:
    return flatten


@build_layer.register
def _(layer: Dropout, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Dropout:
    return nnx.Dropout(layer.rate)


@build_layer.register
def _(layer: Dense, shape: tuple[int, ...], dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(shape[0], layer.units, dtype=dtype, rngs=rngs)


Arrays = dict[str, jax.Array]


def named_parameters(model: Chain) -> dict[str, jax.Array]:
    """Return each array with its canonical name, ``LAYER/kernel`` or ``LAYER/bias``."""
    layers = nnx.to_pure_dict(nnx.state(model, nnx.Param))["layers"]
    return {f"{layer}/{part}": value for layer in layers for part, value in layers[layer].items()}


def merge(graph: nnx.GraphDef[Chain], arrays: Mapping[str, jax.Array]) -> Chain:
    """Return the network with these arrays, by canonical name."""
    layers: dict[str, dict[str, jax.Array]] = {}
    for name, array in arrays.items():
        layer, part = name.split("/")
        layers.setdefault(layer, {})[part] = array
    return nnx.merge(graph, nnx.State({"layers": layers}))


def load_weights(
    arrays: Mapping[str, NDArray[np.float32]], *, device: jax.Device
) -> dict[str, jax.Array]:
    """Return copies on the device, which a step may write over."""
    own = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return jax.device_put(own, device, may_alias=False)


def to_canonical(array: jax.Array) -> NDArray[np.float32]:
    """Return an array or its gradient as a float32 array of the host's own."""
    return np.array(array, np.float32)


Graph = nnx.GraphDef[Chain]


def outputs(weights: Arrays, inputs: jax.Array, *, graph: Graph) -> jax.Array:
    """Return the network's float32 output, without dropout."""
    return merge(graph, weights)(inputs, key=None)


class JaxExtraction:
    """The task's network, without dropout."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._graph = nnx.graphdef(describe_network(task))
        self._outputs = compiled(outputs, device=device, graph=self._graph)
        self._weights = load_weights(task.weights, device=device)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        earlier: jax.Array | None = None
        for batch in batches:
            outputs = self._outputs(self._weights, self._inputs(BatchArrays.of(batch)))
            # A GPU has the next batch before the host waits for this one.
            outputs.copy_to_host_async()
            if earlier is not None:
                yield np.array(earlier)
            earlier = outputs
        if earlier is not None:
            yield np.array(earlier)

    def synchronize(self) -> None:
        """Return at once: each batch's output has come back to the host already."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(self._device, model=merge(self._graph, self._weights))


def network_settings(device: jax.Device, *, model: Chain) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed."""
    dtypes = dict.fromkeys(
        layer.dtype.dtype.name
        for layer in layers_of(model)
        if isinstance(layer, nnx.Conv | nnx.Linear)
    )
    settings = device_settings(device)
    return {**settings, "precision": ", ".join(map(precision_of, dtypes)) or settings["precision"]}


def layers_of(model: Chain) -> list[object]:
    """Return the layers in their order."""
    return [model.layers[name] for name in model.names]
