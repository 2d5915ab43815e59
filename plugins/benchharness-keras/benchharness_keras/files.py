"""Loading image files, by TensorFlow's decoder in the threads of a tf.data pipeline.

TensorFlow is imported inside the functions: the other engines of Keras do without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batches, NativeSettings, Task, UnsupportedError

if TYPE_CHECKING:
    import tensorflow as tf

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

    def load(self, batches: Callable[[], Batches]) -> tf.data.Dataset:
        """Return a dataset of inputs and labels, both batched as the core's.

        Inputs are the arrays of a batch by name: ``inputs``, uint8, shape (batch, height, width,
        channels), and the warp's ``affine`` and ``colour`` where the task is augmented.

        Args:
            batches: Gives those of the epoch that begins; asked each time the dataset is gone
                through. Every epoch has as many.
        """
        import tensorflow as tf

        task, workers = self._task, self._task.execution.threads
        batch_size = max(len(batch) for batch in (batches()[0], batches()[-1]))
        dataset = tf.data.Dataset.from_generator(
            partial(_rows, batches, task), output_signature=_signature(task)
        )
        images = dataset.unbatch().map(self._read, num_parallel_calls=workers)
        sized = images.batch(batch_size).prefetch(AHEAD)
        return sized.apply(tf.data.experimental.assert_cardinality(len(batches())))

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
