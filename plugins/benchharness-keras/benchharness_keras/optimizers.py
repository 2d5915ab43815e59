"""The update rules of ``benchharness.api.Optimizer`` in Keras, there and back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from benchharness.api import Optimizer, Setting


def build_optimizer(*, optimizer: Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer, every constant taken from the task.

    Twin note: Keras's SGD is the stated formula, its Adam and RMSprop put epsilon elsewhere.
    Weight decay is decoupled everywhere in Keras.
    """
    decay = optimizer.weight_decay or None
    if optimizer.name == "adam":
        return Adam(
            optimizer.lr,
            beta_1=optimizer.beta_1,
            beta_2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            weight_decay=decay,
        )
    if optimizer.name == "sgd":
        return keras.optimizers.SGD(
            optimizer.lr,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            weight_decay=decay,
        )
    return RMSprop(optimizer.lr, rho=optimizer.rho, epsilon=optimizer.epsilon, weight_decay=decay)


def build_native_optimizer(*, stated: Mapping[str, Setting]) -> keras.optimizers.Optimizer:
    """Return Keras's own optimizer: what the suite states, and its defaults for the rest."""
    constants = {"lr": "learning_rate"}
    options = {constants.get(key, key): value for key, value in stated.items() if key != "name"}
    kinds = {
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    return kinds[stated["name"]](**options)


def read_optimizer(optimizer: keras.optimizers.Optimizer) -> Mapping[str, Setting]:
    """Return the rule and the constants that it uses, by the names of ``Optimizer``.

    A rule that is none of the task's goes by the name of its class.
    """
    # The rate is a float32 variable; its shortest digits are those that were written.
    lr = float(str(np.float32(ops.convert_to_numpy(optimizer.learning_rate))))
    common = {"lr": lr, "weight_decay": float(optimizer.weight_decay or 0.0)}
    match optimizer:
        case keras.optimizers.Adam():
            own = {name: getattr(optimizer, name) for name in ("beta_1", "beta_2", "epsilon")}
            return {"name": _name(optimizer, ours=Adam), **common, **own}
        case keras.optimizers.SGD():
            own = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
            return {"name": "sgd", **common, **own}
        case keras.optimizers.RMSprop():
            own = {"rho": optimizer.rho, "epsilon": optimizer.epsilon}
            return {"name": _name(optimizer, ours=RMSprop), **common, **own}
    return {"name": type(optimizer).__name__, **common}


def _name(optimizer: keras.optimizers.Optimizer, *, ours: type) -> str:
    """Return our rule's name, or that of Keras's class, whose formula is another."""
    return ours.__name__.lower() if isinstance(optimizer, ours) else type(optimizer).__name__


# Keras's constructor returns a faster class on PyTorch; allocating alone computes nothing.
_EngineAdam: type[keras.optimizers.Adam] = type(
    keras.optimizers.Adam.__new__(keras.optimizers.Adam)
)
_EngineRMSprop: type[keras.optimizers.RMSprop] = type(
    keras.optimizers.RMSprop.__new__(keras.optimizers.RMSprop)
)


class Adam(_EngineAdam):
    """Adam with epsilon beside the corrected root, as published; Keras's stands uncorrected.

    With the root of the second correction as a factor of epsilon, Keras's formula is the published.
    """

    def apply(self, grads, trainable_variables=None):
        """Update all variables in place."""
        epsilon = self.epsilon
        step = ops.cast(self.iterations + 1, "float32")
        # 1 - beta^t, which float32 rounds badly near 0 when written like that.
        correction = ops.sqrt(-ops.expm1(step * math.log(self.beta_2)))
        self.epsilon = epsilon * correction
        try:
            super().apply(grads, trainable_variables)
        finally:
            self.epsilon = epsilon


class RMSprop(_EngineRMSprop):
    """RMSprop with epsilon outside the root; Keras's stands inside."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable in place."""
        square = self._velocities[self._get_variable_index(variable)]
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.rho))
        self.assign_sub(variable, learning_rate * gradient / (ops.sqrt(square) + self.epsilon))

    def _parallel_update_step(self, grads, variables, learning_rate):
        """Update all variables at once, by the kernels that Keras takes on PyTorch alone."""
        import torch

        squares = [self._velocities[self._get_variable_index(v)].value for v in variables]
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, grads, grads, 1 - self.rho)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, self.epsilon)
        steps = torch._foreach_div(torch._foreach_mul(grads, learning_rate), roots)
        torch._foreach_sub_([v.value for v in variables], steps)
