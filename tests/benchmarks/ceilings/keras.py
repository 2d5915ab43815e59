"""Ceiling for Keras on the engine that KERAS_BACKEND names: settings.toml in several idioms.

Imports the standard library, NumPy, Keras and its engine, nothing of ours. Started by run.py, and
by hand:

    KERAS_BACKEND=jax python -P tests/benchmarks/ceilings/keras.py \
        --work head_small --data FOLDER --check RESULTS

``-P`` keeps this folder off the import path, where this file would hide the framework.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ENGINE = os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402 (reads its engine while it is being imported)
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

if ENGINE == "tensorflow":
    import tensorflow as tf
elif ENGINE == "jax":
    import jax
    import jax.numpy as jnp
else:
    import torch
    import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)

VERSION = {"tensorflow": "tf", "jax": "jax", "torch": "torch"}[ENGINE]
VERSION = globals()[VERSION].__version__
# A test of the programs has smaller networks.
SETTINGS_FILE = os.environ.get("CEILINGS_SETTINGS") or Path(__file__).with_name("settings.toml")
SETTINGS = tomllib.loads(Path(SETTINGS_FILE).read_text(encoding="utf-8"))
Arrays = dict[str, NDArray[Any]]
Tensor = Any


@dataclass(frozen=True, kw_only=True)
class Idiom:
    """A way to write the same work.

    Attributes:
        loop: ``step``: a step of one's own, compiled where the engine compiles; ``batch``:
            ``train_on_batch`` and its kin; ``fit``: ``fit`` over tf.data on TensorFlow, over a
            generator elsewhere.
        gather: How a batch leaves the images in host memory. ``numpy``: NumPy's indexing;
            ``device``: images are a tensor of the engine, the step gathers by place.
        warp: Where ``fit`` over tf.data augments: in the ``pipeline`` or in the ``model``.
        call: How a step on PyTorch runs the network: ``model``, or ``layers``: each layer's
            ``call``, without what Keras does around it.
        pool: ``layer``: MaxPooling2D; ``strided``: maximum of four strided slices, whose gradient
            on JAX is elementwise, where that of MaxPooling2D scatters one value at a time.
        layout: ``channels_last`` or ``channels_first``, of images and feature maps.
    """

    loop: str = "step"
    gather: str = "device"
    warp: str = "pipeline"
    call: str = "model"
    pool: str = "layer"
    layout: str = "channels_last"


TENSORFLOW: Mapping[str, Mapping[str, Idiom]] = {
    "features": {
        "tf.function, gather": Idiom(),
        "tf.function, NumPy indexing": Idiom(gather="numpy"),
        "fit over tf.data": Idiom(loop="fit"),
        "train_on_batch": Idiom(loop="batch", gather="numpy"),
    },
    "train": {
        "tf.function, gather": Idiom(),
        "tf.function, NumPy indexing": Idiom(gather="numpy"),
        "fit over tf.data": Idiom(loop="fit"),
        "fit over tf.data, augmentation in the model": Idiom(loop="fit", warp="model"),
        "train_on_batch": Idiom(loop="batch", gather="numpy"),
    },
    "feed": {
        "tf.function, gather": Idiom(),
        "tf.function, NumPy indexing": Idiom(gather="numpy"),
        "tf.data": Idiom(loop="fit"),
    },
    "forward": {
        "tf.function, gather": Idiom(),
        "tf.function, NumPy indexing": Idiom(gather="numpy"),
        "on_batch": Idiom(loop="batch", gather="numpy"),
    },
}
JAX: Mapping[str, Mapping[str, Idiom]] = {
    "features": {
        "jax.jit, gather": Idiom(),
        "jax.jit, NumPy indexing": Idiom(gather="numpy"),
        "fit over a generator": Idiom(loop="fit", gather="numpy"),
        "train_on_batch": Idiom(loop="batch", gather="numpy"),
    },
    "train": {
        "jax.jit, gather, strided maximum": Idiom(pool="strided"),
        "jax.jit, NumPy indexing, strided maximum": Idiom(gather="numpy", pool="strided"),
        "jax.jit, MaxPooling2D": Idiom(),
        "fit over a generator, strided maximum": Idiom(loop="fit", gather="numpy", pool="strided"),
        "train_on_batch, strided maximum": Idiom(loop="batch", gather="numpy", pool="strided"),
    },
    "feed": {
        "jax.jit, gather": Idiom(),
        "jax.jit, NumPy indexing": Idiom(gather="numpy"),
    },
    "forward": {
        "jax.jit, gather": Idiom(),
        "jax.jit, NumPy indexing": Idiom(gather="numpy"),
        "jax.jit, strided maximum": Idiom(pool="strided"),
        "on_batch": Idiom(loop="batch", gather="numpy"),
    },
}
TORCH: Mapping[str, Mapping[str, Idiom]] = {
    "features": {
        "backward, layers called": Idiom(call="layers"),
        "backward, model called": Idiom(),
        "fit over a generator": Idiom(loop="fit", gather="numpy"),
        "train_on_batch": Idiom(loop="batch", gather="numpy"),
    },
    "train": {
        "backward, layers called": Idiom(call="layers"),
        "backward, layers called, NumPy indexing": Idiom(call="layers", gather="numpy"),
        "backward, layers called, channels first": Idiom(call="layers", layout="channels_first"),
        "backward, model called": Idiom(),
        "fit over a generator": Idiom(loop="fit", gather="numpy"),
        "train_on_batch": Idiom(loop="batch", gather="numpy"),
    },
    "feed": {
        "index_select": Idiom(),
        "NumPy indexing": Idiom(gather="numpy"),
    },
    "forward": {
        "layers called": Idiom(call="layers"),
        "layers called, channels first": Idiom(call="layers", layout="channels_first"),
        "model called": Idiom(),
        "on_batch": Idiom(loop="batch", gather="numpy"),
    },
}
IDIOMS = {"tensorflow": TENSORFLOW, "jax": JAX, "torch": TORCH}[ENGINE]


class Scores(NamedTuple):
    """Means over an epoch's images; NaN where the work has none."""

    loss: float = float("nan")
    accuracy: float = float("nan")


