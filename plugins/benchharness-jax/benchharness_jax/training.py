"""A network that learns, in JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Dropout,
    Scores,
    Setting,
    Task,
)
from benchharness_jax import steps
from benchharness_jax.device import synchronize
from benchharness_jax.files import build_loader
from benchharness_jax.images import Array, BatchArrays, Inputs, to_device
from benchharness_jax.layers import describe_network, draw_network
from benchharness_jax.optimizers import build_native_optimizer, build_optimizer
from benchharness_jax.settings import learning_settings, network_settings
from benchharness_jax.weights import Arrays, load_weights, merge, named_parameters, to_canonical
from benchharness_jax.witness import Ledger


class JaxTraining:
    """The task's arrays, trainable and frozen, and the loop over batches."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        build_loader(task)
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.witness, device=device)
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
        self._state = steps.State(
            learnt=learnt,
            optimizer=jax.device_put(self._rule.transformation.init(learnt), self._device),
            key=dropout_key(self._task, device=self._device),
            tally=steps.empty_tally(),
        )
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            self._state, count = steps.begin_epoch(self._state), 0
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
        tally, weights, count = steps.empty_tally(), self._weights, 0
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
        self._train = steps.compiled(
            steps.train,
            device=device,
            donated=0,
            graph=graph,
            rule=self._rule,
            output=output,
        )
        self._score = steps.compiled(
            steps.score, device=device, donated=0, graph=graph, output=output
        )
        self._gradients = steps.compiled(steps.gradients, device=device, graph=graph, output=output)
        self._outputs = steps.compiled(steps.outputs, device=device, graph=graph)

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


def scores(tally: steps.Tally, *, count: int) -> Scores:
    """Return the means over ``count`` images, after waiting for the device."""
    images = max(count, 1)
    return Scores(loss=float(tally.loss) / images, top1=int(tally.hits) / images, count=count)
