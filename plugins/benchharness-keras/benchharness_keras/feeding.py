"""Feeding: batches to the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import keras

from benchharness.api import AfterStep, Batches, ConsumedBatches, Setting, Task
from benchharness_keras.engines import ENGINE, Arrays, Tensor
from benchharness_keras.files import build_loader
from benchharness_keras.images import ToDevice, input_tensors, network_input
from benchharness_keras.settings import device_settings
from benchharness_keras.witness import Ledger


class KerasFeeding:
    """Batches for a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task)
        self._ledger = Ledger(task.witness)
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
