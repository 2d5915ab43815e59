"""PyTorch as a benchharness backend."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchharness.api import Extraction, Feeding, Task, Training
from benchharness_torch.device import use_device
from benchharness_torch.extraction import TorchExtraction
from benchharness_torch.feeding import TorchFeeding
from benchharness_torch.training import TorchTraining


class TorchBackend:
    """Feeds, extracts and trains with PyTorch."""

    def versions(self) -> Mapping[str, str]:
        """Return the version of PyTorch, and of CUDA where this build has it."""
        cuda = {"cuda": torch.version.cuda} if torch.version.cuda else {}
        return {"torch": torch.__version__, **cuda}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return TorchFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return TorchExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return TorchTraining(task, device=use_device(task))
