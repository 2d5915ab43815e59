"""Update rule, dropout and inputs of a backend, seen on networks of a single layer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from benchharness.fairness.probe import Array
from benchharness.model.network import Dense, Dropout, Flatten, Layer, Network
from benchharness.model.task import Batch, Execution, Optimizer, Task
from benchharness.model.work import Backend, Training

# Inputs from 1e-9 to 1, and gradients with them: an epsilon shows among the smallest.
_RULE_INPUTS = 128
# Each step's inputs are as large as this: of gradients that stay the same, Adam moves as far by
# any beta.
_RULE_STEPS = (1.0, 0.25, 2.0)
# Steps without a gradient: enough for a decay of 5e-6 a step to show beside rounding.
_DECAY_STEPS = 16
# A movement of fewer roundings than these says nothing of the rule that moved it.
ROUNDINGS = 30
# Draws of dropout; the share that is zeroed is known to half a percent.
_DRAWS = 16_384
_SEED, _OTHER_SEED = 3, 4


class Rules:
    """The rules of one backend, each tried once however many cells share it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.movement = cache(partial(movement, backend))
        self.decay = cache(partial(decay, backend))
        self.dropout = cache(partial(dropout, backend))


def movement(backend: Backend, optimizer: Optimizer, execution: Execution) -> Array:
    """Return how far three steps move a single dense kernel, float64, shape (129,).

    The last value is what rounding alone may do.
    """
    random = np.random.Generator(np.random.Philox(2))
    inputs = np.logspace(-9, 0, _RULE_INPUTS) * random.choice([-1, 1], _RULE_INPUTS)
    # As small as the steps that are to be seen beside it; large enough for weight decay to show.
    kernel = (0.05 * np.abs(inputs) * random.choice([-1, 1], _RULE_INPUTS)).astype(np.float32)
    training, batch = _line(backend, inputs.astype(np.float32), kernel, optimizer, execution)
    for size in _RULE_STEPS:
        moved = _trained(training, replace(batch, inputs=np.float32(size) * batch.inputs))
    # Nothing is left to rounding: an epsilon shows in the smallest movements.
    return np.append(moved.astype(np.float64) - kernel, 0.0)


def decay(backend: Backend, optimizer: Optimizer, execution: Execution) -> Array:
    """Return how far steps without a gradient move a kernel, over its size, shape (129,).

    The last value is what rounding alone may do.
    """
    # Inputs of zero give no gradient: what moves now is the decay, and nothing hides it.
    kernel = np.geomspace(1, 3, _RULE_INPUTS, dtype=np.float32)
    inputs = np.zeros(_RULE_INPUTS, np.float32)
    training, batch = _line(backend, inputs, kernel, optimizer, execution)
    moved = _trained(training, batch, steps=_DECAY_STEPS).astype(np.float64) / kernel - 1
    # Beside a decay that float32 cannot hold, distances are taken over its rounding.
    rounding = np.sqrt(_DECAY_STEPS * _RULE_INPUTS) * 2.0**-24
    return np.append(moved, ROUNDINGS * rounding)


def dropout(backend: Backend, rate: float, execution: Execution) -> dict[str, dict[str, Array]]:
    """Return what a dropout layer does, by what is asked of it and by name.

    ``dropout``: the share of values that it zeroes in training, and the factor on the others.
    ``masks``: the share of values that two masks treat alike, of one seed after a reset, of
    one seed in two trainings, and of two seeds. ``evaluation``: the loss of an image whose
    logit is 1 if dropout lets it pass.
    """

    def start(seed: int) -> tuple[Training, Batch]:
        # One step of plain SGD at rate 1 from zero moves the weight of an input by half of what
        # dropout left of it.
        ones, zeros = np.ones(_DRAWS, np.float32), np.zeros(_DRAWS, np.float32)
        layer, rule = Dropout(name="dropout", rate=rate), Optimizer(name="sgd", lr=1.0)
        return _line(backend, ones, zeros, rule, execution, layers=(layer,), seed=seed)

    training, batch = start(_SEED)
    first = _trained(training, batch)
    training.reset()
    others = {
        "of a seed before and after a reset": _trained(training, batch),
        "of a seed in two trainings": _trained(*start(_SEED)),
        "of two seeds": _trained(*start(_OTHER_SEED)),
    }
    # Without dropout, and only without, the logit is 1.
    training.load_weights(
        {
            "logits/kernel": np.full((_DRAWS, 1), 1 / _DRAWS, np.float32),
            "logits/bias": np.zeros(1, np.float32),
        }
    )
    kept = first[first != 0]
    share, factor = 1 - kept.size / first.size, 2 * float(kept.mean()) if kept.size else 0.0
    return {
        "dropout": {f"rate {rate}": np.array([share, factor])},
        "masks": {
            f"{which} at rate {rate}": np.array([np.mean((first != 0) == (second != 0))])
            for which, second in others.items()
        },
        "evaluation": {f"rate {rate}": np.array([training.evaluate([batch]).loss])},
    }


def _line(
    backend: Backend,
    inputs: NDArray[np.float32],
    kernel: NDArray[np.float32],
    optimizer: Optimizer,
    execution: Execution,
    *,
    layers: tuple[Layer, ...] = (),
    seed: int = _SEED,
) -> tuple[Training, Batch]:
    """Return a training of a single logit, and a batch of one image of class 1."""
    network = Network(input_shape=inputs.shape, layers=(*layers, Dense(name="logits", units=1)))
    task = Task(
        network=network,
        weights={"logits/kernel": kernel[:, None], "logits/bias": np.zeros(1, np.float32)},
        trainable=("logits",),
        output="sigmoid",
        optimizer=optimizer,
        preprocessing=None,
        is_augmented=False,
        execution=execution,
        seed=seed,
    )
    batch = Batch(ids=np.zeros(1, np.int64), inputs=inputs[None], labels=np.ones(1, np.int32))
    return backend.train(task), batch


def _trained(training: Training, batch: Batch, *, steps: int = 1) -> NDArray[np.float32]:
    """Take some steps on a batch, each an epoch, and return the kernel."""
    training.train([[batch]] * steps, after_step=lambda: None, after_epoch=lambda scores: None)
    return training.weights()["logits/kernel"].ravel()


def learnt_inputs(
    backend: Backend, batch: Batch, *, task: Task, dropout: float = 0.0
) -> NDArray[np.float32]:
    """Return what a network sees of a batch in training, float32, shaped as the images.

    Read off one step of a linear network that starts at zero, and so gives every class the same
    share. After plain SGD at rate 1, with n images of the classes 0 to n-1 and one class more that
    no image has, the kernel's column k is ``(x_k - mean) / n`` and the last one ``-mean / n``,
    where mean is the sum of the images over n+1: n times the difference of the two is image k as
    the network saw it.

    Args:
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
            fingerprint_spec=None,
        )
    )
    numbered = replace(batch, labels=np.arange(size, dtype=np.int32))
    training.train([[numbered]], after_step=lambda: None, after_epoch=lambda scores: None)
    kernel = training.weights()["logits/kernel"]
    inputs: NDArray[np.float32] = (size * (kernel[:, :size] - kernel[:, size:])).T
    return inputs.reshape(size, *shape)
