"""Feeding: batches brought to the device."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from benchharness.api import AfterStep, Batches, ConsumedBatches, Setting, Task
from benchharness_jax.device import synchronize
from benchharness_jax.files import build_loader
from benchharness_jax.images import BatchArrays, Preprocess, hold, network_input
from benchharness_jax.settings import device_settings
from benchharness_jax.steps import compiled
from benchharness_jax.witness import Ledger


class JaxFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        build_loader(task)
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._preprocess = Preprocess.of(task, device=device)
        self._held = hold(task, device=device)
        self._ledger = Ledger(task.witness, device=device)
        self._feed = compiled(feed, device=device)
        self._turn = np.int32(0)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for step, batch in enumerate(batches):
            self._turn, inputs, labels = self._feed(
                self._turn, BatchArrays.of(batch), self._preprocess, self._held
            )
            self._ledger.write(step, inputs, labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._turn)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)


def feed(
    turn: jax.Array, batch: BatchArrays, preprocess: Preprocess, held: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the next turn, and a batch and its labels as a network would see them.

    Each batch takes the turn of the previous: whoever waits for the last waits for all.
    """
    return turn + 1, network_input(batch, preprocess, held), batch.labels
