"""Training in the native track: ``fit``, the loop that users of Keras write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    FingerprintSpec,
    Scores,
    Task,
)
from benchharness_keras.engines import Arrays, Tensor
from benchharness_keras.engines.engine import named_arrays
from benchharness_keras.files import AHEAD
from benchharness_keras.images import input_tensors, network_input
from benchharness_keras.layers import connect
from benchharness_keras.training import KerasTraining
from benchharness_keras.witness import fingerprints, first_rows


class KerasNativeTraining(KerasTraining):
    """A compiled model and ``fit``, on Keras's own input pipeline."""

    # No public name repeats the step of ``fit`` without reading its metrics back.
    replay = None  # type: ignore[assignment]

    def __init__(self, task: Task, *, device: str) -> None:
        # Keras's own input pipeline brings the batches.
        super().__init__(replace(task, inputs=None), device=device)
        tensors = input_tensors(
            task, is_augmented=task.is_augmented, is_loaded=self._loader is not None
        )
        inputs = network_input(task, tensors)
        metrics: list[keras.metrics.Metric] = []
        # Steps of the epoch that was trained last.
        self._taken = 0
        if task.witness is not None:
            self._images = SeenImages(task.witness, dtype="float32")
            self._labels = SeenLabels(task.witness)
            metrics, inputs = [self._labels], self._images(inputs)
        self._fitted = keras.Model(tensors, connect(self._layers, inputs, has_dropout=True))
        is_sigmoid = task.output == "sigmoid"
        self._fitted.compile(
            optimizer=self._program.optimizer,
            loss=(
                keras.losses.BinaryCrossentropy(from_logits=True)
                if is_sigmoid
                else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            ),
            metrics=[
                keras.metrics.BinaryAccuracy(name="top1", threshold=0.0)
                if is_sigmoid
                else keras.metrics.SparseCategoricalAccuracy(name="top1"),
                *metrics,
            ],
            jit_compile=self._program.is_compiled,
        )

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        super().reset()
        self._taken = 0

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""

        def end_epoch(scores: Scores) -> None:
            self._taken = len(reporter.batches)
            after_epoch(scores)

        reporter = Reporter(epochs, after_step=after_step, after_epoch=end_epoch)
        if self._loader is not None:
            dataset = self._loader.load(lambda: reporter.batches)
        else:
            dataset = pipeline(reporter, self._task)
        self._fitted.fit(
            dataset,
            epochs=len(epochs),
            # The order is the core's, or that of the loader.
            shuffle=False,
            verbose=0,
            callbacks=[reporter],
        )

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch.

        Raises:
            ValueError: The task has no witness.
        """
        witness = self._task.witness
        if witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        self._publish()
        registers = (self._images.register, self._labels.register)
        prints, labels = (np.array(ops.convert_to_numpy(register)) for register in registers)
        # The last step is in the last row.
        first = len(prints) - self._taken
        rows = [first + step for step in witness.steps if step < self._taken]
        return ConsumedBatches(fingerprints=prints[rows], labels=labels[rows].astype(np.int32))

    def synchronize(self) -> None:
        """Wait for the device, by asking for the smallest array the last step has written."""
        self._publish()
        smallest = min(self._fitted.trainable_variables, key=lambda v: int(np.prod(v.shape)))
        ops.convert_to_numpy(smallest)

    def _publish(self) -> None:
        super()._publish()
        if keras.config.backend() == "jax":
            # During fit, Keras on JAX keeps the weights in a state of the model.
            self._fitted.jax_state_sync()


def pipeline(reporter: Reporter, task: Task) -> object:
    """Return what ``fit`` takes: batches of the epoch that the reporter has come to.

    On TensorFlow a tf.data pipeline; a PyDataset of several workers there costs a step 16 ms. On
    the other engines a PyDataset: the queue of several workers would lose its first batch when
    Keras looks at it to build the metrics (Keras 3.15).
    """
    if keras.config.backend() != "tensorflow":
        return BatchDataset(reporter)
    import tensorflow as tf

    arrays = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for tensor in input_tensors(task, is_augmented=task.is_augmented).values()
    }
    dataset = tf.data.Dataset.from_generator(
        lambda: map(_pair, reporter.batches),
        output_signature=(arrays, tf.TensorSpec([None], tf.int32)),
    ).prefetch(AHEAD)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(reporter.batches)))


def _pair(batch: Batch) -> tuple[Arrays, Tensor]:
    return named_arrays(batch), batch.labels


class BatchDataset(keras.utils.PyDataset):
    """The batches of the epoch that ``fit`` has come to."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._reporter.batches)

    def __getitem__(self, index: int) -> tuple[Arrays, Tensor]:
        """Return a batch's arrays and labels."""
        return _pair(self._reporter.batches[index])


class Reporter(keras.callbacks.Callback):
    """Reports steps and epochs to the core.

    Keras may call ``on_train_batch_end`` from another thread and out of order, so a step is
    reported when the next begins, and the last when the epoch ends.

    Attributes:
        batches: Of the epoch that ``fit`` has come to.
    """

    def __init__(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        super().__init__()
        self._epochs = epochs
        self._after_step = after_step
        self._after_epoch = after_epoch
        self.batches = epochs[0]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, object] | None = None) -> None:
        """Turn to the epoch's batches."""
        self.batches = self._epochs[epoch]

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, object] | None = None) -> None:
        """Report the step before this."""
        if batch > 0:
            self._after_step()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report the last step, and the epoch."""
        self._after_step()
        means = logs or {}
        count = sum(map(len, self.batches))
        self._after_epoch(Scores(loss=float(means["loss"]), top1=float(means["top1"]), count=count))


class SeenImages(keras.Layer):
    """Passes images on, and records the fingerprints of the first of each batch."""

    def __init__(self, witness: FingerprintSpec, **options: object) -> None:
        super().__init__(**options)
        self._witness = witness
        self.register = self.add_weight(
            shape=(witness.steps[-1] + 1, witness.images), initializer="zeros", trainable=False
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Map inputs to themselves."""
        shift(self.register, fingerprints(inputs, self._witness))
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape unchanged."""
        return input_shape


class SeenLabels(keras.metrics.Metric):
    """Records the labels that the loss receives, for metrics receive the same."""

    def __init__(self, witness: FingerprintSpec) -> None:
        super().__init__(name="witness")
        # Not integers: TensorFlow keeps those in host memory, and would wait for the device.
        self.register = self.add_variable(
            (witness.steps[-1] + 1, witness.images),
            initializer="zeros",
            dtype="float32",
            name="labels",
        )

    def update_state(
        self, y_true: Tensor, y_pred: Tensor | None, sample_weight: Tensor | None = None
    ) -> None:
        """Record a step."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "float32")
        shift(self.register, first_rows(labels, count=self.register.shape[1]))

    def reset_state(self) -> None:
        """Keep the register: Keras resets its metrics before each epoch."""

    def result(self) -> float:
        """Return zero, for Keras asks every metric for a number."""
        return 0.0


def shift(register: keras.Variable, row: Tensor) -> None:
    """Drop a register's oldest row, and append a row."""
    register.assign(ops.concatenate([register[1:], row[None]], axis=0))
