"""What the update rule and dropout do, seen on networks of one layer where nothing hides it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchharness.fairness.probe import Array
from benchharness.model.network import Dense, Dropout, Layer, Network
from benchharness.model.task import Batch, Execution, Optimizer, Task
from benchharness.model.work import Backend

# Inputs from 1e-9 to 1, and gradients with them: an epsilon shows among the smallest.
_RULE_INPUTS = 128
_RULE_STEPS = 3
# Draws of dropout; the share that is zeroed is known to half a percent.
_DRAWS = 16_384


class Rules:
    """The rules of one backend, each tried once however many cells share it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._movements: dict[tuple[Optimizer, Execution], Array] = {}
        self._dropouts: dict[tuple[float, Execution], Array] = {}

    def movement(self, optimizer: Optimizer, *, execution: Execution) -> Array:
        """Return how far three steps move a single dense kernel, float64, shape (128,)."""
        key = (optimizer, execution)
        if key not in self._movements:
            self._movements[key] = _movement(self.backend, optimizer, execution)
        return self._movements[key]

    def dropout(self, rate: float, *, execution: Execution) -> Array:
        """Return the share of values that dropout zeroes in training, and the others' factor."""
        key = (rate, execution)
        if key not in self._dropouts:
            self._dropouts[key] = _dropout(self.backend, rate, execution)
        return self._dropouts[key]


def _movement(backend: Backend, optimizer: Optimizer, execution: Execution) -> Array:
    random = np.random.Generator(np.random.Philox(2))
    inputs = np.logspace(-9, 0, _RULE_INPUTS) * random.choice([-1, 1], _RULE_INPUTS)
    # As small as the steps that are to be seen beside it; large enough for weight decay to show.
    kernel = (0.05 * np.abs(inputs) * random.choice([-1, 1], _RULE_INPUTS)).astype(np.float32)
    moved = _learn(
        backend,
        inputs.astype(np.float32),
        layers=(),
        kernel=kernel[:, None],
        optimizer=optimizer,
        steps=_RULE_STEPS,
        execution=execution,
    )
    movement: Array = moved.ravel().astype(np.float64) - kernel
    return movement


def _dropout(backend: Backend, rate: float, execution: Execution) -> Array:
    # One step of plain SGD at rate 1 from zero moves the weight of an input by half of what
    # dropout left of it.
    moved = _learn(
        backend,
        np.ones(_DRAWS, np.float32),
        layers=(Dropout(name="dropout", rate=rate),),
        kernel=np.zeros((_DRAWS, 1), np.float32),
        optimizer=Optimizer(name="sgd", lr=1.0),
        steps=1,
        execution=execution,
    )
    kept = moved[moved != 0]
    return np.array([1 - kept.size / moved.size, 2 * float(kept.mean()) if kept.size else 0.0])


def _learn(
    backend: Backend,
    inputs: NDArray[np.float32],
    *,
    layers: tuple[Layer, ...],
    kernel: NDArray[np.float32],
    optimizer: Optimizer,
    steps: int,
    execution: Execution,
) -> NDArray[np.float32]:
    """Return the kernel after some steps on one image of class 1."""
    network = Network(input_shape=inputs.shape, layers=(*layers, Dense(name="logits", units=1)))
    task = Task(
        network=network,
        weights={"logits/kernel": kernel, "logits/bias": np.zeros(1, np.float32)},
        trainable=("logits",),
        output="sigmoid",
        optimizer=optimizer,
        preprocessing=None,
        is_augmented=False,
        execution=execution,
        seed=3,
    )
    training = backend.train(task)
    batch = Batch(ids=np.zeros(1, np.int64), inputs=inputs[None], labels=np.ones(1, np.int32))
    training.train([[batch]] * steps, after_step=lambda: None, after_epoch=lambda scores: None)
    return training.weights()["logits/kernel"]
