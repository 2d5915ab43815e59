"""What XLA compiles: functions of arrays, each kept for as long as the process lasts.

Twin note: PyTorch and Keras change arrays in place; here a step takes the state and gives the next
one, in the memory of the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchharness_jax.images import Arrays, Preprocess, network_input
from benchharness_jax.layers import Chain
from benchharness_jax.optimizers import Rule
from benchharness_jax.weights import merge
from benchharness_jax.witness import Seen, witness

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


@partial(jax.jit, static_argnames=("graph", "rule", "output", "images"), donate_argnames="state")
def train(
    state: State,
    frozen: Arrays,
    batch: Arrays,
    labels: jax.Array,
    preprocess: Preprocess | None,
    pattern: jax.Array | None,
    *,
    graph: Graph,
    rule: Rule,
    output: str,
    images: int,
) -> tuple[State, Seen | None]:
    """Return the state after one step, and what a witness of the batch writes down."""
    inputs = network_input(batch, preprocess)
    following, key = (None, None) if state.key is None else jax.random.split(state.key)
    (loss, logits), gradients = jax.value_and_grad(_loss, has_aux=True)(
        state.learnt, frozen, inputs, labels, key, graph=graph, output=output
    )
    updates, optimizer = rule.transformation.update(gradients, state.optimizer, state.learnt)
    after = State(
        learnt=optax.apply_updates(state.learnt, updates),
        optimizer=optimizer,
        key=following,
        tally=state.tally.add(loss, logits, labels),
    )
    return after, witness(inputs, labels, pattern, images=images)


@partial(jax.jit, static_argnames=("graph", "output"), donate_argnames="tally")
def score(
    tally: Tally,
    weights: Arrays,
    batch: Arrays,
    labels: jax.Array,
    preprocess: Preprocess | None,
    *,
    graph: Graph,
    output: str,
) -> Tally:
    """Return the tally with a batch that is scored without dropout."""
    inputs = network_input(batch, preprocess)
    loss, logits = _loss({}, weights, inputs, labels, None, graph=graph, output=output)
    return tally.add(loss, logits, labels)


@partial(jax.jit, static_argnames=("graph", "output"))
def gradients(
    learnt: Arrays,
    frozen: Arrays,
    batch: Arrays,
    labels: jax.Array,
    preprocess: Preprocess | None,
    *,
    graph: Graph,
    output: str,
) -> Arrays:
    """Return the mean loss's gradient for every trainable array, without dropout."""
    inputs = network_input(batch, preprocess)
    found, _ = jax.grad(_loss, has_aux=True)(
        learnt, frozen, inputs, labels, None, graph=graph, output=output
    )
    return found


@partial(jax.jit, static_argnames="graph")
def outputs(
    weights: Arrays, batch: Arrays, preprocess: Preprocess | None, *, graph: Graph
) -> jax.Array:
    """Return the network's float32 output for a batch, without dropout."""
    return merge(graph, weights)(network_input(batch, preprocess), key=None)


@partial(jax.jit, static_argnames="images")
def feed(
    turn: jax.Array,
    batch: Arrays,
    labels: jax.Array,
    preprocess: Preprocess | None,
    pattern: jax.Array | None,
    *,
    images: int,
) -> tuple[jax.Array, jax.Array, Seen | None]:
    """Return the next turn, a batch as a network would see it, and what a witness writes down.

    Each batch takes the turn of the one before: whoever waits for the last waits for all.
    """
    inputs = network_input(batch, preprocess)
    return turn + 1, inputs, witness(inputs, labels, pattern, images=images)


def empty_tally(device: jax.Device) -> Tally:
    """Return a tally of nothing."""
    return Tally(
        loss=jnp.zeros((), jnp.float32, device=device), hits=jnp.zeros((), jnp.int32, device=device)
    )


def begin_epoch(state: State, device: jax.Device) -> State:
    """Return the state with an empty tally."""
    return replace(state, tally=empty_tally(device))


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
