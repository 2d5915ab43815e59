"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from benchharness.api import AfterStep, Batches, Consumed, Setting, Task
from benchharness_keras.images import arrays, input_tensors, network_input
from benchharness_keras.settings import device_settings
from benchharness_keras.witness import Ledger


class KerasFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._ledger = Ledger(task.witness)
        tensors = input_tensors(task, is_augmented=task.is_augmented)
        self._model = keras.Model(tensors, self._ledger.watch(network_input(task, tensors)))
        self._last: keras.KerasTensor | None = None
        self._steps = 0

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        for batch in batches:
            # Not predict_on_batch: it would bring the images back to the host.
            self._last = self._model(arrays(batch))
            self._ledger.write_labels(keras.ops.convert_to_tensor(batch.labels))
            self._steps += 1
            after_step()

    def consumed(self) -> Consumed:
        """Return what was written down of the last steps."""
        return self._ledger.consumed(steps=self._steps)

    def synchronize(self) -> None:
        """Wait for the device, by asking for one value of the last batch."""
        if self._last is not None:
            keras.ops.convert_to_numpy(self._last[:1, :1, :1, :1])

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)
