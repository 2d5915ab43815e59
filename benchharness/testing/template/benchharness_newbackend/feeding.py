"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Mapping

from benchharness.api import AfterStep, Batches, ConsumedBatches, Setting, Task
from benchharness_newbackend.device import synchronize
from benchharness_newbackend.files import build_loader
from benchharness_newbackend.images import Inputs, to_device
from benchharness_newbackend.settings import device_settings
from benchharness_newbackend.witness import Ledger


class NewFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: str) -> None:
        build_loader(task)
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.witness)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for batch in batches:
            arrays = to_device(batch, device=self._device)
            self._ledger.write(self._inputs(arrays), arrays.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._task, self._device)
