"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchharness.api import AfterStep, Batches, Setting, Task
from benchharness_torch.device import settings, synchronize
from benchharness_torch.images import Inputs


class TorchFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)

    @torch.inference_mode()
    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        for batch in batches:
            self._inputs(batch)
            self._inputs.labels(batch)
            after_step()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return settings(self._task.execution, self._device)
