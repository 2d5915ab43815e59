"""A network that learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

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
from benchharness.testing.reference_rules import JUDGES, Judgement, Rule, Tally
from benchharness_newbackend.device import synchronize
from benchharness_newbackend.files import build_loader
from benchharness_newbackend.images import Inputs
from benchharness_newbackend.layers import build_network
from benchharness_newbackend.optimizers import build_optimizer
from benchharness_newbackend.settings import device_settings, learning_settings
from benchharness_newbackend.weights import load_weights, named_parameters, to_canonical
from benchharness_newbackend.witness import Ledger


class NewTraining:
    """The task's network, its optimizer, and the loop over batches."""

    def __init__(self, task: Task, *, device: str) -> None:
        build_loader(task)
        self._task = task
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.witness)
        self._judge = JUDGES[task.output]
        self._model = build_network(network=task.network)
        self._model.trainable = tuple(
            name for name in task.network.learning_layers() if name in task.trainable
        )
        self.reset()

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        load_weights(self._model, self._task.weights)
        self._optimizer = self._build_optimizer()
        self._random = np.random.Generator(np.random.Philox(self._task.seed))
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            tally = Tally()
            self._ledger.clear()
            for batch in batches:
                inputs, labels = self._inputs(batch), self._inputs.labels(batch)
                self._ledger.write(inputs, labels)
                tally.add(self._step(inputs, labels))
                after_step()
            after_epoch(tally.scores())

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return what takes one training step on it.

        The core times it, to tell how much of a step of ``train`` is computation: it must be the
        same step, compiled where that is compiled, with what augments on the device.
        """
        labels = self._inputs.labels(batch)

        def step() -> None:
            self._step(self._inputs(batch), labels)

        return step

    def consumed(self) -> Consumed:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout, without augmentation and without learning."""
        tally = Tally()
        for batch in batches:
            logits, _ = self._model.forward(self._inputs(replace(batch, warp=None)))
            tally.add(self._judge(logits, self._inputs.labels(batch)))
        return tally.scores()

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical."""
        return {name: to_canonical(array) for name, array in named_parameters(self._model)}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        load_weights(self._model, arrays)

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        logits, _ = self._model.forward(self._inputs(batch))
        return logits.astype(np.float32)

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        logits, tape = self._model.forward(self._inputs(batch))
        judgement = self._judge(logits, self._inputs.labels(batch))
        found = self._model.backward(tape, judgement.gradient)
        return {name: to_canonical(gradient) for name, gradient in found.items()}

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        learning = learning_settings(model=self._model, optimizer=self._optimizer)
        return {**device_settings(self._task, self._device), **learning}

    def _build_optimizer(self) -> Rule:
        if self._task.optimizer is None:
            raise ValueError("task.optimizer: expected an optimizer for training, found None")
        return build_optimizer(optimizer=self._task.optimizer)

    def _step(self, inputs: NDArray[Any], labels: NDArray[np.int32]) -> Judgement:
        logits, tape = self._model.forward(inputs, random=self._random)
        judgement = self._judge(logits, labels)
        gradients = self._model.backward(tape, judgement.gradient)
        self._optimizer.apply(self._model.arrays, gradients)
        return judgement
