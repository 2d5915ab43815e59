"""newbackend as a benchharness backend."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchharness.api import Extraction, Feeding, Task, Training
from benchharness_newbackend.device import use_device
from benchharness_newbackend.extraction import NewExtraction
from benchharness_newbackend.feeding import NewFeeding
from benchharness_newbackend.training import NewTraining


class NewBackend:
    """Feeds, extracts and trains with newbackend.

    What it cannot do at all, a kind of work included, it refuses with ``UnsupportedError`` and a
    reason; the rest of the contract still holds.
    """

    def versions(self) -> Mapping[str, str]:
        """Return the versions that decide its results, by distribution name."""
        return {"numpy": np.__version__}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return NewFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return NewExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return NewTraining(task, device=use_device(task))
