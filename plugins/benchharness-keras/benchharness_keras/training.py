"""A network that learns, in Keras: by a loop of steps, or by ``fit``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Extraction,
    Feeding,
    FingerprintSpec,
    Scores,
    Setting,
    Task,
    Training,
)
from benchharness_keras.data import (
    AHEAD,
    FileLoader,
    FolderLoader,
    KerasFeeding,
    Ledger,
    ToDevice,
    build_loader,
    fingerprints,
    first_rows,
    input_tensors,
    network_input,
    use_device,
)
from benchharness_keras.engines import ENGINE, Arrays, Program, Tensor, named_arrays
from benchharness_keras.network import (
    KerasExtraction,
    build_network,
    connect,
    load_weights,
    named_parameters,
    network_settings,
    to_canonical,
)
from benchharness_keras.optimizers import build_native_optimizer, build_optimizer, read_optimizer


class KerasBackend:
    """Feeds, extracts and trains with Keras, on whichever engine it was imported with."""

    def __init__(self) -> None:
        """Pin what a user's file or program may have set, and what nobody states in a task."""
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")

    def versions(self) -> Mapping[str, str]:
        """Return the versions of Keras and of its engine."""
        engine = keras.config.backend()
        return {"keras": keras.__version__, engine: version(engine)}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return KerasFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return KerasExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        kind = KerasTraining if task.native is None else KerasNativeTraining
        return kind(task, device=use_device(task))


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
        self._ledger = Ledger(task.fingerprint_spec)
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


def fresh_value(variable: keras.Variable) -> NDArray[Any] | None:
    """Return a state that has not been used yet, in its own dtype; None for zeros.

    Seeds are integers, of which float32 cannot tell neighbours apart.

    Whatever an optimizer of Keras keeps for a weight starts at zero. A copy would take as much
    memory again: 5.6 GB for Adam and the published network.
    """
    is_small = int(np.prod(variable.shape)) <= 2
    return np.array(keras.ops.convert_to_numpy(variable)) if is_small else None


def scores(totals: Tensor, *, count: int) -> Scores:
    """Return the means over ``count`` images, after waiting for the device."""
    loss, hits = map(float, keras.ops.convert_to_numpy(totals))
    images = max(count, 1)
    return Scores(loss=loss / images, top1=hits / images, count=count)


def _plain(batch: Batch) -> Batch:
    """Return the batch without its warp: what is scored is not augmented."""
    return replace(batch, warp=None)


def learning_settings(
    *,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loader: FileLoader | FolderLoader | None,
    drawn: Collection[str],
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    ``drawn`` names the arrays that the framework has initialised by itself.
    """
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    learning = [layer.name for layer in model.layers if layer.trainable_variables]
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(learning),
        "initialiser": _initialisers(model, drawn) or "given",
        "loader_workers": loader.workers if loader else 0,
    }


def _initialisers(model: keras.Model, drawn: Collection[str]) -> str:
    layers = (layer for layer in model.layers if f"{layer.name}/kernel" in drawn)
    return ", ".join(dict.fromkeys(type(layer.kernel_initializer).__name__ for layer in layers))


class KerasNativeTraining(KerasTraining):
    """A compiled model and ``fit``, on Keras's own input pipeline."""

    # No public name repeats the step of ``fit`` without reading its metrics back.
    replay = None  # type: ignore[assignment]

    def __init__(self, task: Task, *, device: str) -> None:
        # Keras's own input pipeline brings the batches.
        super().__init__(replace(task, inputs=None), device=device)
        tensors = input_tensors(
            task, is_augmented=task.is_augmented, is_loaded=self._loader is not None
        )
        inputs = network_input(task, tensors)
        metrics: list[keras.metrics.Metric] = []
        # Steps of the epoch that was trained last.
        self._taken = 0
        if task.fingerprint_spec is not None:
            self._images = SeenImages(task.fingerprint_spec, dtype="float32")
            self._labels = SeenLabels(task.fingerprint_spec)
            metrics, inputs = [self._labels], self._images(inputs)
        self._fitted = keras.Model(tensors, connect(self._layers, inputs, has_dropout=True))
        is_sigmoid = task.output == "sigmoid"
        self._fitted.compile(
            optimizer=self._program.optimizer,
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
            # Where nobody asks, Keras decides: on TensorFlow it compiles for a GPU.
            jit_compile=self._program.is_compiled or "auto",
        )

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings, ``compile`` as Keras has decided it."""
        return {**super().settings(), "compile": bool(self._fitted.jit_compile)}

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        super().reset()
        self._taken = 0

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""

        def end_epoch(scores: Scores) -> None:
            self._taken = len(reporter.batches)
            after_epoch(scores)

        reporter = Reporter(epochs, after_step=after_step, after_epoch=end_epoch)
        if self._loader is not None:
            dataset = self._loader.load(lambda: reporter.batches)
        else:
            dataset = pipeline(reporter, self._task)
        self._fitted.fit(
            dataset,
            epochs=len(epochs),
            # The order is the core's, or that of the loader.
            shuffle=False,
            verbose=0,
            callbacks=[reporter],
        )

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch.

        Raises:
            ValueError: The task has no fingerprint_spec.
        """
        spec = self._task.fingerprint_spec
        if spec is None:
            raise ValueError("task.fingerprint_spec: expected a FingerprintSpec, found None")
        self._publish()
        registers = (self._images.register, self._labels.register)
        prints, labels = (np.array(ops.convert_to_numpy(register)) for register in registers)
        # The last step is in the last row.
        first = len(prints) - self._taken
        rows = [first + step for step in spec.steps if step < self._taken]
        return ConsumedBatches(fingerprints=prints[rows], labels=labels[rows].astype(np.int32))

    def synchronize(self) -> None:
        """Wait for the device, by asking for the smallest array the last step has written."""
        self._publish()
        smallest = min(self._fitted.trainable_variables, key=lambda v: int(np.prod(v.shape)))
        ops.convert_to_numpy(smallest)

    def _publish(self) -> None:
        super()._publish()
        if keras.config.backend() == "jax":
            # During fit, Keras on JAX keeps the weights in a state of the model.
            self._fitted.jax_state_sync()


def pipeline(reporter: Reporter, task: Task) -> object:
    """Return what ``fit`` takes: batches of the epoch that the reporter has come to.

    On TensorFlow a tf.data pipeline; a PyDataset of several workers there costs a step 16 ms. On
    the other engines a PyDataset: the queue of several workers would lose its first batch when
    Keras looks at it to build the metrics (Keras 3.15).
    """
    if keras.config.backend() != "tensorflow":
        return BatchDataset(reporter)
    import tensorflow as tf

    arrays = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for tensor in input_tensors(task, is_augmented=task.is_augmented).values()
    }
    dataset = tf.data.Dataset.from_generator(
        lambda: map(_pair, reporter.batches),
        output_signature=(arrays, tf.TensorSpec([None], tf.int32)),
    ).prefetch(AHEAD)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(reporter.batches)))


