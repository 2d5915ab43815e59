"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import keras

from benchharness.api import AfterStep, Batches, Consumed, Setting, Task
from benchharness_keras.files import build_loader
from benchharness_keras.images import arrays, input_tensors, network_input
from benchharness_keras.settings import device_settings
from benchharness_keras.witness import Ledger


class KerasFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._ledger = Ledger(task.witness)
        self._loader = build_loader(task)
        tensors = input_tensors(
            task, is_augmented=task.is_augmented, is_loaded=self._loader is not None
        )
        self._model = keras.Model(tensors, self._ledger.watch(network_input(task, tensors)))
        self._last: keras.KerasTensor | None = None
        self._steps = 0

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        for inputs, labels in self._pairs(batches):
            # Not predict_on_batch: it would bring the images back to the host.
            self._last = self._model(inputs)
            self._ledger.write_labels(keras.ops.convert_to_tensor(labels))
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
        found = device_settings(self._device)
        return found | ({"loader_workers": self._loader.workers} if self._loader else {})

    def _pairs(self, batches: Batches) -> Iterable[tuple[object, object]]:
        """Return arrays and labels of each batch, loaded from files where the task has any."""
        if self._loader is not None:
            return self._loader.load(lambda: batches)
        return ((arrays(batch), batch.labels) for batch in batches)
