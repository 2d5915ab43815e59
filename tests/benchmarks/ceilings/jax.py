"""Ceiling for JAX: the work of settings.toml in plain JAX, Flax and Optax, in several idioms.

Imports the standard library, NumPy, JAX, Flax and Optax, nothing of ours. Started by run.py, and
by hand:

    python -P tests/benchmarks/ceilings/jax.py --work head_small --data FOLDER --check RESULTS

``-P`` keeps this folder off the import path, where this file would hide the framework.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax.scipy.ndimage import map_coordinates
from numpy.typing import NDArray

# A test of the programs has smaller networks.
SETTINGS_FILE = os.environ.get("CEILINGS_SETTINGS") or Path(__file__).with_name("settings.toml")
SETTINGS = tomllib.loads(Path(SETTINGS_FILE).read_text(encoding="utf-8"))
Arrays = dict[str, NDArray[Any]]
Params = Any
Forward = Callable[[Params, jax.Array, jax.Array | None], jax.Array]


@dataclass(frozen=True, kw_only=True)
class Idiom:
    """A way to write the same work.

    Attributes:
        model: ``functions`` over a list of arrays, or ``nnx``: Flax modules, split into a graph
            definition and a state.
        gather: How a batch leaves the images in host memory. ``numpy``: NumPy's indexing, the
            result an argument of the compiled step; ``put``: likewise, after ``device_put``;
            ``device``: all images are on the device, the step gathers by place.
        resample: ``taps``: four gathers of all channels at once; ``map_coordinates``: JAX's
            function, for each channel.
        pool: ``strided``: maximum of four strided slices, whose gradient is elementwise;
            ``window``: ``reduce_window``, whose gradient XLA scatters one value at a time.
        dropout: Random number generator of the dropout masks.
        optimizer: ``optax``, or ``flat``: Optax over all arrays in one vector.
    """

    model: str = "functions"
    gather: str = "numpy"
    resample: str = "taps"
    pool: str = "strided"
    dropout: str = "threefry2x32"
    optimizer: str = "optax"


IDIOMS: Mapping[str, Mapping[str, Idiom]] = {
    "features": {
        "functions": Idiom(),
        "functions, device_put": Idiom(gather="put"),
        "functions, inputs on the device": Idiom(gather="device"),
        "functions, rbg dropout": Idiom(dropout="rbg"),
        "functions, rbg dropout, flat optimizer": Idiom(dropout="rbg", optimizer="flat"),
        "flax.nnx": Idiom(model="nnx"),
    },
    "train": {
        "functions": Idiom(),
        "functions, images on the device": Idiom(gather="device"),
        "functions, rbg dropout": Idiom(dropout="rbg"),
        "functions, map_coordinates": Idiom(resample="map_coordinates"),
        "functions, reduce_window": Idiom(pool="window"),
        "flax.nnx": Idiom(model="nnx"),
        "flax.nnx, max_pool": Idiom(model="nnx", pool="window"),
    },
    "train on a GPU": {
        "images on the device": Idiom(gather="device"),
        "images on the device, rbg dropout": Idiom(gather="device", dropout="rbg"),
        "images on the device, reduce_window": Idiom(gather="device", pool="window"),
        "NumPy indexing": Idiom(),
    },
    "feed": {
        "NumPy indexing": Idiom(),
        "NumPy indexing, device_put": Idiom(gather="put"),
        "images on the device": Idiom(gather="device"),
        "map_coordinates": Idiom(resample="map_coordinates"),
    },
    "forward": {
        "functions": Idiom(),
        "functions, images on the device": Idiom(gather="device"),
        "flax.nnx": Idiom(model="nnx"),
    },
}


class Scores(NamedTuple):
    """Means over an epoch's images; NaN where the work has none."""

    loss: float = float("nan")
    accuracy: float = float("nan")


class Batch(NamedTuple):
    """One step's arrays, on the host or on the device.

    Attributes:
        inputs: uint8 images, shape (batch, height, width, channels), or float32 features; where
            the step gathers, the whole epoch's.
        places: int32, shape (batch,), where the step gathers; else None.
        labels: float32, shape (batch,), 0 or 1.
        affine: float32, shape (batch, 2, 3), output pixel to input pixel; or None.
        colour: float32, shape (batch, channels), 0-255 scale; or None.
    """

    inputs: Any
    places: Any
    labels: Any
    affine: Any = None
    colour: Any = None


