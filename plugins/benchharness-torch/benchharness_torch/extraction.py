"""Running images through a frozen network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from benchharness.api import Batches, Setting, Task
from benchharness_torch.device import autocast, synchronize
from benchharness_torch.images import Inputs, ToDevice
from benchharness_torch.layers import build_network
from benchharness_torch.settings import network_settings
from benchharness_torch.training import freeze, place
from benchharness_torch.weights import load_weights


class TorchExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self._to_device = ToDevice(task, device=device)
        self._inputs = Inputs(task, device=device)
        self._model = place(build_network(network=task.network), task, device=device).eval()
        freeze(self._model, task)
        load_weights(self._model, task.weights)
        self._forward = torch.compile(self._model) if task.execution.compile else self._model

    @torch.inference_mode()
    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        pending: Callable[[], NDArray[np.float32]] | None = None
        for batch in batches:
            inputs = self._inputs(self._to_device(batch))
            with autocast(self._task, self._device):
                outputs = self._forward(inputs).float()
            if outputs.ndim == 4:
                outputs = outputs.permute(0, 2, 3, 1)
            # A GPU has the next batch before the host waits for this one.
            earlier, pending = pending, self._to_host(outputs.contiguous())
            if earlier is not None:
                yield earlier()
        if pending is not None:
            yield pending()

    def _to_host(self, outputs: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """Begin to copy outputs to the host; return what waits for them and gives them."""
        copied = outputs.to("cpu", non_blocking=True)
        if self._device.type == "cpu":
            return copied.numpy
        is_done = torch.cuda.Event()
        is_done.record()

        def wait() -> NDArray[np.float32]:
            is_done.synchronize()
            return copied.numpy()

        return wait

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
