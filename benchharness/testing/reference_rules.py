"""Losses, scores and update rules in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Optimizer, Scores
from benchharness.testing.reference_layers import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a batch was answered.

    Attributes:
        losses: Cross-entropy of each image in nats, shape (batch,).
        is_right: Whether the best guess is the label, bool, shape (batch,).
        gradient: The mean loss's gradient by the logits, shape (batch, outputs).
    """

    losses: Array
    is_right: NDArray[np.bool_]
    gradient: Array


def judge_softmax(logits: Array, labels: NDArray[np.int32]) -> Judgement:
    """Judge one logit per class by the cross-entropy of their softmax."""
    images = np.arange(len(labels))
    # The largest logit becomes 0, so that no exponential overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_shares)
    gradient[images, labels] -= 1
    return Judgement(
        losses=-log_shares[images, labels],
        is_right=logits.argmax(axis=1) == labels,
        gradient=gradient / len(labels),
    )


def judge_sigmoid(logits: Array, labels: NDArray[np.int32]) -> Judgement:
    """Judge a single logit, shape (batch, 1), by the cross-entropy of its sigmoid."""
    logit = logits[:, 0]
    # Half a hyperbolic tangent is the sigmoid that never overflows.
    share = 0.5 * (1 + np.tanh(0.5 * logit))
    return Judgement(
        losses=np.logaddexp(0, np.where(labels == 1, -logit, logit)),
        is_right=(logit > 0) == (labels == 1),
        gradient=((share - labels.astype(logit.dtype)) / len(labels))[:, None],
    )


JUDGES = {"softmax": judge_softmax, "sigmoid": judge_sigmoid}


class Tally:
    """Means over all the images of a pass, however they were batched."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._right = 0
        self._count = 0

    def add(self, judgement: Judgement) -> None:
        """Count one batch."""
        self._loss += float(judgement.losses.sum(dtype=np.float64))
        self._right += int(judgement.is_right.sum())
        self._count += len(judgement.losses)

    def scores(self) -> Scores:
        """Return the means so far; not a number where nothing was seen."""
        if not self._count:
            return Scores(loss=math.nan, top1=math.nan, count=0)
        count = self._count
        return Scores(loss=self._loss / count, top1=self._right / count, count=count)


class Rule:
    """An optimizer with its state, as the formulas of ``Optimizer`` have it.

    Attributes:
        optimizer: The constants it computes with.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._steps = 0
        self._averages: dict[str, tuple[Array, Array]] = {}

    def apply(self, arrays: dict[str, Array], gradients: Mapping[str, Array]) -> None:
        """Take one step: replace every array that has a gradient."""
        lr, decay = self.optimizer.lr, self.optimizer.weight_decay
        self._steps += 1
        for name, gradient in gradients.items():
            decayed = arrays[name] - lr * decay * arrays[name]
            arrays[name] = decayed - lr * self._direction(name, gradient)

    def _direction(self, name: str, g: Array) -> Array:
        first, second = self._averages.get(name) or (np.zeros_like(g), np.zeros_like(g))
        match self.optimizer.name:
            case "sgd":
                first, direction = self._sgd(first, g)
            case "adam":
                first, second, direction = self._adam(first, second, g)
            case "rmsprop":
                second, direction = self._rmsprop(second, g)
        self._averages[name] = (first, second)
        return direction

    def _sgd(self, v: Array, g: Array) -> tuple[Array, Array]:
        momentum = self.optimizer.momentum
        v = momentum * v + g
        return v, g + momentum * v if self.optimizer.nesterov else v

    def _adam(self, m: Array, s: Array, g: Array) -> tuple[Array, Array, Array]:
        rule, t = self.optimizer, self._steps
        m = rule.beta_1 * m + (1 - rule.beta_1) * g
        s = rule.beta_2 * s + (1 - rule.beta_2) * g**2
        root = np.sqrt(s / (1 - rule.beta_2**t))
        return m, s, m / (1 - rule.beta_1**t) / (root + rule.epsilon)

    def _rmsprop(self, s: Array, g: Array) -> tuple[Array, Array]:
        s = self.optimizer.rho * s + (1 - self.optimizer.rho) * g**2
        return s, g / (np.sqrt(s) + self.optimizer.epsilon)
