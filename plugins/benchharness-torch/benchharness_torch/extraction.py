"""Running images through a frozen network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from benchharness.api import Batches, Setting, Task
from benchharness_torch.device import autocast, synchronize
from benchharness_torch.images import Inputs, to_device
from benchharness_torch.layers import build_network
from benchharness_torch.settings import network_settings
from benchharness_torch.training import place
from benchharness_torch.weights import load_weights


class TorchExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._model = place(build_network(network=task.network), task, device=device).eval()
        load_weights(self._model, task.weights)
        self._forward = torch.compile(self._model) if task.execution.compile else self._model

    @torch.inference_mode()
    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        for batch in batches:
            inputs = self._inputs(to_device(batch, device=self._device))
            with autocast(self._task, self._device):
                outputs = self._forward(inputs).float()
            if outputs.ndim == 4:
                outputs = outputs.permute(0, 2, 3, 1)
            yield outputs.cpu().contiguous().numpy()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(
            self._task,
            self._device,
            model=self._model,
            is_compiled=self._forward is not self._model,
        )
