"""Reading from a backend the very inputs that its network learnt from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Backend, Batch, Execution
from benchharness.fairness import pixels
from benchharness.testing.tasks import UNIT, make_network, make_task


def learnt_inputs(
    backend: Backend, batch: Batch, *, execution: Execution, dropout: float = 0.0
) -> NDArray[np.float32]:
    """Return what the last layer saw of a batch in training, float32, shaped as the images.

    Args:
        backend: Trains for one step.
        batch: Images, perhaps with a warp; their labels are replaced.
        execution: How to compute.
        dropout: Rate of a dropout layer between the images and the last layer.
    """
    task = make_task(
        make_network(input_shape=batch.inputs.shape[1:]),
        preprocessing=UNIT,
        is_augmented=batch.warp is not None,
        execution=execution,
    )
    return pixels.learnt_inputs(backend, batch, task=task, dropout=dropout)
