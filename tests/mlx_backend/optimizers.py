"""The update rules of ``benchharness.api.Optimizer``, by MLX's optimizers, there and back.

Their formulas are the stated ones: Adam with its bias correction, epsilon outside the root. Weight
decay, which MLX's SGD adds to the gradient, is taken off the weights first.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import mlx.optimizers as optim

from benchharness.api import Optimizer, Setting

Arrays = dict[str, mx.array]


class Rule:
    """An optimizer of MLX, and decoupled weight decay.

    Attributes:
        optimizer: MLX's own.
        weight_decay: Share of a weight that a step takes off, over the learning rate.
    """

    def __init__(self, optimizer: optim.Optimizer, *, weight_decay: float) -> None:
        self.optimizer = optimizer
        self.weight_decay = weight_decay

    def apply(self, arrays: Arrays, gradients: Mapping[str, mx.array]) -> None:
        """Take one step, and hand it to the device: replace every array that has a gradient."""
        learnt = {name: arrays[name] for name in gradients}
        if self.weight_decay:
            keep = 1 - self.optimizer.learning_rate * self.weight_decay
            learnt = {name: keep * array for name, array in learnt.items()}
        arrays.update(self.optimizer.apply_gradients(dict(gradients), learnt))
        # Else the steps of an epoch become one graph, which holds every batch.
        mx.async_eval(arrays, self.optimizer.state)


def build_optimizer(*, optimizer: Optimizer) -> Rule:
    """Return the optimizer, every constant taken from the task."""
    match optimizer.name:
        case "sgd":
            found = optim.SGD(
                optimizer.lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov
            )
        case "adam":
            betas = [optimizer.beta_1, optimizer.beta_2]
            found = optim.Adam(
                optimizer.lr, betas=betas, eps=optimizer.epsilon, bias_correction=True
            )
        case "rmsprop":
            found = optim.RMSprop(optimizer.lr, alpha=optimizer.rho, eps=optimizer.epsilon)
    return Rule(found, weight_decay=optimizer.weight_decay)


def read_optimizer(rule: Rule) -> Mapping[str, Setting]:
    """Return the rule and the constants that it uses, by the names of ``Optimizer``."""
    used = rule.optimizer
    match used:
        case optim.SGD():
            constants = {"momentum": used.momentum, "nesterov": used.nesterov}
        case optim.Adam():
            beta_1, beta_2 = used.betas
            constants = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": used.eps}
        case optim.RMSprop():
            constants = {"rho": used.alpha, "epsilon": used.eps}
    return {
        "name": type(used).__name__.lower(),
        "lr": used.learning_rate.item(),
        "weight_decay": rule.weight_decay,
        **constants,
    }