class Batch(NamedTuple):
    """One step's arrays on the host.

    Attributes:
        places: int32, shape (batch,), of the images in the dataset.
        inputs: uint8 images, shape (batch, height, width, channels), or float32 features; None
            where the step gathers.
        labels: float32, shape (batch,), 0 or 1.
        affine: float32, shape (batch, 2, 3), output pixel to input pixel; or None.
        colour: float32, shape (batch, channels), 0-255 scale; or None.
    """

    places: NDArray[np.int32]
    inputs: NDArray[Any] | None
    labels: NDArray[np.float32]
    affine: NDArray[np.float32] | None = None
    colour: NDArray[np.float32] | None = None

    def tensors(self) -> tuple[Any, ...]:
        """Return what a model takes: inputs, and affine and colour where there are any."""
        return tuple(array for array in (self.inputs, *self[3:]) if array is not None)


class Epochs:
    """Batches in random order with random augmentation, drawn once per epoch."""

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        self.inputs = np.load(folder / "inputs.npy")
        self.labels = np.load(folder / "labels.npy").astype(np.float32)
        self._work, self._idiom = work, idiom
        self._generator = np.random.default_rng(0)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.labels) // self._work["batch"]

    def order(self) -> NDArray[np.int32]:
        """Return the places of one epoch's images."""
        count = len(self.labels)
        is_learning = self._work["kind"] in ("train", "feed")
        order = self._generator.permutation(count) if is_learning else np.arange(count)
        return order.astype(np.int32)

    def augmentation(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return ``affine`` and ``colour`` of one epoch's images."""
        side, _, channels = self._work["input"]
        return draw_augmentation(
            self._generator, images=len(self.labels), side=side, channels=channels
        )

    def __call__(self) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        order, size = self.order(), self._work["batch"]
        is_augmented = self._work.get("augmented", False)
        affine, colour = self.augmentation() if is_augmented else (None, None)
        for start in range(0, len(order), size):
            part = slice(start, start + size)
            ids = order[part]
            yield Batch(
                places=ids,
                inputs=self.inputs[ids] if self._idiom.gather == "numpy" else None,
                labels=self.labels[ids],
                affine=None if affine is None else affine[part],
                colour=None if colour is None else colour[part],
            )


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


class NetworkInput:
    """Maps images on the engine to what the first layer sees: augmented and normalised.

    Args:
        work: Its settings.
        layout: Of the result.
    """

    def __init__(self, work: Mapping[str, Any], layout: str) -> None:
        self._layout, self._name = layout, work.get("preprocessing")
        if self._name is None:
            return
        constants = SETTINGS["preprocessing"][self._name]
        self._scale = np.array(constants["scale"], np.float32)
        self._bias = -np.array(constants["mean"], np.float32) * self._scale
        self._size = tuple(work["input"])
        height, width, _ = self._size
        # One vectorised inner loop over a row, where three channels would make a short one.
        self._row_scale, self._row_bias = np.tile(self._scale, width), np.tile(self._bias, width)
        if ENGINE == "torch":
            self._row_scale = torch.from_numpy(self._row_scale)
            self._row_bias = torch.from_numpy(self._row_bias)
            self._x, self._y = torch.arange(width).float(), torch.arange(height).float()

    def __call__(self, images: Tensor, affine: Tensor = None, colour: Tensor = None) -> Tensor:
        """Return float32, the shape of ``images`` in the layout; features as they are."""
        if self._name is None:
            return images
        if ENGINE == "torch":
            return self._on_torch(images, affine, colour)
        return (self._on_jax if ENGINE == "jax" else self._on_tensorflow)(images, affine, colour)

    def _on_jax(self, images: Tensor, affine: Tensor, colour: Tensor) -> Tensor:
        images = images.astype(jnp.float32)
        if affine is not None:
            images = jnp.clip(taps(images, affine) + colour[:, None, None, :], 0, 255)
        return images * self._scale + self._bias

    def _on_tensorflow(self, images: Tensor, affine: Tensor, colour: Tensor) -> Tensor:
        height, width, channels = self._size
        images = tf.cast(images, tf.float32)
        if affine is not None:
            images = self._warp(images, affine)
        rows = tf.reshape(images, (-1, height, width * channels))
        if affine is not None:
            rows = tf.clip_by_value(rows + tf.tile(colour, (1, width))[:, None], 0.0, 255.0)
        return tf.reshape(rows * self._row_scale + self._row_bias, (-1, height, width, channels))

    def _warp(self, images: Tensor, affine: Tensor) -> Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.pad(tf.reshape(affine, (-1, 6)), [[0, 0], [0, 2]]),
            output_shape=self._size[:2],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="NEAREST",
        )

    def _on_torch(self, images: Tensor, affine: Tensor, colour: Tensor) -> Tensor:
        height, width, channels = self._size
        floats = images.float()
        if affine is not None:
            # grid_sample counts from -1 to 1 over the outer edges of the first and last pixel.
            affine = 2 / torch.tensor([[width], [height]]) * affine
            # The sum of a term per column and a term per row, instead of a product of matrices.
            columns = affine[:, :, 0, None] * self._x
            shift = affine[:, :, 2] + 1 / torch.tensor([width, height]) - 1
            rows = affine[:, :, 1, None] * self._y + shift[:, :, None]
            grid = (columns[:, :, None, :] + rows[:, :, :, None]).permute(0, 2, 3, 1)
            warped = F.grid_sample(
                floats.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False
            )
            floats = warped.permute(0, 2, 3, 1)
        rows = floats.reshape(-1, height, width * channels)
        if colour is not None:
            rows = rows.add_(colour.repeat(1, width)[:, None, :]).clamp_(0, 255)
        rows = torch.addcmul(self._row_bias, rows, self._row_scale)
        result = rows.view(-1, height, width, channels)
        return result if self._layout == "channels_last" else result.permute(0, 3, 1, 2)


