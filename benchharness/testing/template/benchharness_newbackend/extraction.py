"""Running images through a frozen network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batches, Setting, Task
from benchharness_newbackend.device import synchronize
from benchharness_newbackend.images import Inputs, to_device
from benchharness_newbackend.layers import build_network
from benchharness_newbackend.settings import device_settings
from benchharness_newbackend.weights import load_weights


class NewExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._model = build_network(network=task.network)
        load_weights(self._model, task.weights)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        for batch in batches:
            inputs = self._inputs(to_device(batch, device=self._device))
            yield np.array(self._model(inputs), np.float32)

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._task, self._device)
