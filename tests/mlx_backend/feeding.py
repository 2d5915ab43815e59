"""Bringing batches to the device, in MLX."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from benchharness.api import AfterStep, Batches, ConsumedBatches, Setting, Task
from benchharness_mlx.device import synchronize
from benchharness_mlx.files import build_loader
from benchharness_mlx.images import Inputs, to_device
from benchharness_mlx.settings import device_settings
from benchharness_mlx.witness import Ledger


class MlxFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: mx.Device) -> None:
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
            inputs = self._inputs(arrays)
            # Nobody else asks for them, so they would never be computed.
            mx.async_eval(inputs)
            self._ledger.write(inputs, arrays.labels)
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