if ENGINE == "jax":

    @jax.vmap
    def taps(image: jax.Array, affine: jax.Array) -> jax.Array:
        """Resample by an affine map, bilinear, edge pixels repeated: four gathers of pixels."""
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


class InputLayer(keras.layers.Layer):
    """``NetworkInput`` as the first layer of a model."""

    def __init__(self, to_input: NetworkInput) -> None:
        super().__init__(dtype="float32")
        self._to_input = to_input

    def call(self, tensors: list[Tensor]) -> Tensor:
        """Map images, and affine and colour where there are any, to the network's input."""
        return self._to_input(*tensors)


class StridedMaximum(keras.layers.Layer):
    """Maximum of 2 x 2 windows of channels-last images; a ragged edge is dropped."""

    def call(self, values: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to half of height and width."""
        height, width = (size // 2 * 2 for size in values.shape[1:3])
        values = values[:, :height, :width]
        upper = keras.ops.maximum(values[:, ::2, ::2], values[:, ::2, 1::2])
        lower = keras.ops.maximum(values[:, 1::2, ::2], values[:, 1::2, 1::2])
        return keras.ops.maximum(upper, lower)


def build_network(work: Mapping[str, Any], idiom: Idiom) -> keras.Sequential:
    """Return the network, from normalised images or features to logits or features."""
    keras.utils.set_random_seed(0)
    shape = tuple(work["input"])
    is_first = idiom.layout == "channels_first" and "preprocessing" in work
    stack: list[Any] = [keras.Input((shape[2], *shape[:2]) if is_first else shape)]
    format_ = {"data_format": idiom.layout}
    for place, (kind, *arguments) in enumerate(SETTINGS["layers"][work["layers"]]):
        match kind:
            case "conv":
                filters, padding = arguments
                layer = keras.layers.Conv2D(
                    filters, 3, padding=padding, activation="relu", **format_
                )
            case "pool":
                is_strided = idiom.pool == "strided"
                layer = StridedMaximum() if is_strided else keras.layers.MaxPooling2D(2, **format_)
            case "flatten":
                layer = keras.layers.Flatten()
            case "dropout":
                layer = keras.layers.Dropout(arguments[0])
            case "dense":
                layer = keras.layers.Dense(arguments[0], activation=arguments[1])
        layer.trainable = place >= work.get("frozen", 0)
        stack.append(layer)
    return keras.Sequential(stack)


class ExactAdam(type(keras.optimizers.Adam())):  # type: ignore[misc]
    """Keras's Adam with epsilon outside the root.

    Keras adds epsilon to the uncorrected root; times the square root of the correction, it is the
    formula as published. The base is the engine's own class, which on PyTorch updates all
    variables at once.
    """

    @property
    def epsilon(self) -> Tensor:
        """Epsilon of this step."""
        step = keras.ops.cast(self.iterations + 1, "float32")
        return self._epsilon * keras.ops.sqrt(1 - keras.ops.power(self.beta_2, step))

    @epsilon.setter
    def epsilon(self, value: float) -> None:
        self._epsilon = value


def build_optimizer(work: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Return the optimizer of the settings."""
    constants = SETTINGS[work["optimizer"]]
    if work["optimizer"] == "sgd":
        return keras.optimizers.SGD(constants["lr"], momentum=constants["momentum"])
    return ExactAdam(
        constants["lr"],
        beta_1=constants["beta_1"],
        beta_2=constants["beta_2"],
        epsilon=constants["epsilon"],
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the batch's mean binary cross-entropy by the engine's own function."""
    if ENGINE == "tensorflow":
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        return tf.reduce_mean(losses)
    if ENGINE == "jax":
        return (jax.nn.softplus(logits) - labels * logits).mean()
    return F.binary_cross_entropy_with_logits(logits, labels)


class Loop:
    """One work in one idiom, built and ready; each engine fills in its steps.

    Attributes:
        steps: Of one epoch.
    """

    def __init__(self, work: Mapping[str, Any], idiom: Idiom, folder: Path) -> None:
        self._work, self._idiom = work, idiom
        self._epochs = Epochs(work, idiom, folder)
        self._to_input = NetworkInput(work, idiom.layout)
        self.steps = self._epochs.steps
        self._is_augmented = work.get("augmented", False)
        self._last: Callable[[], Arrays] = dict
        if "layers" in work:
            self._network = build_network(work, idiom)
        if work["kind"] == "train":
            self._optimizer = build_optimizer(work)
            self._optimizer.build(self._network.trainable_variables)
        if idiom.loop != "step" and work["kind"] != "feed":
            self._build_model(has_front=idiom.loop == "batch" or self._has_front_for_fit())
        if idiom.loop == "fit" and work["kind"] == "train":
            self._turns = FitTurns(self._fit)
            self.epoch: Callable[[], Scores] = self._turns.epoch
        else:
            suffix = "_on_batch" if idiom.loop == "batch" else ""
            self._prepare()
            self.epoch = getattr(self, f"_{work['kind']}{suffix}")

    def arrays(self) -> Arrays:
        """Return what a check compares: weights of a training, else the last batch's arrays."""
        if self._work["kind"] != "train":
            return self._last()
        learnt = {id(variable) for variable in self._network.trainable_variables}
        return {
            f"{'learnt' if id(variable) in learnt else 'front'}/{number}": np.array(
                keras.ops.convert_to_numpy(variable)
            )
            for number, variable in enumerate(self._network.weights)
        }

    def _prepare(self) -> None:
        """Make what the engine's steps need."""

    def _has_front_for_fit(self) -> bool:
        return ENGINE != "tensorflow" or self._idiom.warp == "model"

    def _build_model(self, *, has_front: bool) -> None:
        """Compile a model for Keras's own loops, augmenting and normalising where asked."""
        self._model = self._network
        if has_front and "preprocessing" in self._work:
            shape = tuple(self._work["input"])
            tensors = [keras.Input(shape, dtype="uint8")]
            if self._is_augmented:
                tensors += [keras.Input((2, 3)), keras.Input(shape[2:])]
            self._model = keras.Model(tensors, self._network(InputLayer(self._to_input)(tensors)))
        self._model.compile(
            optimizer=self._optimizer if self._work["kind"] == "train" else None,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
            jit_compile=ENGINE == "jax",
        )

    def _train_on_batch(self) -> Scores:
        total, hits = 0.0, 0.0
        for batch in self._epochs():
            tensors = batch.tensors()
            inputs = list(tensors) if len(tensors) > 1 else tensors[0]
            logs = self._model.train_on_batch(inputs, batch.labels[:, None], return_dict=True)
            # Keras resets its metrics with each batch.
            total += float(logs["loss"])
            hits += float(logs["accuracy"]) * len(batch.labels)
        return self._means(total, hits)

    def _evaluate_on_batch(self) -> Scores:
        total, hits = 0.0, 0.0
        for batch in self._epochs():
            logs = self._model.test_on_batch(batch.inputs, batch.labels[:, None], return_dict=True)
            total += float(logs["loss"])
            hits += float(logs["accuracy"]) * len(batch.labels)
        return self._means(total, hits)

    def _extract_on_batch(self) -> Scores:
        return self._collect(self._model.predict_on_batch(batch.inputs) for batch in self._epochs())

    def _collect(self, outputs: Iterator[NDArray[np.float32]]) -> Scores:
        """Copy each batch's outputs to one array on the host."""
        size = self._work["batch"]
        for step, values in enumerate(outputs):
            if step == 0:
                shape = (len(self._epochs.labels), *values.shape[1:])
                features = np.empty(shape, np.float32)
            features[step * size : (step + 1) * size] = values
        self._last = lambda: {"outputs": features}
        return Scores()

    def _fit(self, turns: FitTurns) -> None:
        """Run ``fit`` over batches from a generator, its epochs begun by ``turns``."""

        def batches() -> Iterator[tuple[Any, NDArray[np.float32]]]:
            while True:
                for batch in self._epochs():
                    tensors = batch.tensors()
                    yield tensors if len(tensors) > 1 else tensors[0], batch.labels[:, None]

        self._model.fit(
            batches(),
            steps_per_epoch=self.steps,
            epochs=turns.ENDLESS,
            shuffle=False,
            verbose=0,
            callbacks=[turns],
        )

    def _keep_fed(self, batch: Batch, outputs: Tensor) -> Scores:
        """Keep the last batch for a check, which converts it: no part of the work."""

        def arrays() -> Arrays:
            images = self._epochs.inputs[np.asarray(batch.places)]
            fed = {"inputs": images, "outputs": np.array(keras.ops.convert_to_numpy(outputs))}
            if batch.affine is None or batch.colour is None:
                return fed
            return {
                **fed,
                "affine": np.asarray(batch.affine),
                "colour": np.asarray(batch.colour),
            }

        self._last = arrays
        return Scores()

    def _means(self, total: float, hits: float) -> Scores:
        return Scores(total / self.steps, hits / len(self._epochs.labels))


class FitTurns(keras.callbacks.Callback):
    """Runs ``fit`` in a thread and lets it do one epoch at a time.

    ``fit`` takes long to begin and to end, and its users call it once: so do we.
    """

    ENDLESS = 1_000_000

    def __init__(self, fit: Callable[[FitTurns], None]) -> None:
        super().__init__()
        self._fit = fit
        self._begin, self._end = threading.Semaphore(0), threading.Semaphore(0)
        self._scores = Scores()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def epoch(self) -> Scores:
        """Let ``fit`` do one epoch."""
        if not self._thread.is_alive():
            self._thread.start()
        self._begin.release()
        self._end.acquire()
        if self._error is not None:
            raise self._error
        return self._scores

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Wait until an epoch is asked for."""
        self._begin.acquire()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Hand the epoch's means over."""
        assert logs is not None
        self._scores = Scores(logs["loss"], logs["accuracy"])
        self._end.release()

    def _run(self) -> None:
        try:
            self._fit(self)
        except BaseException as error:
            self._error = error
            self._end.release()


class TensorFlowLoop(Loop):
    """Steps in a ``tf.function``."""

    def _prepare(self) -> None:
        self._total, self._hits = tf.Variable(0.0), tf.Variable(0.0)
        if self._idiom.gather == "device":
            self._resident = tf.constant(self._epochs.inputs)
        if self._work["kind"] == "feed" and self._idiom.loop == "fit":
            self._fed = iter(self._dataset(has_warp=True))
            self._feed = self._feed_from_pipeline
        # Every shape is known beforehand, and a concrete function takes its arguments as they are.
        size, shape = self._work["batch"], tuple(self._work["input"])
        is_image = "preprocessing" in self._work
        first = (
            tf.TensorSpec((size,), tf.int32)
            if self._idiom.gather == "device"
            else tf.TensorSpec((size, *shape), tf.uint8 if is_image else tf.float32)
        )
        specs = [first, tf.TensorSpec((size,), tf.float32)]
        if self._is_augmented:
            specs += [tf.TensorSpec((size, 2, 3)), tf.TensorSpec((size, *shape[2:]))]
        body = getattr(self, f"_{self._work['kind']}_step")
        self._step = tf.function(body, autograph=False).get_concrete_function(*specs)

    def _arguments(self, batch: Batch) -> list[Tensor]:
        first = batch.places if batch.inputs is None else batch.inputs
        arrays = (first, batch.labels, *batch[3:])
        return [tf.constant(array) for array in arrays if array is not None]

    def _inputs(self, first: Tensor, *warp: Tensor) -> Tensor:
        if self._idiom.gather == "device":
            first = tf.gather(self._resident, first)
        return self._to_input(first, *warp)

    def _train_step(self, first: Tensor, labels: Tensor, *warp: Tensor) -> None:
        inputs = self._inputs(first, *warp)
        variables = self._network.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            logits = self._network(inputs, training=True)[:, 0]
            loss = cross_entropy(logits, labels)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        self._add(loss, logits, labels)

    def _evaluate_step(self, first: Tensor, labels: Tensor) -> None:
        logits = self._network(self._inputs(first), training=False)[:, 0]
        self._add(cross_entropy(logits, labels), logits, labels)

    def _extract_step(self, first: Tensor, labels: Tensor) -> Tensor:
        return self._network(self._inputs(first), training=False)

    def _feed_step(self, first: Tensor, labels: Tensor, *warp: Tensor) -> Tensor:
        return self._inputs(first, *warp)

    def _add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._total.assign_add(loss)
        hits = tf.equal(tf.cast(logits > 0, tf.float32), labels)
        self._hits.assign_add(tf.reduce_sum(tf.cast(hits, tf.float32)))

    def _train(self) -> Scores:
        self._total.assign(0.0)
        self._hits.assign(0.0)
        for batch in self._epochs():
            self._step(*self._arguments(batch))
        return self._means(float(self._total), float(self._hits))

    _evaluate = _train

    def _extract(self) -> Scores:
        return self._collect(
            self._step(*self._arguments(batch)).numpy() for batch in self._epochs()
        )

    def _feed(self) -> Scores:
        for batch in self._epochs():
            outputs = self._step(*self._arguments(batch))
        return self._keep_fed(batch, outputs)

    def _feed_from_pipeline(self) -> Scores:
        for _ in range(self.steps):
            outputs, _, places, *warp = next(self._fed)
        return self._keep_fed(Batch(places, None, self._epochs.labels, *warp), outputs)

    def _dataset(self, *, has_warp: bool) -> tf.data.Dataset:
        """Return endless batches: inputs, labels, and what they were made of.

        Places and augmentation of an epoch are drawn by one function; images are gathered from a
        tensor inside the pipeline.
        """
        inputs, labels = tf.constant(self._epochs.inputs), tf.constant(self._epochs.labels[:, None])
        size = self._work["batch"]

        def draw() -> list[NDArray[Any]]:
            warp = self._epochs.augmentation() if self._is_augmented else ()
            return [self._epochs.order(), *warp]

        types = [tf.int32] + [tf.float32] * (2 if self._is_augmented else 0)
        shapes = [(None,), (None, 2, 3), (None, self._work["input"][-1])]

        def epoch(_: Tensor) -> tf.data.Dataset:
            drawn = tf.numpy_function(draw, [], types)
            parts = [
                tf.ensure_shape(part, shape) for part, shape in zip(drawn, shapes, strict=False)
            ]
            return tf.data.Dataset.from_tensor_slices(tuple(parts)).batch(size, drop_remainder=True)

        def gather(places: Tensor, *warp: Tensor) -> tuple[Any, ...]:
            images = tf.gather(inputs, places)
            made = self._to_input(images, *warp) if has_warp else (images, *warp)
            if isinstance(made, tuple) and len(made) == 1:
                made = made[0]
            return made, tf.gather(labels, places), places, *warp

        dataset = tf.data.Dataset.range(1).repeat().flat_map(epoch)
        return dataset.map(gather, num_parallel_calls=2).prefetch(2)

    def _fit(self, turns: FitTurns) -> None:
        """Run ``fit`` over tf.data, one iterator for all epochs."""
        dataset = self._dataset(has_warp=self._idiom.warp == "pipeline")
        self._model.fit(
            dataset.map(lambda inputs, labels, *_: (inputs, labels)),
            steps_per_epoch=self.steps,
            epochs=turns.ENDLESS,
            shuffle=False,
            verbose=0,
            callbacks=[turns],
        )


class JaxLoop(Loop):
    """Steps under ``jax.jit``, the state donated from step to step."""

    def _prepare(self) -> None:
        if self._idiom.gather == "device":
            self._resident = jax.device_put(self._epochs.inputs)
        if self._work["kind"] != "feed":
            network = self._network
            # Copies, for steps give the arrays' memory to those that follow.
            self._learnt = [jnp.copy(value) for value in network.trainable_variables]
            self._others = [jnp.copy(value) for value in network.non_trainable_variables]
        if self._work["kind"] == "train":
            self._state = [jnp.copy(value) for value in self._optimizer.variables]
        self._train_step = jax.jit(self._trained, donate_argnums=(0, 1, 2, 3))
        self._score_step = jax.jit(self._scored, donate_argnums=2)
        self._outputs = jax.jit(self._computed)
        self._inputs = jax.jit(self._made)

    def arrays(self) -> Arrays:
        """Return weights from the state that the steps carry, else what the base returns."""
        if self._work["kind"] == "train" and self._idiom.loop == "step":
            network = self._network
            variables = network.trainable_variables + network.non_trainable_variables
            for variable, value in zip(variables, self._learnt + self._others, strict=True):
                variable.assign(np.array(value))
        elif self._work["kind"] == "train":
            self._model.jax_state_sync()
        return super().arrays()

    def _arguments(self, batch: Batch) -> tuple[Any, ...]:
        if batch.inputs is None:
            return (self._resident, batch.places, *batch[3:])
        return (batch.inputs, None, *batch[3:])

    def _made(self, inputs: Tensor, places: Tensor, *warp: Tensor) -> Tensor:
        if places is not None:
            inputs = jnp.take(inputs, places, axis=0)
        return self._to_input(inputs, *warp)

    def _trained(
        self, learnt: Any, others: Any, state: Any, totals: Any, labels: Tensor, arguments: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Return everything that a step changes."""
        inputs = self._made(*arguments)

        def loss_of(learnt: Any) -> tuple[Tensor, tuple[Tensor, Any]]:
            logits, after = self._network.stateless_call(learnt, others, inputs, training=True)
            return cross_entropy(logits[:, 0], labels), (logits[:, 0], after)

        (loss, (logits, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(learnt)
        learnt, state = self._optimizer.stateless_apply(state, gradients, learnt)
        return learnt, others, state, self._added(totals, loss, logits, labels)

    def _scored(self, learnt: Any, others: Any, totals: Any, labels: Tensor, arguments: Any) -> Any:
        inputs = self._made(*arguments)
        logits, _ = self._network.stateless_call(learnt, others, inputs, training=False)
        return self._added(totals, cross_entropy(logits[:, 0], labels), logits[:, 0], labels)

    def _computed(self, learnt: Any, others: Any, arguments: Any) -> Tensor:
        inputs = self._made(*arguments)
        return self._network.stateless_call(learnt, others, inputs, training=False)[0]

    def _added(self, totals: Any, loss: Tensor, logits: Tensor, labels: Tensor) -> Any:
        return totals[0] + loss, totals[1] + ((logits > 0) == labels).sum()

    def _train(self) -> Scores:
        totals = jnp.zeros(()), jnp.zeros((), jnp.int32)
        for batch in self._epochs():
            self._learnt, self._others, self._state, totals = self._train_step(
                self._learnt, self._others, self._state, totals, batch.labels,
                self._arguments(batch),
            )  # fmt: skip
        return self._means(float(totals[0]), int(totals[1]))

    def _evaluate(self) -> Scores:
        totals = jnp.zeros(()), jnp.zeros((), jnp.int32)
        for batch in self._epochs():
            totals = self._score_step(
                self._learnt, self._others, totals, batch.labels, self._arguments(batch)
            )
        return self._means(float(totals[0]), int(totals[1]))

    def _extract(self) -> Scores:
        return self._collect(
            np.asarray(self._outputs(self._learnt, self._others, self._arguments(batch)))
            for batch in self._epochs()
        )

    def _feed(self) -> Scores:
        # On a CPU, batches that do not depend on each other may finish in any order.
        fed = []
        for batch in self._epochs():
            fed.append(self._inputs(*self._arguments(batch)))
        return self._keep_fed(batch, jax.block_until_ready(fed)[-1])


class TorchLoop(Loop):
    """Steps in plain PyTorch over Keras's layers, variables and optimizer."""

    def _prepare(self) -> None:
        self._resident = torch.from_numpy(self._epochs.inputs)

    def _made(self, batch: Batch) -> Tensor:
        if batch.inputs is None:
            images = self._resident.index_select(0, torch.from_numpy(batch.places))
        else:
            images = torch.from_numpy(batch.inputs)
        warp = [torch.from_numpy(array) for array in batch[3:] if array is not None]
        return self._to_input(images, *warp)

    def _call(self, values: Tensor, *, training: bool) -> Tensor:
        if self._idiom.call == "model":
            return self._network(values, training=training)
        for layer in self._network.layers:
            if isinstance(layer, keras.layers.Dropout):
                values = layer.call(values, training=training)
            else:
                values = layer.call(values)
        return values

    def _train(self) -> Scores:
        total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        variables = self._network.trainable_variables
        tensors = [variable.value for variable in variables]
        for batch in self._epochs():
            labels = torch.from_numpy(batch.labels)
            logits = self._call(self._made(batch), training=True)[:, 0]
            loss = cross_entropy(logits, labels)
            for tensor in tensors:
                tensor.grad = None
            loss.backward()
            with torch.no_grad():
                self._optimizer.apply([tensor.grad for tensor in tensors], variables)
                total += loss
                hits += ((logits > 0) == labels).sum()
        return self._means(float(total), int(hits))

    def _evaluate(self) -> Scores:
        total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        with torch.inference_mode():
            for batch in self._epochs():
                labels = torch.from_numpy(batch.labels)
                logits = self._call(self._made(batch), training=False)[:, 0]
                total += cross_entropy(logits, labels)
                hits += ((logits > 0) == labels).sum()
        return self._means(float(total), int(hits))

    def _extract(self) -> Scores:
        def outputs() -> Iterator[NDArray[np.float32]]:
            for batch in self._epochs():
                values = self._call(self._made(batch), training=False)
                is_first = self._idiom.layout == "channels_first"
                yield (values.permute(0, 2, 3, 1) if is_first else values).numpy()

        with torch.inference_mode():
            return self._collect(outputs())

    def _feed(self) -> Scores:
        with torch.inference_mode():
            for batch in self._epochs():
                outputs = self._made(batch)
        return self._keep_fed(batch, outputs)


LOOP = {"tensorflow": TensorFlowLoop, "jax": JaxLoop, "torch": TorchLoop}[ENGINE]


def idioms_of(work: Mapping[str, Any]) -> Mapping[str, Idiom]:
    """Return the idioms of a work, by name."""
    if work["kind"] == "train":
        key = "train" if work.get("preprocessing") else "features"
        return IDIOMS.get(key, IDIOMS["features"])
    return IDIOMS.get(work["kind"], IDIOMS["forward"])


def build_loops(work: Mapping[str, Any], folder: Path) -> Mapping[str, Callable[[], Loop]]:
    """Return what builds each idiom's loop, by the idiom's name."""
    return {
        name: lambda idiom=idiom: LOOP(work, idiom, folder)
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
    # TensorFlow and XLA take a thread for each core that the process may use when they start.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    if ENGINE == "torch":
        torch.set_num_threads(arguments.threads)
    versions = {"keras": keras.__version__, ENGINE: VERSION}
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
