"""A network that learns, in JAX, and the backend that builds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import jax
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Dropout,
    Extraction,
    Feeding,
    Scores,
    Setting,
    Task,
    Training,
)
from benchharness_jax.data import (
    Array,
    BatchArrays,
    Inputs,
    JaxFeeding,
    Ledger,
    build_loader,
    compiled,
    synchronize,
    to_device,
    use_device,
)
from benchharness_jax.network import (
    Arrays,
    Chain,
    Graph,
    JaxExtraction,
    describe_network,
    draw_network,
    layers_of,
    load_weights,
    merge,
    named_parameters,
    network_settings,
    outputs,
    to_canonical,
)
from benchharness_jax.optimizers import (
    Rule,
    build_native_optimizer,
    build_optimizer,
    read_optimizer,
)


class JaxBackend:
    """Feeds, extracts and trains with JAX."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions of JAX, of its compiler's library, and of what is built on it."""
        return {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return JaxFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return JaxExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return JaxTraining(task, device=use_device(task))


class JaxTraining:
    """The task's arrays, trainable and frozen, and the loop over batches."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        build_loader(task)
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.fingerprint_spec, device=device)
        self._graph = nnx.graphdef(describe_network(task))
        self._initial = initial_weights(task)
        self._rule = (
            build_optimizer(optimizer=task.optimizer)
            if task.native is None
            else build_native_optimizer(stated=task.native.optimizer)
        )
        self._compile()
        self.reset()

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        learnt = self._load(self._initial)
        self._state = State(
            learnt=learnt,
            optimizer=jax.device_put(self._rule.transformation.init(learnt), self._device),
            key=dropout_key(self._task, device=self._device),
            tally=empty_tally(),
        )
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            self._state, count = begin_epoch(self._state), 0
            self._ledger.clear()
            for step, batch in enumerate(batches):
                arrays = BatchArrays.of(batch)
                self._ledger.write(step, self._step(arrays), arrays.labels)
                count += len(batch)
                after_step()
            after_epoch(scores(self._state.tally, count=count))

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return what takes one training step on it."""
        arrays = to_device(batch, device=self._device)

        def step() -> None:
            self._step(arrays)

        return step

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout and without learning."""
        tally, weights, count = empty_tally(), self._weights, 0
        for batch in batches:
            tally = self._score(tally, weights, self._inputs(BatchArrays.of(batch)), batch.labels)
            count += len(batch)
        return scores(tally, count=count)

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical."""
        return {name: to_canonical(self._weights[name]) for name in self._task.network.parameters()}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        self._state = replace(self._state, learnt=self._load(arrays))

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        return np.array(self._outputs(self._weights, self._inputs(BatchArrays.of(batch))))

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        found = self._gradients(
            self._state.learnt, self._frozen, self._inputs(BatchArrays.of(batch)), batch.labels
        )
        return {name: to_canonical(gradient) for name, gradient in found.items()}

    def synchronize(self) -> None:
        """Wait for the device: the state is the last step's."""
        synchronize(self._state)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        model = merge(self._graph, self._weights)
        learning = learning_settings(
            model=model,
            learnt=self._state.learnt,
            rule=self._rule,
            state=self._state.optimizer,
            drawn=self._initial.keys() - self._task.weights.keys(),
        )
        return {**network_settings(self._device, model=model), **learning}

    @property
    def _weights(self) -> Arrays:
        return self._state.learnt | self._frozen

    def _load(self, arrays: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """Bring every array to the device, keep the frozen ones, and return the others."""
        loaded = load_weights(arrays, device=self._device)
        learnt = {n: a for n, a in loaded.items() if n.split("/")[0] in self._task.trainable}
        self._frozen = {name: array for name, array in loaded.items() if name not in learnt}
        return learnt

    def _compile(self) -> None:
        """Bind what is compiled, each with its first call."""
        graph, output, device = self._graph, self._task.output, self._device
        self._train = compiled(
            train,
            device=device,
            donated=0,
            graph=graph,
            rule=self._rule,
            output=output,
        )
        self._score = compiled(score, device=device, donated=0, graph=graph, output=output)
        self._gradients = compiled(gradients, device=device, graph=graph, output=output)
        self._outputs = compiled(outputs, device=device, graph=graph)

    def _step(self, batch: BatchArrays) -> Array:
        """Augment and preprocess a batch, learn from it, and return what the network saw."""
        inputs = self._inputs(batch)
        self._state = self._train(self._state, self._frozen, inputs, batch.labels)
        return inputs


def initial_weights(task: Task) -> Mapping[str, NDArray[np.float32]]:
    """Return what a training starts from: the task's arrays, in the native track over Flax's."""
    if task.native is None:
        return task.weights
    own = {name: to_canonical(p) for name, p in named_parameters(draw_network(task)).items()}
    return {**own, **task.weights}


def dropout_key(task: Task, *, device: jax.Device) -> jax.Array | None:
    """Return what the task's dropout masks are drawn from; None where it has none."""
    has_dropout = any(isinstance(layer, Dropout) for layer in task.network.layers)
    return jax.device_put(jax.random.key(task.seed), device) if has_dropout else None


def scores(tally: Tally, *, count: int) -> Scores:
    """Return the means over ``count`` images, after waiting for the device."""
    images = max(count, 1)
    return Scores(loss=float(tally.loss) / images, top1=int(tally.hits) / images, count=count)


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

    Twin note: PyTorch and Keras change arrays in place; here a step takes the state and returns the
    next, in the memory of the last.

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


def learning_settings(
    *,
    model: Chain,
    learnt: Collection[str],
    rule: Rule,
    state: optax.OptState,
    drawn: Collection[str],
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    ``drawn`` names the arrays that the framework has initialised by itself.
    """
    rates = [layer.rate for layer in layers_of(model) if isinstance(layer, nnx.Dropout)]
    learning = {name.split("/")[0] for name in learnt}
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(rule, state).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(name for name in model.names if name in learning),
        # Flax's layers keep no record of it; this is what Conv and Linear do (0.12).
        "initialiser": "lecun_normal" if drawn else "given",
    }
