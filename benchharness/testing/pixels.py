"""Reading from a backend the very inputs that its network learnt from.

A linear network that starts at zero gives every class the same share. After one step of plain SGD
at rate 1, with n images of the classes 0 to n-1 and one class more that no image has, the kernel's
column k is ``(x_k - mean) / n`` and the last one ``-mean / n``, where mean is the sum of the images
over n+1: n times the difference of the two is image k as the network saw it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Backend, Batch, Dense, Dropout, Execution, Flatten, Optimizer
from benchharness.testing.tasks import UNIT, learn, make_network, make_task


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
    size, shape = len(batch), batch.inputs.shape[1:]
    network = make_network(
        Flatten(name="flatten"),
        Dropout(name="dropout", rate=dropout),
        Dense(name="logits", units=size + 1),
        input_shape=shape,
    )
    zeros = {name: np.zeros(p.shape, np.float32) for name, p in network.parameters().items()}
    task = make_task(
        network,
        weights=zeros,
        optimizer=Optimizer(name="sgd", lr=1.0),
        preprocessing=UNIT,
        is_augmented=batch.warp is not None,
        execution=execution,
    )
    training = backend.train(task)
    numbered = replace(batch, labels=np.arange(size, dtype=np.int32))
    learn(training, [numbered])
    kernel = training.weights()["logits/kernel"]
    return (size * (kernel[:, :size] - kernel[:, size:])).T.reshape(size, *shape)
