"""Keras's device, batches on it, image files, and the record of what the network receives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from benchharness.api import (
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    FingerprintSpec,
    NativeSettings,
    Preprocessing,
    Setting,
    Task,
    UnsupportedError,
)
from benchharness_keras.engines import ENGINE, Arrays, Tensor

# TensorFlow is imported inside the functions: the other engines of Keras do without it.
if TYPE_CHECKING:
    import tensorflow as tf


def use_device(task: Task) -> str:
    """Set precision and determinism for this process, and return the device Keras computes on.

    The core has already narrowed this process to the cores and the accelerator it may use, and
    every engine takes its threads and its first device from what it sees. On JAX, determinism once
    asked for lasts as long as the process.

    Raises:
        UnsupportedError: The device, the precision or the layout is not to be had here.
    """
    execution = task.execution
    # First of all, because JAX reads this switch with its first operation.
    # XLA in TensorFlow 2.21 cannot compile pooling's gradient once determinism is on, and who asks
    # to compile asks for that first.
    is_xla = execution.compile and keras.config.backend() == "tensorflow"
    ENGINE.use_determinism(execution.is_deterministic and not is_xla, seed=task.seed)
    if execution.device == "gpu" and not _is_on_gpu():
        raise UnsupportedError(
            f"device: Keras on {keras.config.backend()} sees no GPU; "
            "install a GPU build of its engine, or run with --device cpu"
        )
    if execution.precision == "tf32" and execution.device == "cpu":
        raise UnsupportedError("precision: tf32 exists on NVIDIA GPUs only")
    if execution.layout == "channels_first":
        raise UnsupportedError(
            "layout: Keras computes channels_last here; TensorFlow has no channels-first "
            "convolution on a CPU, and reorders automatically on a GPU"
        )
    is_mixed = execution.precision == "bfloat16"
    keras.config.set_dtype_policy("mixed_bfloat16" if is_mixed else "float32")
    keras.config.set_image_data_format("channels_last")
    # Keras has no switch of its own for TF32; each engine has another default.
    ENGINE.allow_tf32(execution.precision == "tf32")
    return f"{execution.device}:0"


def _is_on_gpu() -> bool:
    """Return whether Keras places its tensors on a GPU; asks a tensor, as every engine can."""
    place = str(keras.ops.zeros(1).device).lower()
    return "gpu" in place or "cuda" in place


def device_settings(device: str) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    settings = ENGINE.settings(is_gpu=device.startswith("gpu"))
    return {
        **settings,
        "engine": keras.config.backend(),
        "device": device,
        "precision": precision_of(keras.config.dtype_policy().compute_dtype, settings),
        "dtype_policy": keras.config.dtype_policy().name,
        "layout": keras.config.image_data_format(),
        "compile": False,
        "loader_workers": 0,
    }


def precision_of(compute_dtype: str, engine: Mapping[str, Setting]) -> str:
    """Return the precision of arithmetic in a dtype: products of float32 may round to TF32."""
    return "tf32" if compute_dtype == "float32" and engine["tf32"] else compute_dtype


def input_tensors(
    task: Task, *, is_augmented: bool, is_loaded: bool = False
) -> dict[str, keras.KerasTensor]:
    """Return the model's symbolic inputs: the images or features, and the warp where there is one.

    Keras's own loader of folders gives images as float32 (``is_loaded``), everything else uint8.

    Twin note: layers inside the model here, which become part of the compiled step; a module that
    runs before the network in PyTorch.
    """
    is_float = task.preprocessing is None or (is_loaded and bool(task.files.folder))
    dtype = "float32" if is_float else "uint8"
    tensors = {"inputs": keras.Input(task.input_shape, dtype=dtype, name="inputs")}
    if is_augmented:
        tensors["affine"] = keras.Input((2, 3), name="affine")
        tensors["colour"] = keras.Input((task.input_shape[2],), name="colour")
    return tensors


def network_input(task: Task, tensors: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
    """Return what the first layer of the network sees, float32, channels last."""
    images = tensors["inputs"]
    if "affine" in tensors:
        images = WarpImages(dtype="float32")([images, tensors["affine"], tensors["colour"]])
    if task.preprocessing is None:
        return images
    return PreprocessImages(task.preprocessing, dtype="float32")(images)


class ToDevice:
    """Brings batches to the device, where inputs that the task hands over whole stay."""

    def __init__(self, task: Task) -> None:
        self._held = None if task.inputs is None else ENGINE.hold(np.asarray(task.inputs))
        self._take = ENGINE.function(lambda held, ids: ops.take(held, ids, axis=0))

    def __call__(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return a batch's arrays by name, and its labels, as ``Engine.arrays`` does."""
        arrays, labels = ENGINE.arrays(batch)
        if self._held is not None and not batch.inputs.size:
            ids = ENGINE.array(batch.ids.astype(np.int32))
            arrays["inputs"] = self._take(self._held, ids)
        return arrays, labels


