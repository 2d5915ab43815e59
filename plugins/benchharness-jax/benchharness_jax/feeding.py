"""Bringing batches to the device."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from benchharness.api import AfterStep, Batches, Consumed, Setting, Task
from benchharness_jax import steps
from benchharness_jax.device import synchronize
from benchharness_jax.files import build_loader
from benchharness_jax.images import Preprocess, arrays, labels
from benchharness_jax.settings import device_settings
from benchharness_jax.witness import Ledger


class JaxFeeding:
    """Feeds a network that is not there."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        build_loader(task)
        self._device = device
        self._preprocess = Preprocess.of(task, device=device)
        self._ledger = Ledger(task.witness, device=device)
        self._turn = jnp.zeros((), jnp.int32, device=device)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        for batch in batches:
            self._turn, _, seen = steps.feed(
                self._turn,
                arrays(batch, device=self._device),
                labels(batch, device=self._device),
                self._preprocess,
                self._ledger.pattern,
                images=self._ledger.images,
            )
            self._ledger.write(seen)
            after_step()

    def consumed(self) -> Consumed:
        """Return what was written down of the last steps."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._turn)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)
