"""Feeding: batches brought to the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchharness.api import AfterStep, Batches, ConsumedBatches, Setting, Task
from benchharness_torch.device import synchronize
from benchharness_torch.files import build_loader
from benchharness_torch.images import Inputs, ToDevice
from benchharness_torch.settings import device_settings
from benchharness_torch.witness import Ledger


class TorchFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task, device=device)
        self._inputs = Inputs(task, device=device)
        self._loader = build_loader(task)
        self._ledger = Ledger(task.witness, device=device)

    @torch.inference_mode()
    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for step, batch in enumerate(self._loader.load(batches) if self._loader else batches):
            arrays = self._to_device(batch)
            self._ledger.write(step, self._inputs(arrays), arrays.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        settings = device_settings(self._task, self._device)
        return settings | ({"loader_workers": self._loader.workers} if self._loader else {})
