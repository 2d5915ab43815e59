"""Inputs that a network really learns from, read off one step.

A linear network that starts at zero gives every class the same share. After one step of plain SGD
at rate 1, with n images of the classes 0 to n-1 and one class more that no image has, the kernel's
column k is ``(x_k - mean) / n`` and the last one ``-mean / n``, where mean is the sum of the images
over n+1: n times the difference of the two is image k as the network saw it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchharness.model.network import Dense, Dropout, Flatten, Network
from benchharness.model.task import Batch, Optimizer, Task
from benchharness.model.work import Backend


def learnt_inputs(
    backend: Backend, batch: Batch, *, task: Task, dropout: float = 0.0
) -> NDArray[np.float32]:
    """Return what a network sees of a batch in training, float32, shaped as the images.

    Args:
        backend: Trains for one step.
        batch: Images, perhaps with a warp; their labels are replaced.
        task: Whose preprocessing, augmentation and execution are in question.
        dropout: Rate of a dropout layer between the images and the last layer; 0 for no layer.
    """
    size, shape = len(batch), batch.inputs.shape[1:]
    between = (Dropout(name="dropout", rate=dropout),) if dropout else ()
    network = Network(
        input_shape=shape,
        layers=(Flatten(name="flatten"), *between, Dense(name="logits", units=size + 1)),
    )
    training = backend.train(
        replace(
            task,
            network=network,
            weights={
                name: np.zeros(p.shape, np.float32) for name, p in network.parameters().items()
            },
            trainable=network.learning_layers(),
            output="softmax",
            optimizer=Optimizer(name="sgd", lr=1.0),
            witness=None,
        )
    )
    numbered = replace(batch, labels=np.arange(size, dtype=np.int32))
    training.train([[numbered]], after_step=lambda: None, after_epoch=lambda scores: None)
    kernel = training.weights()["logits/kernel"]
    inputs: NDArray[np.float32] = (size * (kernel[:, :size] - kernel[:, size:])).T
    return inputs.reshape(size, *shape)
