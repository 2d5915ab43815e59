"""Functions of arrays that XLA compiles, each kept for as long as the process lasts.

Twin note: PyTorch and Keras change arrays in place; here a step takes the state and returns the
next state, in the memory of the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from benchharness_jax.layers import Chain
from benchharness_jax.optimizers import Rule
from benchharness_jax.weights import Arrays, merge

Graph = nnx.GraphDef[Chain]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Tally:
    """Loss and hits summed on the device, so that reading them waits only once."""

    loss: jax.Array
    hits: jax.Array

    def add(self, loss: jax.Array, logits: jax.Array, labels: jax.Array) -> Tally:
        """Return the sums with one batch's mean loss and its right guesses."""
        guesses = logits.argmax(1) if logits.shape[1] > 1 else logits[:, 0] > 0
        return Tally(
            loss=self.loss + loss * len(labels), hits=self.hits + (guesses == labels).sum()
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class State:
    """What a step changes.

    Attributes:
        learnt: The trainable arrays, by canonical name.
        optimizer: Of the update rule.
        key: Of the next step's dropout; None without dropout, for drawing takes time.
        tally: Of the epoch so far.
    """

    learnt: Arrays
    optimizer: optax.OptState
    key: jax.Array | None
    tally: Tally


# Cached, so that trainings of equal settings share what is compiled.
@cache
def compiled(
    function: Callable[..., Any], *, device: jax.Device, donated: int | None = None, **static: Any
) -> Callable[..., Any]:
    """Return a function of arrays, compiled for a device, with its static arguments bound.

    Args:
        function: What to compile.
        device: Where to compute; arrays that are elsewhere are brought there.
        donated: Position of the argument whose memory the result takes; None for none.
        static: Arguments by keyword. Left to ``jax.jit``, a graph would be hashed in each call,
            which takes as long as a step of a small network.
    """
    return jax.jit(
        partial(function, **static),
        # Stated, so that arrays of the host and of the device call the same executable.
        in_shardings=jax.sharding.SingleDeviceSharding(device),
        donate_argnums=donated,
    )


def train(
    state: State,
    frozen: Arrays,
    inputs: jax.Array,
    labels: jax.Array,
    *,
    graph: Graph,
    rule: Rule,
    output: str,
) -> State:
    """Return the state after one step."""
    following, key = (None, None) if state.key is None else jax.random.split(state.key)
    (loss, logits), gradients = jax.value_and_grad(_loss, has_aux=True)(
        state.learnt, frozen, inputs, labels, key, graph=graph, output=output
    )
    updates, optimizer = rule.transformation.update(gradients, state.optimizer, state.learnt)
    return State(
        learnt=optax.apply_updates(state.learnt, updates),
        optimizer=optimizer,
        key=following,
        tally=state.tally.add(loss, logits, labels),
    )


def score(
    tally: Tally,
    weights: Arrays,
    inputs: jax.Array,
    labels: jax.Array,
    *,
    graph: Graph,
    output: str,
) -> Tally:
    """Return the tally with a batch that is scored without dropout."""
    loss, logits = _loss({}, weights, inputs, labels, None, graph=graph, output=output)
    return tally.add(loss, logits, labels)


def gradients(
    learnt: Arrays,
    frozen: Arrays,
    inputs: jax.Array,
    labels: jax.Array,
    *,
    graph: Graph,
    output: str,
) -> Arrays:
    """Return the mean loss's gradient for every trainable array, without dropout."""
    found, _ = jax.grad(_loss, has_aux=True)(
        learnt, frozen, inputs, labels, None, graph=graph, output=output
    )
    return found


def outputs(weights: Arrays, inputs: jax.Array, *, graph: Graph) -> jax.Array:
    """Return the network's float32 output, without dropout."""
    return merge(graph, weights)(inputs, key=None)


def empty_tally() -> Tally:
    """Return a tally of nothing, in host memory: the next step brings it to the device."""
    return Tally(loss=np.float32(0), hits=np.int32(0))


def begin_epoch(state: State) -> State:
    """Return the state with an empty tally."""
    return replace(state, tally=empty_tally())


def cross_entropy(logits: jax.Array, labels: jax.Array, *, output: str) -> jax.Array:
    """Return the batch's mean cross-entropy in nats."""
    if output == "sigmoid":
        return optax.sigmoid_binary_cross_entropy(logits[:, 0], labels).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _loss(
    learnt: Arrays,
    frozen: Arrays,
    inputs: jax.Array,
    labels: jax.Array,
    key: jax.Array | None,
    *,
    graph: Graph,
    output: str,
) -> tuple[jax.Array, jax.Array]:
    """Return the batch's loss and its logits."""
    logits = merge(graph, learnt | frozen)(inputs, key=key)
    return cross_entropy(logits, labels, output=output), logits
