"""Writing down what the network and the loss really receive."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from benchharness.api import Consumed, Witness


class Ledger:
    """The fingerprints and labels of the last steps, kept on the device.

    Twin note: a layer and a metric of the compiled model write here, for ``fit`` is the loop; in
    PyTorch the loop hands its tensors over. Each keeps a register that a step shifts by a row.
    """

    def __init__(self, witness: Witness | None) -> None:
        self._witness = witness
        self.metrics: list[keras.metrics.Metric] = []
        if witness is not None:
            self._images = SeenImages(witness, dtype="float32")
            self._labels = SeenLabels(witness)
            self.metrics = [self._labels]

    def watch(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the network's inputs unchanged, written down on their way."""
        return inputs if self._witness is None else self._images(inputs)

    def write_labels(self, labels: keras.KerasTensor) -> None:
        """Write down the labels of a step that no loss receives."""
        if self._witness is not None:
            self._labels.update_state(labels, None)

    def consumed(self, *, steps: int) -> Consumed:
        """Return the last of ``steps`` steps taken, the oldest first, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        # What stands in front of the steps taken is left from the start or from before a reset.
        first = max(self._witness.steps - steps, 0)
        return Consumed(
            fingerprints=np.array(ops.convert_to_numpy(self._images.register)[first:]),
            labels=ops.convert_to_numpy(self._labels.register)[first:].astype(np.int32),
        )


class SeenImages(keras.Layer):
    """Passes images on, and writes down the fingerprints of the first of each batch."""

    def __init__(self, witness: Witness, **options: object) -> None:
        super().__init__(**options)
        self._pattern = witness.pattern
        self.register = self.add_weight(
            shape=(witness.steps, witness.images), initializer="zeros", trainable=False
        )

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Map inputs to themselves."""
        seen = first_rows(inputs, count=self.register.shape[1])
        axes = tuple(range(1, len(inputs.shape)))
        shift(self.register, ops.sum(ops.multiply(seen, self._pattern), axis=axes))
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape unchanged."""
        return input_shape


class SeenLabels(keras.metrics.Metric):
    """Writes down the labels that the loss receives, for metrics receive the same."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(name="witness")
        # Not integers: TensorFlow keeps those in host memory, and would wait for the device.
        self.register = self.add_variable(
            (witness.steps, witness.images), initializer="zeros", dtype="float32", name="labels"
        )

    def update_state(
        self,
        y_true: keras.KerasTensor,
        y_pred: keras.KerasTensor | None,
        sample_weight: keras.KerasTensor | None = None,
    ) -> None:
        """Write down one step."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "float32")
        shift(self.register, first_rows(labels, count=self.register.shape[1]))

    def reset_state(self) -> None:
        """Keep the register: Keras resets its metrics before each epoch."""

    def result(self) -> float:
        """Return zero, for Keras asks every metric for a number."""
        return 0.0


def first_rows(values: keras.KerasTensor, *, count: int) -> keras.KerasTensor:
    """Return the first ``count`` rows, beginning again where there are fewer."""
    return ops.take(values, ops.arange(count) % ops.shape(values)[0], axis=0)


def shift(register: keras.Variable, row: keras.KerasTensor) -> None:
    """Drop a register's oldest row, and append a row."""
    register.assign(ops.concatenate([register[1:], row[None]], axis=0))