class WarpImages(keras.Layer):
    """Resample each image by its affine map, add its colour shift, clip to 0-255."""

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Map images, affine (batch, 2, 3) and colour (batch, channels) to float32 images."""
        images, affine, colour = inputs
        return ENGINE.recolour(ENGINE.resample(ops.cast(images, "float32"), affine), colour)


class PreprocessImages(keras.Layer):
    """``(image[..., order] - mean) * scale``, then whitening where the task states it."""

    def __init__(self, preprocessing: Preprocessing, **options: object) -> None:
        super().__init__(**options)
        order = preprocessing.order
        self._order = None if list(order) == sorted(order) else np.array(order, np.int32)
        self._scale = tuple(map(float, preprocessing.scale))
        pairs = zip(preprocessing.mean, preprocessing.scale, strict=True)
        self._shift = tuple(-mean * scale for mean, scale in pairs)
        self._whitening = preprocessing.whitening

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Map images of any dtype to float32 of the same shape."""
        if self._order is not None:
            images = ops.take(images, ENGINE.constant(self._order, like=images), axis=-1)
        images = ENGINE.normalise(images, self._scale, self._shift)
        if self._whitening is None:
            return images
        mean, basis, gain = (
            ENGINE.constant(array, like=images)
            for array in (self._whitening.mean, self._whitening.basis, self._whitening.gain)
        )
        flat = ops.reshape(images, (-1, len(self._whitening.mean))) - mean
        white = ops.matmul(flat, basis) * gain
        return ops.reshape(ops.matmul(white, basis.T), ops.shape(images))


class KerasFeeding:
    """Batches for a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task)
        self._ledger = Ledger(task.fingerprint_spec)
        self._loader = build_loader(task)
        tensors = input_tensors(
            task, is_augmented=task.is_augmented, is_loaded=self._loader is not None
        )
        model = keras.Model(tensors, network_input(task, tensors))
        self._prepare = ENGINE.preparation(model)
        self._last: Tensor | None = None

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for step, (arrays, labels) in enumerate(self._placed(batches)):
            # What was fed before is let go first: on a CPU its memory is still in the cache.
            self._last = None
            self._last = self._prepare(arrays)
            self._ledger.write(step, self._last, labels)
            del arrays, labels
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device, by asking for a single value of the last batch."""
        if self._last is not None:
            keras.ops.convert_to_numpy(self._last[:1, :1, :1, :1])

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        settings = device_settings(self._device)
        return settings | ({"loader_workers": self._loader.workers} if self._loader else {})

    def _placed(self, batches: Batches) -> Iterable[tuple[Arrays, Tensor]]:
        """Return arrays and labels of each batch, loaded from files where the task has any."""
        if self._loader is not None:
            return self._loader.load(lambda: batches)
        return map(self._to_device, batches)


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device.

    Twin note: the step gives the network's inputs back, as in JAX; in PyTorch they are at hand.
    """

    def __init__(self, spec: FingerprintSpec | None) -> None:
        self._spec = spec
        self._rows: list[tuple[Tensor, Tensor]] = []
        if spec is not None:
            self._sampled = frozenset(spec.steps)
            self._take = ENGINE.function(self._first_rows)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: Tensor, labels: Tensor) -> None:
        """Record a step, by its position from 0, if it is sampled; the device is not waited for."""
        if self._spec is not None and step in self._sampled:
            self._rows.append(self._take(inputs, labels))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        if self._spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        shape = (len(self._rows), self._spec.images)
        columns = list(zip(*self._rows, strict=True)) or [(), ()]
        prints, labels = ([ops.convert_to_numpy(row) for row in rows] for rows in columns)
        return ConsumedBatches(
            fingerprints=np.array(prints, np.float32).reshape(shape),
            labels=np.array(labels, np.int32).reshape(shape),
        )

    def _first_rows(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fingerprints and labels of a batch's first images."""
        assert self._spec is not None
        return fingerprints(inputs, self._spec), first_rows(labels, count=self._spec.images)


