"""Training: a network that learns, in Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Scores,
    Setting,
    Task,
)
from benchharness_keras.engines import ENGINE, Arrays, Program, Tensor
from benchharness_keras.files import build_loader
from benchharness_keras.images import ToDevice, input_tensors, network_input
from benchharness_keras.layers import build_network, connect
from benchharness_keras.optimizers import build_native_optimizer, build_optimizer
from benchharness_keras.settings import learning_settings, network_settings
from benchharness_keras.weights import load_weights, named_parameters, to_canonical
from benchharness_keras.witness import Ledger


class KerasTraining:
    """Models over the same layers, and the loop over batches.

    Twin note: PyTorch switches a single module between training and evaluation; in Keras, work
    with other inputs (no warp) or without dropout is another model over the same layers. The loop
    is that of Keras's guides to a custom training loop on each engine: entering ``fit`` costs an
    epoch 100 ms, and its input pipeline up to ten times a small step.
    """

    def __init__(self, task: Task, *, device: str) -> None:
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task)
        self._loader = build_loader(task)
        # What the core gives no weights for starts from Keras's own draws.
        keras.utils.set_random_seed(task.seed)
        self._layers = build_network(
            network=task.network,
            trainable=task.trainable,
            seed=task.seed,
            is_drawn=task.native is not None,
        )
        self._ledger = Ledger(task.witness)
        optimizer = (
            build_optimizer(optimizer=task.optimizer)
            if task.native is None
            else build_native_optimizer(stated=task.native.optimizer)
        )
        self._program = Program(
            learner=self._learner(),
            scorer=self._model(is_augmented=False),
            layers=self._layers,
            optimizer=optimizer,
            output=task.output,
            is_compiled=ENGINE.compiles(task.execution.compile),
        )
        self._initial = initial_weights(self._layers, task)
        load_weights(self._layers, self._initial)
        optimizer.build(self._program.learner.trainable_variables)
        self._fresh = [fresh_value(variable) for variable in self._states()]
        ENGINE.restart_dropout(task.seed)
        self._steps = ENGINE.steps(self._program)
        self._logits = ENGINE.forward(self._program.scorer, is_compiled=self._program.is_compiled)

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        self.load_weights(self._initial)
        for variable, value in zip(self._states(), self._fresh, strict=True):
            variable.assign(
                keras.ops.zeros(variable.shape, variable.dtype) if value is None else value.copy()
            )
        ENGINE.restart_dropout(self._task.seed)
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            self._ledger.clear()
            totals, count = keras.ops.zeros(2), 0
            for step, (arrays, labels) in enumerate(self._placed(batches)):
                totals, inputs = self._steps.learn(totals, arrays, labels)
                self._ledger.write(step, inputs, labels)
                count += len(labels)
                after_step()
            self._publish()
            after_epoch(scores(totals, count=count))

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return a function that takes one training step on it."""
        arrays, labels = ENGINE.place(batch)
        totals = keras.ops.zeros(2)

        def step() -> None:
            nonlocal totals
            totals, _ = self._steps.learn(totals, arrays, labels)

        return step

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout and without learning."""
        self._publish()
        totals, count = keras.ops.zeros(2), 0
        for batch in batches:
            arrays, labels = self._to_device(_plain(batch))
            totals = self._steps.score(totals, arrays, labels)
            count += len(batch)
        return scores(totals, count=count)

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical."""
        self._publish()
        return {name: to_canonical(v) for name, v in named_parameters(self._layers)}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        self._publish()
        load_weights(self._layers, arrays)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        self._publish()
        arrays, _ = self._to_device(_plain(batch))
        return np.array(keras.ops.convert_to_numpy(self._logits(arrays)), np.float32)

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        self._publish()
        model = self._model(is_augmented=batch.warp is not None)
        gradients = ENGINE.gradients(self._program, model, *self._to_device(batch))
        names = {variable.path: name for name, variable in named_parameters(self._layers)}
        return {
            names[variable.path]: to_canonical(gradient)
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        }

    def synchronize(self) -> None:
        """Wait for the device."""
        self._steps.synchronize()

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        self._publish()
        network = network_settings(
            self._device, layers=self._layers, is_compiled=self._program.is_compiled
        )
        learning = learning_settings(
            model=self._program.learner,
            optimizer=self._program.optimizer,
            loader=self._loader,
            drawn=self._initial.keys() - self._task.weights.keys(),
        )
        return {**network, **learning}

    def _publish(self) -> None:
        """Bring the state of the last step into the variables, for whoever reads them."""
        self._steps.publish()

    def _placed(self, batches: Batches) -> Iterable[tuple[Arrays, Tensor]]:
        """Return arrays and labels of each batch, loaded from files where the task has any."""
        if self._loader is not None:
            return self._loader.load(lambda: batches)
        return map(self._to_device, batches)

    def _learner(self) -> keras.Model:
        """Return the model that learns: from a batch's arrays to network inputs and logits."""
        tensors = input_tensors(
            self._task,
            is_augmented=self._task.is_augmented,
            is_loaded=self._loader is not None,
        )
        inputs = network_input(self._task, tensors)
        return keras.Model(tensors, [inputs, connect(self._layers, inputs, has_dropout=True)])

    def _model(self, *, is_augmented: bool) -> keras.Model:
        """Return a model from a batch's arrays to logits, without dropout."""
        tensors = input_tensors(self._task, is_augmented=is_augmented)
        inputs = network_input(self._task, tensors)
        return keras.Model(tensors, connect(self._layers, inputs, has_dropout=False))

    def _states(self) -> list[keras.Variable]:
        """Return what a fresh start resets besides the weights: optimizer, dropout's numbers."""
        return [*self._program.optimizer.variables, *dropout_states(self._layers)]


def initial_weights(layers: list[keras.Layer], task: Task) -> Mapping[str, NDArray[np.float32]]:
    """Return what a training starts from: the task's arrays, in the native track over Keras's."""
    if task.native is None:
        return task.weights
    own = {name: to_canonical(variable) for name, variable in named_parameters(layers)}
    return {**own, **task.weights}


def dropout_states(layers: list[keras.Layer]) -> list[keras.Variable]:
    """Return the states of the dropout layers' random numbers."""
    dropouts = (layer for layer in layers if isinstance(layer, keras.layers.Dropout))
    return [variable for layer in dropouts for variable in layer.non_trainable_variables]


def fresh_value(variable: keras.Variable) -> NDArray[np.float32] | None:
    """Return a state that has not been used yet; None for zeros.

    Whatever an optimizer of Keras keeps for a weight starts at zero. A copy would take as much
    memory again: 5.6 GB for Adam and the published network.
    """
    return to_canonical(variable) if int(np.prod(variable.shape)) <= 2 else None


def scores(totals: Tensor, *, count: int) -> Scores:
    """Return the means over ``count`` images, after waiting for the device."""
    loss, hits = map(float, keras.ops.convert_to_numpy(totals))
    images = max(count, 1)
    return Scores(loss=loss / images, top1=hits / images, count=count)


def _plain(batch: Batch) -> Batch:
    """Return the batch without its warp: what is scored is not augmented."""
    return replace(batch, warp=None)
