"""From a batch to the network's input, in plain NumPy."""

from __future__ import annotations

import numpy as np

from benchharness.api import Batch, Preprocessing, preprocess_on_host, warp_on_host
from benchharness.testing.reference_layers import Array


def network_inputs(batch: Batch, *, stated: Preprocessing | None) -> Array:
    """Return a batch augmented and preprocessed, channels last; features as they are.

    Args:
        batch: Its warp is applied where it has one.
        stated: The task's preprocessing; None where the inputs are features.
    """
    inputs: Array = batch.inputs
    if batch.warp is not None:
        inputs = warp_on_host(inputs, batch.warp)
    if stated is not None:
        inputs = preprocess_on_host(inputs.astype(np.float32), stated)
    return inputs