def fingerprints(inputs: Tensor, spec: FingerprintSpec) -> Tensor:
    """Return the fingerprints of a batch's first images, shape (images,)."""
    rows = first_rows(inputs, count=spec.images)
    axes = tuple(range(1, len(inputs.shape)))
    pattern = ENGINE.constant(spec.pattern, like=rows)
    return ops.sum(ops.multiply(rows, pattern), axis=axes)


def first_rows(values: Tensor, *, count: int) -> Tensor:
    """Return the first ``count`` rows, starting over where there are fewer."""
    size = values.shape[0]
    # Unknown while a graph for every batch size is traced.
    if size is not None and size >= count:
        return values[:count]
    return ops.take(values, ops.arange(count) % ops.shape(values)[0], axis=0)


# Batches made ahead, as many as a DataLoader in PyTorch makes per worker.
AHEAD = 2


def build_loader(task: Task) -> FileLoader | FolderLoader | None:
    """Return what loads the task's files; None where its batches bring their images along."""
    if task.files is None:
        return None
    return FolderLoader(task) if task.files.folder else FileLoader(task)


class FileLoader:
    """Loads the files of the core's batches, in the core's order.

    Twin note: a dataset here, which ``fit`` goes through anew in each epoch; in PyTorch batches,
    one epoch after another.

    Raises:
        UnsupportedError: Keras runs on another engine than TensorFlow.
    """

    def __init__(self, task: Task) -> None:
        _require_tensorflow()
        self._task = task
        self.workers = task.execution.threads
        self._batches: Callable[[], Batches] = tuple
        # By batch size, kept: building a dataset in every epoch would be timed with the epoch.
        self._datasets: dict[int, tf.data.Dataset] = {}

    def load(self, batches: Callable[[], Batches]) -> tf.data.Dataset:
        """Return a dataset of inputs and labels, both batched as the core's.

        Inputs are the arrays of a batch by name: ``inputs``, uint8, shape (batch, height, width,
        channels), and the warp's ``affine`` and ``colour`` where the task is augmented.

        Args:
            batches: Gives those of the epoch that begins; asked each time the dataset is gone
                through. Every epoch has as many.
        """
        import tensorflow as tf

        task, self._batches = self._task, batches
        size = max(len(batch) for batch in (batches()[0], batches()[-1]))
        if size not in self._datasets:
            rows = tf.data.Dataset.from_generator(
                lambda: _rows(self._batches, task), output_signature=_signature(task)
            )
            images = rows.unbatch().map(self._read, num_parallel_calls=self.workers)
            self._datasets[size] = images.batch(size).prefetch(AHEAD)
        count = tf.data.experimental.assert_cardinality(len(batches()))
        return self._datasets[size].apply(count)

    def _read(
        self, arrays: dict[str, tf.Tensor], label: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return arrays | {"inputs": read_image(arrays["inputs"], task=self._task)}, label


class FolderLoader:
    """Loads a folder of classes as Keras's users do, in an order of its own.

    Raises:
        UnsupportedError: Keras has no augmentation of some kind, or runs on another engine than
            TensorFlow.
    """

    # tf.data chooses the number of its threads by itself, and anew as it goes.
    workers = "autotune"

    def __init__(self, task: Task) -> None:
        _require_tensorflow()
        import tensorflow as tf

        images = keras.utils.image_dataset_from_directory(
            task.files.folder,
            color_mode="grayscale" if task.input_shape[2] == 1 else "rgb",
            batch_size=task.native.batch_size,
            image_size=task.input_shape[:2],
            seed=task.seed,
            verbose=False,
        )
        layers = augmentations(task.native, seed=task.seed)
        varied = images.map(
            lambda pixels, labels: (
                reduce(lambda seen, layer: layer(seen), layers, pixels),
                labels,
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        self._dataset = varied.prefetch(tf.data.AUTOTUNE)

    def load(self, batches: Callable[[], Batches]) -> tf.data.Dataset:
        """Return a dataset of as many batches of as many images as those.

        Inputs are ``{"inputs": float32 images, 0-255}``: Keras resizes without rounding.

        Args:
            batches: Gives those of an epoch; every epoch has as many.
        """
        import tensorflow as tf

        counts = tf.data.Dataset.from_tensor_slices([len(batch) for batch in batches()])
        return tf.data.Dataset.zip(self._dataset, counts).map(
            lambda images, count: ({"inputs": images[0][:count]}, images[1][:count])
        )


def augmentations(native: NativeSettings, *, seed: int) -> list[keras.Layer]:
    """Return Keras's layers of the stated kinds, their other options untouched.

    Raises:
        UnsupportedError: Keras has none of some kind, or not of that amount.
    """
    amounts = native.augmentation
    for kind, what in (("crop", "crop that is enlarged again"), ("channel_shift", "channel shift")):
        if kind in amounts:
            raise UnsupportedError(
                f"augmentation: Keras has no random {what}; leave {kind} out, "
                'or set input = "prepared"'
            )
    if amounts.get("shear", 0) > 1:
        raise UnsupportedError(
            f"augmentation: Keras shears by at most 1, found {amounts['shear']}; "
            'use less, or set input = "prepared"'
        )
    layers = keras.layers
    known: dict[str, Callable[[float], keras.Layer]] = {
        "flip_horizontal": lambda _: layers.RandomFlip("horizontal", seed=seed),
        "flip_vertical": lambda _: layers.RandomFlip("vertical", seed=seed),
        "shift": lambda share: layers.RandomTranslation(share, share, seed=seed),
        # Stated in degrees, wanted as a share of a whole turn.
        "rotation": lambda degrees: layers.RandomRotation(degrees / 360, seed=seed),
        "shear": lambda tangent: layers.RandomShear(x_factor=tangent, seed=seed),
        "zoom": lambda share: layers.RandomZoom(share, seed=seed),
    }
    return [make(amounts[kind]) for kind, make in known.items() if kind in amounts]


def read_image(path: tf.Tensor, *, task: Task) -> tf.Tensor:
    """Return a file's pixels, uint8; those of the prepared image, within a level."""
    import tensorflow as tf

    # The default inverse transform is a quicker one, up to 20 levels off.
    pixels = tf.io.decode_jpeg(
        tf.io.read_file(path), channels=task.input_shape[2], dct_method="INTEGER_ACCURATE"
    )
    resized = tf.image.resize(pixels, task.input_shape[:2], antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)


def _rows(batches: Callable[[], Batches], task: Task) -> Iterator[tuple[object, NDArray[np.int32]]]:
    """Yield the paths, warps and labels of each batch."""
    paths = np.array(task.files.paths)
    for batch in batches():
        arrays = {"inputs": paths[batch.ids]}
        if batch.warp is not None:
            arrays |= {"affine": batch.warp.affine, "colour": batch.warp.colour}
        yield arrays, batch.labels


def _signature(task: Task) -> object:
    import tensorflow as tf

    arrays = {"inputs": tf.TensorSpec([None], tf.string)}
    if task.is_augmented:
        arrays["affine"] = tf.TensorSpec([None, 2, 3], tf.float32)
        arrays["colour"] = tf.TensorSpec([None, task.input_shape[2]], tf.float32)
    return arrays, tf.TensorSpec([None], tf.int32)


def _require_tensorflow() -> None:
    engine = keras.config.backend()
    if engine != "tensorflow":
        raise UnsupportedError(
            f"input: Keras loads files with tf.data, which is TensorFlow's; found engine {engine}; "
            'set input = "prepared", or engine = "tensorflow"'
        )
