"""A network that learns, in Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    Consumed,
    Scores,
    Setting,
    Task,
)
from benchharness_keras.engines import ENGINE
from benchharness_keras.files import build_loader
from benchharness_keras.images import arrays, input_tensors, network_input
from benchharness_keras.layers import build_network, connect
from benchharness_keras.optimizers import (
    GradientRecorder,
    build_native_optimizer,
    build_optimizer,
)
from benchharness_keras.settings import learning_settings, network_settings
from benchharness_keras.weights import load_weights, named_parameters, to_canonical
from benchharness_keras.witness import Ledger

Watch = Callable[[keras.KerasTensor], keras.KerasTensor]


class KerasTraining:
    """Models over the same layers: one learns, one scores, one records gradients.

    Twin note: PyTorch switches one module between training and evaluation. Keras's compiled
    functions belong to a model, so work with other inputs (no warp) or without dropout is
    another model over the same layers; ``fit`` is the only training loop that all engines share.
    """

    def __init__(self, task: Task, *, device: str) -> None:
        self._task = task
        self._device = device
        self._loader = build_loader(task)
        # What the core gives no weights for starts from Keras's own draws.
        keras.utils.set_random_seed(task.seed)
        self._layers = build_network(network=task.network, trainable=task.trainable, seed=task.seed)
        self._ledger = Ledger(task.witness)
        self._learner = self._model(
            is_augmented=task.is_augmented,
            has_dropout=True,
            is_loaded=self._loader is not None,
            watch=self._ledger.watch,
        )
        self._scorer = self._model(is_augmented=False, has_dropout=False)
        self._optimizer = (
            build_optimizer(optimizer=task.optimizer)
            if task.native is None
            else build_native_optimizer(stated=task.native.optimizer)
        )
        self._compile(self._learner, self._optimizer, metrics=self._ledger.metrics)
        self._compile(self._scorer, None)
        self._initial = initial_weights(self._layers, task)
        load_weights(self._layers, self._initial)
        self._optimizer.build(self._learner.trainable_variables)
        self._fresh = [to_canonical(variable) for variable in self._states()]

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        load_weights(self._layers, self._initial)
        for variable, value in zip(self._states(), self._fresh, strict=True):
            variable.assign(value)

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        dataset = BatchDataset(epochs)
        loader = self._loader
        self._learner.fit(
            loader.load(lambda: dataset.batches) if loader else dataset,
            epochs=len(epochs),
            # The order is the core's, or that of the loader.
            shuffle=False,
            verbose=0,
            callbacks=[Reporter(dataset, after_step=after_step, after_epoch=after_epoch)],
        )

    def consumed(self) -> Consumed:
        """Return what was written down of the last training steps."""
        if keras.config.backend() == "jax":
            self._learner.jax_state_sync()
        # Counted by the optimizer, which a reset returns to zero.
        steps = int(keras.ops.convert_to_numpy(self._optimizer.iterations))
        return self._ledger.consumed(steps=steps)

    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout and without learning."""
        dataset = BatchDataset([batches])
        means = self._scorer.evaluate(dataset, verbose=0, return_dict=True)
        return dataset.scores(means)

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical."""
        return {name: to_canonical(v) for name, v in named_parameters(self._layers)}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        load_weights(self._layers, arrays)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        return np.asarray(self._scorer.predict_on_batch(arrays(batch)), np.float32)

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        model = self._model(is_augmented=batch.warp is not None, has_dropout=False)
        recorder = GradientRecorder()
        self._compile(model, recorder)
        model.train_on_batch(arrays(batch), batch.labels)
        names = {v.path: name for name, v in named_parameters(self._layers)}
        return {
            names[variable.path]: to_canonical(gradient)
            for variable, gradient in zip(
                model.trainable_variables, recorder.gradients, strict=True
            )
        }

    def synchronize(self) -> None:
        """Wait for the device, by asking for the smallest array the last step has written."""
        if keras.config.backend() == "jax":
            # During fit, JAX keeps the weights in a state of its own.
            self._learner.jax_state_sync()
        smallest = min(self._learner.trainable_variables, key=lambda v: int(np.prod(v.shape)))
        keras.ops.convert_to_numpy(smallest)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        network = network_settings(self._device, model=self._learner, layers=self._layers)
        learning = learning_settings(
            model=self._learner,
            optimizer=self._optimizer,
            loader=self._loader or BatchDataset([[]]),
            drawn=self._initial.keys() - self._task.weights.keys(),
        )
        return {**network, **learning}

    def _model(
        self,
        *,
        is_augmented: bool,
        has_dropout: bool,
        is_loaded: bool = False,
        watch: Watch = lambda inputs: inputs,
    ) -> keras.Model:
        tensors = input_tensors(self._task, is_augmented=is_augmented, is_loaded=is_loaded)
        inputs = watch(network_input(self._task, tensors))
        return keras.Model(tensors, connect(self._layers, inputs, has_dropout=has_dropout))

    def _compile(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        *,
        metrics: Sequence[keras.metrics.Metric] = (),
    ) -> None:
        is_sigmoid = self._task.output == "sigmoid"
        model.compile(
            optimizer=optimizer,
            loss=(
                keras.losses.BinaryCrossentropy(from_logits=True)
                if is_sigmoid
                else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            ),
            metrics=[
                keras.metrics.BinaryAccuracy(name="top1", threshold=0.0)
                if is_sigmoid
                else keras.metrics.SparseCategoricalAccuracy(name="top1"),
                *metrics,
            ],
            jit_compile=ENGINE.compiles(self._task.execution.compile),
        )

    def _states(self) -> list[keras.Variable]:
        """Return what a fresh start resets besides the weights: optimizer, dropout's numbers."""
        return [*self._optimizer.variables, *dropout_states(self._layers)]


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