class Epochs:
    """Batches in random order with random augmentation, drawn once per epoch."""

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        self.inputs = np.load(folder / "inputs.npy")
        self.labels = np.load(folder / "labels.npy").astype(np.float32)
        self._work, self._idiom = work, idiom
        self._generator = np.random.default_rng(0)
        self._resident = jax.device_put(self.inputs) if idiom.gather == "device" else None

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.labels) // self._work["batch"]

    def __call__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        count, size = len(self.labels), self._work["batch"]
        is_learning = self._work["kind"] in ("train", "feed")
        order = self._generator.permutation(count) if is_learning else np.arange(count)
        is_augmented = self._work.get("augmented", False)
        if is_augmented:
            side, _, channels = self._work["input"]
            affine, colour = draw_augmentation(
                self._generator, images=count, side=side, channels=channels
            )
        for start in range(0, count, size):
            part = slice(start, start + size)
            ids = order[part]
            batch = Batch(
                inputs=self.inputs[ids] if self._resident is None else self._resident,
                places=None if self._resident is None else ids.astype(np.int32),
                labels=self.labels[ids],
                affine=affine[part] if is_augmented else None,
                colour=colour[part] if is_augmented else None,
            )
            yield jax.device_put(batch) if self._idiom.gather == "put" else batch


def draw_augmentation(
    generator: np.random.Generator, *, images: int, side: int, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return ``affine`` and ``colour`` of each image: mirror, slant, zoom about the centre."""
    amounts = SETTINGS["augmentation"]
    flip = np.where(generator.random(images) < amounts["flip"], -1.0, 1.0)
    shear = generator.uniform(-amounts["shear"], amounts["shear"], images)
    zoom = generator.uniform(1 - amounts["zoom"], 1 + amounts["zoom"], images)
    affine = np.zeros((images, 2, 3), np.float32)
    affine[:, 0, 0], affine[:, 0, 1], affine[:, 1, 1] = zoom * flip, zoom * shear, zoom
    affine[:, :, 2] = (side - 1) / 2 * (1 - affine[:, :, :2].sum(2))
    shift = amounts["channel_shift"]
    return affine, generator.uniform(-shift, shift, (images, channels)).astype(np.float32)


def network_input(work: Mapping[str, Any], idiom: Idiom, batch: Batch) -> jax.Array:
    """Return what the first layer sees: float32, channels last, augmented and normalised."""
    inputs = batch.inputs if batch.places is None else jnp.take(batch.inputs, batch.places, axis=0)
    if "preprocessing" not in work:
        return inputs
    constants = SETTINGS["preprocessing"][work["preprocessing"]]
    images = inputs.astype(jnp.float32)
    if batch.affine is not None:
        resample = taps if idiom.resample == "taps" else coordinates
        shifted = resample(images, batch.affine) + batch.colour[:, None, None, :]
        images = jnp.clip(shifted, 0, 255)
    return (images - jnp.array(constants["mean"])) * jnp.array(constants["scale"])


@jax.vmap
def taps(image: jax.Array, affine: jax.Array) -> jax.Array:
    """Resample by an affine map, bilinear, edge pixels repeated: four gathers of whole pixels."""
    height, width, channels = image.shape
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    across, down = (row[0] * x + row[1] * y + row[2] for row in affine)
    across, down = jnp.clip(across, 0, width - 1), jnp.clip(down, 0, height - 1)
    left, top = jnp.floor(across), jnp.floor(down)
    x_part, y_part = (across - left)[..., None], (down - top)[..., None]
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    right, bottom = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
    pixels = image.reshape(-1, channels)

    def at(rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jnp.take(pixels, rows * width + columns, axis=0, mode="clip")

    upper = at(top, left) * (1 - x_part) + at(top, right) * x_part
    lower = at(bottom, left) * (1 - x_part) + at(bottom, right) * x_part
    return upper * (1 - y_part) + lower * y_part


@jax.vmap
def coordinates(image: jax.Array, affine: jax.Array) -> jax.Array:
    """Resample by an affine map, bilinear, edge pixels repeated: JAX's function per channel."""
    height, width, _ = image.shape
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    across, down = (row[0] * x + row[1] * y + row[2] for row in affine)
    resample = jax.vmap(map_coordinates, in_axes=(-1, None, None, None), out_axes=-1)
    return resample(image, [down, across], 1, "nearest")


class Layers(nnx.Module):
    """The network as Flax modules."""

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, rngs: nnx.Rngs) -> None:
        self.is_strided = idiom.pool == "strided"
        shape, layers = tuple(work["input"]), []
        for kind, *arguments in layers_of(work):
            layer = None
            if kind == "conv":
                filters, padding = arguments
                layer = nnx.Conv(shape[2], filters, (3, 3), padding=padding.upper(), rngs=rngs)
            elif kind == "dense":
                layer = nnx.Linear(shape[0], arguments[0], rngs=rngs)
            elif kind == "dropout":
                layer = nnx.Dropout(arguments[0])
            layers.append(layer)
            shape = shape_after(shape, kind, arguments)
        self.layers = nnx.List(layers)
        self.kinds = tuple((kind, *arguments) for kind, *arguments in layers_of(work))

    def __call__(self, values: jax.Array, key: jax.Array | None) -> jax.Array:
        """Return logits or features; without a key, without dropout."""
        for place, ((kind, *arguments), layer) in enumerate(
            zip(self.kinds, self.layers, strict=True)
        ):
            if kind == "pool":
                whole = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
                values = strided_maximum(values) if self.is_strided else whole(values)
            elif kind == "flatten":
                values = values.reshape(len(values), -1)
            elif kind == "dropout":
                if key is not None:
                    values = layer(values, rngs=jax.random.fold_in(key, place))
            else:
                values = layer(values)
                is_linear = kind == "dense" and arguments[1] == "linear"
                values = values if is_linear else nnx.relu(values)
        return values


