"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from benchharness.api import AfterStep, Batches, Setting, Task
from benchharness_keras.device import settings
from benchharness_keras.images import arrays, input_tensors, network_input


class KerasFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._task = task
        self._device = device
        tensors = input_tensors(task, is_augmented=task.is_augmented)
        self._model = keras.Model(tensors, network_input(task, tensors))
        self._last: keras.KerasTensor | None = None

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        for batch in batches:
            # Not predict_on_batch: it would bring the images back to the host.
            self._last = self._model(arrays(batch))
            keras.ops.convert_to_tensor(batch.labels)
            after_step()

    def synchronize(self) -> None:
        """Wait for the device, by asking for one value of the last batch."""
        if self._last is not None:
            keras.ops.convert_to_numpy(self._last[:1, :1, :1, :1])

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return settings(self._task.execution, self._device)
