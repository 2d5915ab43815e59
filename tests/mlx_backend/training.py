"""A network that learns, in MLX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx
import numpy as np
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
from benchharness_mlx.data import (
    Inputs,
    Ledger,
    MlxFeeding,
    device_settings,
    synchronize,
    to_device,
    use_device,
)
from benchharness_mlx.network import (
    MlxExtraction,
    Model,
    build_network,
    load_weights,
    loss,
    loss_and_gradients,
    named_parameters,
    to_canonical,
)
from benchharness_mlx.optimizers import Rule, build_optimizer, read_optimizer


class MlxTraining:
    """The task's network, its optimizer, and the loop over batches."""

    def __init__(self, task: Task, *, device: mx.Device) -> None:
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.fingerprint_spec)
        self._model = build_network(network=task.network, trainable=task.trainable)
        self.reset()

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        load_weights(self._model, self._task.weights)
        self._optimizer = self._build_optimizer()
        self._dropout_seeds = np.random.default_rng(self._task.seed)
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            tally = Tally()
            self._ledger.clear()
            for batch in batches:
                arrays = to_device(batch, device=self._device)
                inputs = self._inputs(arrays)
                self._ledger.write(inputs, arrays.labels)
                self._step(inputs, arrays.labels, tally)
                after_step()
            after_epoch(tally.scores())

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return what takes one training step on it."""
        arrays, tally = to_device(batch, device=self._device), Tally()

        def step() -> None:
            self._step(self._inputs(arrays), arrays.labels, tally)

        return step

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout and without learning."""
        tally = Tally()
        for batch in batches:
            arrays = to_device(batch, device=self._device)
            inputs, output = self._inputs(arrays), self._task.output
            tally.add(*loss(self._model, inputs, arrays.labels, output=output))
        return tally.scores()

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical."""
        return {name: to_canonical(array) for name, array in named_parameters(self._model)}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        load_weights(self._model, arrays)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        inputs = self._inputs(to_device(batch, device=self._device))
        return np.array(self._model(inputs), np.float32)

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        arrays = to_device(batch, device=self._device)
        inputs, output = self._inputs(arrays), self._task.output
        _, _, gradients = loss_and_gradients(self._model, inputs, arrays.labels, output=output)
        return {name: to_canonical(gradient) for name, gradient in gradients.items()}

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        learning = learning_settings(model=self._model, optimizer=self._optimizer)
        return {**device_settings(self._device), **learning}

    def _build_optimizer(self) -> Rule:
        if self._task.optimizer is None:
            raise ValueError("task.optimizer: expected an optimizer for training, found None")
        return build_optimizer(optimizer=self._task.optimizer)

    def _step(self, inputs: mx.array, labels: mx.array, tally: Tally) -> None:
        losses, is_right, gradients = loss_and_gradients(
            self._model,
            inputs,
            labels,
            output=self._task.output,
            # Another seed for each step, and the same ones after each reset.
            dropout_seed=int(self._dropout_seeds.integers(2**31)),
        )
        self._optimizer.apply(self._model.arrays, gradients)
        tally.add(losses, is_right)


def learning_settings(*, model: Model, optimizer: Rule) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers."""
    rates = [layer.rate for layer in model.network.layers if isinstance(layer, Dropout)]
    return {
        "precision": ", ".join({str(a.dtype).rpartition(".")[2] for a in model.arrays.values()}),
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(model.trainable),
        "initialiser": "given",
    }


class Tally:
    """Loss and right guesses, summed on the device, so that reading them waits only once."""

    def __init__(self) -> None:
        self._loss, self._right, self._count = mx.array(0.0), mx.array(0), 0

    def add(self, losses: mx.array, is_right: mx.array) -> None:
        """Add a batch, both of shape (batch,), and hand the sums to the device."""
        self._loss, self._right = self._loss + losses.sum(), self._right + is_right.sum()
        self._count += len(losses)
        mx.async_eval(self._loss, self._right)

    def scores(self) -> Scores:
        """Return the means over everything added, after waiting for the device."""
        count = max(self._count, 1)
        return Scores(
            loss=self._loss.item() / count, top1=self._right.item() / count, count=self._count
        )


class MlxBackend:
    """Feeds, extracts and trains with mlx.

    What it cannot do at all, a kind of work included, it refuses with ``UnsupportedError`` and a
    reason; the rest of the contract still holds.
    """

    def versions(self) -> Mapping[str, str]:
        """Return the versions that decide its results, by distribution name."""
        return {"mlx": mx.__version__}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return MlxFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return MlxExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return MlxTraining(task, device=use_device(task))