def layers_of(work: Mapping[str, Any]) -> list[list[Any]]:
    """Return the layers as the settings list them."""
    return list(SETTINGS["layers"][work["layers"]])


def shape_after(shape: tuple[int, ...], kind: str, arguments: list[Any]) -> tuple[int, ...]:
    """Return a layer's output shape, the batch axis left out."""
    if kind == "conv":
        shrink = 0 if arguments[1] == "same" else 2
        return (shape[0] - shrink, shape[1] - shrink, arguments[0])
    if kind == "pool":
        return (shape[0] // 2, shape[1] // 2, shape[2])
    if kind == "flatten":
        return (int(np.prod(shape)),)
    return (arguments[0],) if kind == "dense" else shape


def draw_params(work: Mapping[str, Any]) -> list[Params]:
    """Return kernel and bias of each layer, Glorot uniform and zero; None for the others."""
    generator, shape, params = np.random.default_rng(1), tuple(work["input"]), []
    for kind, *arguments in layers_of(work):
        pair = None
        if kind in ("conv", "dense"):
            window = (3, 3) if kind == "conv" else ()
            units, area = arguments[0], int(np.prod(window, dtype=int))
            limit = float(np.sqrt(6 / (area * (shape[-1] + units))))
            kernel = generator.uniform(-limit, limit, (*window, shape[-1], units))
            pair = (jnp.array(kernel, jnp.float32), jnp.zeros(units, jnp.float32))
        params.append(pair)
        shape = shape_after(shape, kind, arguments)
    return params


def strided_maximum(values: jax.Array) -> jax.Array:
    """Return the maximum of 2 x 2 windows; a ragged edge is dropped.

    The gradient of equal values is shared among them; after a ReLU, these are zeros without one.
    """
    height, width = (size // 2 * 2 for size in values.shape[1:3])
    values = values[:, :height, :width]
    upper = jnp.maximum(values[:, ::2, ::2], values[:, ::2, 1::2])
    lower = jnp.maximum(values[:, 1::2, ::2], values[:, 1::2, 1::2])
    return jnp.maximum(upper, lower)


def window_maximum(values: jax.Array) -> jax.Array:
    """Return the maximum of 2 x 2 windows; a ragged edge is dropped."""
    window = (1, 2, 2, 1)
    return lax.reduce_window(values, -jnp.inf, lax.max, window, window, "VALID")


def apply_functions(
    layers: tuple[tuple[Any, ...], ...],
    pool: Callable[[jax.Array], jax.Array],
    params: list[Params],
    values: jax.Array,
    key: jax.Array | None,
) -> jax.Array:
    """Return logits or features; without a key, without dropout."""
    for place, ((kind, *arguments), pair) in enumerate(zip(layers, params, strict=True)):
        if kind == "conv":
            values = lax.conv_general_dilated(
                values,
                pair[0],
                (1, 1),
                arguments[1].upper(),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            values = jax.nn.relu(values + pair[1])
        elif kind == "pool":
            values = pool(values)
        elif kind == "flatten":
            values = values.reshape(len(values), -1)
        elif kind == "dropout" and key is not None:
            kept = 1 - arguments[0]
            mask = jax.random.bernoulli(jax.random.fold_in(key, place), kept, values.shape)
            values = jnp.where(mask, values / kept, 0)
        elif kind == "dense":
            values = values @ pair[0] + pair[1]
            values = values if arguments[1] == "linear" else jax.nn.relu(values)
    return values


def in_half(forward: Forward, half: Callable[[Any], Any]) -> Forward:
    """Return a network that computes in bfloat16, from and to float32."""

    def call(params: Params, values: jax.Array, key: jax.Array | None) -> jax.Array:
        return forward(half(params), half(values), key).astype(jnp.float32)

    return call


def build_model(work: Mapping[str, Any], idiom: Idiom) -> tuple[Params, Params, Forward]:
    """Return frozen arrays, learnt arrays, and the function of both together."""
    frozen = work.get("frozen", 0)
    if idiom.model == "functions":
        params = draw_params(work)
        layers = tuple(tuple(layer) for layer in layers_of(work))
        pool = strided_maximum if idiom.pool == "strided" else window_maximum
        forward = partial(apply_functions, layers, pool)
        if work.get("precision") == "bfloat16":
            # What does not learn is rounded once; what learns is rounded in each step.
            half = partial(jax.tree.map, lambda array: array.astype(jnp.bfloat16))
            return half(params[:frozen]), params[frozen:], in_half(forward, half)
        return params[:frozen], params[frozen:], forward
    graph, state = nnx.split(Layers(work, idiom, nnx.Rngs(0)))
    flat = dict(nnx.to_flat_state(state))
    learnt = {path: value for path, value in flat.items() if path[1] >= frozen}
    kept = {path: value for path, value in flat.items() if path[1] < frozen}

    def call(params: Params, values: jax.Array, key: jax.Array | None) -> jax.Array:
        return nnx.merge(graph, nnx.from_flat_state(params))(values, key)

    return kept, learnt, call


def join(front: Params, learnt: Params) -> Params:
    """Return all of a network's arrays."""
    return front + learnt if isinstance(learnt, list) else {**front, **learnt}


def build_optimizer(work: Mapping[str, Any], idiom: Idiom) -> optax.GradientTransformation:
    """Return the optimizer of the settings; Optax's Adam has epsilon outside the root."""
    constants = SETTINGS[work["optimizer"]]
    if work["optimizer"] == "sgd":
        rule = optax.sgd(constants["lr"], momentum=constants["momentum"])
    else:
        rule = optax.adam(
            constants["lr"],
            b1=constants["beta_1"],
            b2=constants["beta_2"],
            eps=constants["epsilon"],
        )
    return optax.flatten(rule) if idiom.optimizer == "flat" else rule


class Loop:
    """One work in one idiom, built and ready.

    Attributes:
        steps: Of one epoch.
    """

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        self._work, self._idiom = work, idiom
        self._epochs = Epochs(work, idiom, folder)
        self.steps = self._epochs.steps
        self._last: Callable[[], Arrays] = dict
        self._to_input = partial(network_input, work, idiom)
        self.epoch: Callable[[], Scores] = getattr(self, f"_{work['kind']}")
        if "layers" in work:
            self._front, self._learnt, self._forward = build_model(work, idiom)
        if work["kind"] == "train":
            self._rule = build_optimizer(work, idiom)
            self._state = self._rule.init(self._learnt)
            self._key = jax.random.key(0, impl=idiom.dropout)
        self._train_step = jax.jit(self._trained, donate_argnums=(0, 1, 2, 3))
        self._score_step = jax.jit(self._scored, donate_argnums=1)
        self._outputs = jax.jit(self._computed)
        self._inputs = jax.jit(self._to_input)

    def arrays(self) -> Arrays:
        """Return what a check compares: weights of a training, else the last batch's arrays."""
        if self._work["kind"] != "train":
            return self._last()
        named = {"front": self._front, "learnt": self._learnt}
        return {
            f"{part}/{number}": np.array(array)
            for part, params in named.items()
            for number, array in enumerate(jax.tree.leaves(params))
        }

    def _train(self) -> Scores:
        totals = zero_totals()
        for batch in self._epochs():
            self._learnt, self._state, self._key, totals = self._train_step(
                self._learnt, self._state, self._key, totals, self._front, batch
            )
        return self._scores(totals)

    def _evaluate(self) -> Scores:
        totals, params = zero_totals(), join(self._front, self._learnt)
        for batch in self._epochs():
            totals = self._score_step(params, totals, batch)
        return self._scores(totals)

    def _feed(self) -> Scores:
        # On a CPU, batches that do not depend on each other may finish in any order.
        fed = []
        for batch in self._epochs():
            fed.append(self._inputs(batch))
        outputs = jax.block_until_ready(fed)[-1]
        # Converted when a check asks for them: no part of the work.
        self._last = lambda: self._fed(batch, outputs)
        return Scores()

    def _fed(self, batch: Batch, outputs: jax.Array) -> Arrays:
        inputs = batch.inputs if batch.places is None else self._epochs.inputs[batch.places]
        arrays = {"inputs": np.asarray(inputs), "outputs": np.asarray(outputs)}
        if batch.affine is None:
            return arrays
        return {**arrays, "affine": np.asarray(batch.affine), "colour": np.asarray(batch.colour)}

    def _extract(self) -> Scores:
        size, params = self._work["batch"], join(self._front, self._learnt)
        pending: jax.Array | None = None
        for step, batch in enumerate(self._epochs()):
            # The next batch is under way while the last is copied.
            following = self._outputs(params, batch)
            if pending is None:
                shape = (len(self._epochs.labels), *following.shape[1:])
                features = np.empty(shape, np.float32)
            else:
                features[(step - 1) * size : step * size] = pending
            pending = following
        features[-size:] = pending
        self._last = lambda: {"outputs": features}
        return Scores()

    def _trained(
        self, learnt: Params, state: Any, key: jax.Array, totals: Any, front: Params, batch: Batch
    ) -> tuple[Params, Any, jax.Array, Any]:
        """Return everything that a step changes."""
        inputs = self._to_input(batch)
        following, key = jax.random.split(key)

        def loss_of(learnt: Params) -> tuple[jax.Array, jax.Array]:
            logits = self._forward(join(front, learnt), inputs, key)[:, 0]
            return optax.sigmoid_binary_cross_entropy(logits, batch.labels).mean(), logits

        (loss, logits), gradients = jax.value_and_grad(loss_of, has_aux=True)(learnt)
        updates, state = self._rule.update(gradients, state, learnt)
        learnt = optax.apply_updates(learnt, updates)
        return learnt, state, following, add_totals(totals, loss, logits, batch.labels)

    def _scored(self, params: Params, totals: Any, batch: Batch) -> Any:
        logits = self._forward(params, self._to_input(batch), None)[:, 0]
        loss = optax.sigmoid_binary_cross_entropy(logits, batch.labels).mean()
        return add_totals(totals, loss, logits, batch.labels)

    def _computed(self, params: Params, batch: Batch) -> jax.Array:
        return self._forward(params, self._to_input(batch), None)

    def _scores(self, totals: tuple[jax.Array, jax.Array]) -> Scores:
        return Scores(float(totals[0]) / self.steps, int(totals[1]) / len(self._epochs.labels))


def zero_totals() -> tuple[jax.Array, jax.Array]:
    """Return an epoch's loss and hits before its first step."""
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)


def add_totals(
    totals: tuple[jax.Array, jax.Array], loss: jax.Array, logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return loss and hits with another step's."""
    return totals[0] + loss, totals[1] + ((logits > 0) == labels).sum()


def idioms_of(work: Mapping[str, Any]) -> Mapping[str, Idiom]:
    """Return the idioms of a work, by name."""
    if work.get("device") == "gpu":
        return IDIOMS["train on a GPU"]
    if work["kind"] == "train":
        return IDIOMS["train" if work.get("preprocessing") else "features"]
    idioms = IDIOMS.get(work["kind"], IDIOMS["forward"])
    # Without augmentation there is nothing to resample.
    return {
        name: idiom
        for name, idiom in idioms.items()
        if work.get("augmented") or idiom.resample == "taps"
    }


def build_loops(work: Mapping[str, Any], folder: Path) -> Mapping[str, Callable[[], Loop]]:
    """Return what builds each idiom's loop, by the idiom's name."""
    return {
        name: lambda idiom=idiom: Loop(work, idiom, folder)
        for name, idiom in idioms_of(work).items()
    }


# What follows is the same in torch.py, jax.py and keras.py: a program that imports nothing of
# ours cannot share it.


def try_idioms(builders: Mapping[str, Callable[[], Any]]) -> tuple[Any, Mapping[str, Any]]:
    """Return the loop of the fastest idiom, and the reply that names it.

    The shortest epoch decides: what disturbs a machine only lengthens epochs. The fastest few are
    tried again, for a disturbance may last as long as a trial.
    """
    loops: dict[str, Any] = {}
    tried: dict[str, Any] = {}
    for name, build in builders.items():
        try:
            loop = build()
            loop.epoch()
            tried[name] = shortest_epoch(loop) / loop.steps
            loops[name] = loop
        except Exception as error:
            traceback.print_exc()
            tried[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    if not loops:
        raise RuntimeError(f"no idiom works: {tried}")
    for name in sorted(loops, key=lambda name: tried[name])[: SETTINGS["measure"]["tried_again"]]:
        tried[name] = min(tried[name], shortest_epoch(loops[name]) / loops[name].steps)
    best = min(loops, key=lambda name: tried[name])
    loop = loops[best]
    return loop, {"idioms": tried, "idiom": best, "epoch_s": tried[best] * loop.steps}


def shortest_epoch(loop: Any) -> float:
    """Return the seconds of the shortest of several epochs."""
    epochs_s: list[float] = []
    until_s = time.perf_counter() + SETTINGS["measure"]["try_s"]
    while len(epochs_s) < 2 or time.perf_counter() < until_s:
        epochs_s.append(time_epochs(loop, 1))
    return min(epochs_s)


def time_epochs(loop: Any, epochs: int) -> float:
    """Return the seconds that some epochs take."""
    started_s = time.perf_counter()
    for _ in range(epochs):
        loop.epoch()
    return time.perf_counter() - started_s


def check_idioms(builders: Mapping[str, Callable[[], Any]], results: Path, *, epochs: int) -> None:
    """Run each idiom and write scores and arrays to ``results``, for a test to judge."""
    index: dict[str, Any] = {}
    results.mkdir(parents=True, exist_ok=True)
    for number, (name, build) in enumerate(builders.items()):
        loop = build()
        before = loop.arrays()
        scores = [loop.epoch() for _ in range(epochs)]
        kept = {f"before/{key}": array for key, array in before.items()}
        kept |= {f"after/{key}": array for key, array in loop.arrays().items()}
        np.savez(results / f"{number}.npz", **kept)
        index[name] = {"file": f"{number}.npz", "scores": scores}
    (results / "index.json").write_text(json.dumps(index), encoding="utf-8")


def serve(
    builders: Mapping[str, Callable[[], Any]], versions: Mapping[str, str], pipe: Any
) -> None:
    """Answer the runner's requests, one JSON object a line, until its end of the pipe closes."""

    def reply(**values: Any) -> None:
        pipe.write(json.dumps(values) + "\n")
        pipe.flush()

    reply(versions=versions)
    loop: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            loop, tried = try_idioms(builders)
            reply(**tried)
        else:
            seconds = time_epochs(loop, request["epochs"])
            reply(seconds=seconds, steps=request["epochs"] * loop.steps)


def main() -> None:
    """Serve the runner, or check every idiom."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, choices=SETTINGS["work"], action="append")
    parser.add_argument("--data", required=True, type=Path, help="holds WORK/inputs.npy and so on")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--check", type=Path, help="write scores and arrays to this folder")
    parser.add_argument("--epochs", type=int, default=3, help="of each idiom, with --check")
    arguments = parser.parse_args()
    # Frameworks print; replies have the original standard output to themselves.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # XLA takes a thread for each core that the process may use when it starts.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    jax.config.update("jax_default_matmul_precision", "float32")
    versions = {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__}
    for work in arguments.work:
        builders = build_loops(SETTINGS["work"][work], arguments.data / work)
        if arguments.check:
            check_idioms(builders, arguments.check / work, epochs=arguments.epochs)
        else:
            serve(builders, versions, pipe)
    # Threads and processes of the framework may outlive their loop.
    pipe.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