def _pair(batch: Batch) -> tuple[Arrays, Tensor]:
    return named_arrays(batch), batch.labels


class BatchDataset(keras.utils.PyDataset):
    """The batches of the epoch that ``fit`` has come to."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._reporter.batches)

    def __getitem__(self, index: int) -> tuple[Arrays, Tensor]:
        """Return a batch's arrays and labels."""
        return _pair(self._reporter.batches[index])


class Reporter(keras.callbacks.Callback):
    """Reports steps and epochs to the core.

    Keras may call ``on_train_batch_end`` from another thread and out of order, so a step is
    reported when the next begins, and the last when the epoch ends.

    Attributes:
        batches: Of the epoch that ``fit`` has come to.
    """

    def __init__(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        super().__init__()
        self._epochs = epochs
        self._after_step = after_step
        self._after_epoch = after_epoch
        self.batches = epochs[0]

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, object] | None = None) -> None:
        """Turn to the epoch's batches."""
        self.batches = self._epochs[epoch]

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, object] | None = None) -> None:
        """Report the step before this."""
        if batch > 0:
            self._after_step()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report the last step, and the epoch."""
        self._after_step()
        means = logs or {}
        count = sum(map(len, self.batches))
        self._after_epoch(Scores(loss=float(means["loss"]), top1=float(means["top1"]), count=count))


class SeenImages(keras.Layer):
    """Passes images on, and records the fingerprints of the first of each batch."""

    def __init__(self, spec: FingerprintSpec, **options: object) -> None:
        super().__init__(**options)
        self._spec = spec
        self.register = self.add_weight(
            shape=(spec.steps[-1] + 1, spec.images), initializer="zeros", trainable=False
        )

    def call(self, inputs: Tensor) -> Tensor:
        """Map inputs to themselves."""
        shift(self.register, fingerprints(inputs, self._spec))
        return inputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape unchanged."""
        return input_shape


class SeenLabels(keras.metrics.Metric):
    """Records the labels that the loss receives, for metrics receive the same."""

    def __init__(self, spec: FingerprintSpec) -> None:
        super().__init__(name="seen_labels")
        # Not integers: TensorFlow keeps those in host memory, and would wait for the device.
        self.register = self.add_variable(
            (spec.steps[-1] + 1, spec.images),
            initializer="zeros",
            dtype="float32",
            name="labels",
        )

    def update_state(
        self, y_true: Tensor, y_pred: Tensor | None, sample_weight: Tensor | None = None
    ) -> None:
        """Record a step."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "float32")
        shift(self.register, first_rows(labels, count=self.register.shape[1]))

    def reset_state(self) -> None:
        """Keep the register: Keras resets its metrics before each epoch."""

    def result(self) -> float:
        """Return zero, for Keras asks every metric for a number."""
        return 0.0


def shift(register: keras.Variable, row: Tensor) -> None:
    """Drop a register's oldest row, and append a row."""
    register.assign(ops.concatenate([register[1:], row[None]], axis=0))