class BatchDataset(keras.utils.PyDataset):
    """The batches of the epoch that ``fit`` has come to."""

    def __init__(self, epochs: Sequence[Batches]) -> None:
        # On TensorFlow, Keras hands one worker's batches to a tf.data pipeline that tunes itself;
        # ending that pipeline can block for seconds (TensorFlow 2.21). On the other engines, the
        # queue of several workers would lose its first batch when Keras looks at one to build the
        # metrics (Keras 3.15).
        super().__init__(workers=2 if keras.config.backend() == "tensorflow" else 1)
        self._epochs = epochs
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Turn to an epoch, counted from 0."""
        self.batches = self._epochs[epoch]
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.int32]]:
        """Return one batch's arrays and labels."""
        batch = self.batches[index]
        self._sizes[index] = len(batch)
        return arrays(batch), batch.labels

    def scores(self, means: Mapping[str, float]) -> Scores:
        """Return Keras's means over the epoch, with the number of images it has asked for.

        Where a loader of files serves the batches, Keras asks for none here.
        """
        count = sum(self._sizes.values()) or sum(map(len, self.batches))
        return Scores(loss=float(means["loss"]), top1=float(means["top1"]), count=count)


class Reporter(keras.callbacks.Callback):
    """Tells the core of steps and epochs.

    Keras may call ``on_train_batch_end`` from another thread and out of order, so a step is
    reported when the next one begins, and the last when the epoch ends.
    """

    def __init__(
        self, dataset: BatchDataset, *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        super().__init__()
        self._dataset = dataset
        self._after_step = after_step
        self._after_epoch = after_epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, object] | None = None) -> None:
        """Let the dataset turn to the epoch."""
        self._dataset.begin(epoch)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, object] | None = None) -> None:
        """Report the step before this one."""
        if batch > 0:
            self._after_step()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report the last step, and the epoch."""
        self._after_step()
        self._after_epoch(self._dataset.scores(logs or {}))
