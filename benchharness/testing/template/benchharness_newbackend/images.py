"""From a batch's uint8 images to the network's input, on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batch, Task, preprocess_on_host, warp_on_host


def to_device(batch: Batch, *, device: str) -> Batch:
    """Return a batch with its arrays on the device; NumPy computes where they are."""
    return batch


class Inputs:
    """Augments and preprocesses batches in bulk: here on the host, later on the device.

    Attributes:
        computed_by: What computes them, for the settings.
    """

    computed_by = "numpy"

    def __init__(self, task: Task, *, device: str) -> None:
        self._preprocessing = task.preprocessing

    def __call__(self, batch: Batch) -> NDArray[Any]:
        """Return the network's inputs, shape (batch, height, width, channels), or features.

        First the warp, where the batch has one, then the preprocessing; features as they are.
        """
        inputs: NDArray[Any] = batch.inputs
        if batch.warp is not None:
            inputs = warp_on_host(inputs, batch.warp)
        if self._preprocessing is not None:
            inputs = preprocess_on_host(inputs.astype(np.float32), self._preprocessing)
        return inputs
