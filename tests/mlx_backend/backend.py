"""mlx as a benchharness backend."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from benchharness.api import Extraction, Feeding, Task, Training
from benchharness_mlx.device import use_device
from benchharness_mlx.extraction import MlxExtraction
from benchharness_mlx.feeding import MlxFeeding
from benchharness_mlx.training import MlxTraining


class MlxBackend:
    """Feeds, extracts and trains with mlx.

    What it cannot do at all, a kind of work included, it refuses with ``UnsupportedError`` and a
    reason; the rest of the contract still holds.
    """

    def versions(self) -> Mapping[str, str]:
        """Return the versions that decide its results, by distribution name."""
        return {"mlx": mx.__version__}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return MlxFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return MlxExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return MlxTraining(task, device=use_device(task))
