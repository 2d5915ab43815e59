"""The update rules of ``benchharness.api.Optimizer``, there and back.

Frameworks call different formulas by one name: epsilon inside or outside the root, momentum before
or after the learning rate, weight decay coupled to the gradient or not. The docstring of
``Optimizer`` states the formulas that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Optimizer, Setting
from benchharness.testing.reference import NumpyOptimizer

_CONSTANTS = {
    "sgd": ("momentum", "nesterov"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "rmsprop": ("rho", "epsilon"),
}


class Rule:
    """An optimizer with its state.

    Attributes:
        optimizer: The constants it computes with.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._reference = NumpyOptimizer(optimizer)

    def apply(self, arrays: dict[str, NDArray[Any]], gradients: Mapping[str, NDArray[Any]]) -> None:
        """Take one step: replace every array that has a gradient."""
        learnt = {name: np.asarray(arrays[name]) for name in gradients}
        self._reference.apply(learnt, {name: np.asarray(g) for name, g in gradients.items()})
        arrays.update(learnt)


def build_optimizer(*, optimizer: Optimizer) -> Rule:
    """Return the optimizer, every constant taken from the task."""
    return Rule(optimizer)


def read_optimizer(rule: Rule) -> Mapping[str, Setting]:
    """Return the rule and the constants that it uses, by the names of ``Optimizer``."""
    used = rule.optimizer
    names = ("name", "lr", "weight_decay", *_CONSTANTS[used.name])
    return {name: getattr(used, name) for name in names}
