"""Work of a backend: feeding, extraction and training; and the backend itself.

The core owns the clock, the batches and the proof; a plugin owns the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchharness.model.task import Batch, ConsumedBatches, Scores, Task

AfterStep = Callable[[], None]
AfterEpoch = Callable[[Scores], None]
# Batches are gathered when asked for, by index and in any order, so a backend may prefetch.
Batches = Sequence[Batch]
Setting = str | int | float | bool | None


class Work(Protocol):
    """What every kind of work can do."""

    def synchronize(self) -> None:
        """Return when the device has finished everything handed to it so far."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings, read back from the framework wherever it tells them.

        What the core states in the task goes by these names, and is held against the task:
        ``precision``, ``tf32``, ``layout``, ``deterministic``, and ``compile`` where the task asks
        for it; a framework that knows no other way says True unasked. In training also
        ``optimizer.name`` and the constants of that rule (``optimizer.lr``, ``optimizer.epsilon``,
        ..., ``optimizer.weight_decay`` 0.0 where there is none), ``dropout`` (the rates in the
        network's order, as ``0.3, 0.5``), ``trainable`` (the names of the layers in that order,
        joined likewise) and ``initialiser`` (``given`` where the task's weights are loaded).
        Everything else that decides speed goes by the framework's own words: ``engine``,
        ``device``, ``threads``, ``autotune``, ``loader_workers``, ...; ``images`` and
        ``fingerprints`` are ``numpy`` where the core's functions compute them on the host.
        """


class Feeding(Work, Protocol):
    """Bringing batches to the device, ready for a network."""

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device as float, augmented and preprocessed.

        Calls ``after_step`` once per batch, when it has been handed to the device.
        """

    def consumed(self) -> ConsumedBatches:
        """Return the record that ``task.fingerprint_spec`` asks for, of the last call of ``feed``.

        Waits for the device, because it reads what the device has computed.
        """


class Extraction(Work, Protocol):
    """Running images through a frozen network."""

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield the network's output for each batch, float32, channels last."""


class Training(Work, Protocol):
    """A network that learns."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch, in the given order.

        All epochs have equally many batches. The loop over epochs is the plugin's, because some
        frameworks pay for entering their training loop; what happens between is the core's.

        Calls ``after_step`` once per step, when it has been handed to the device; waiting for the
        device there is the core's business. Calls ``after_epoch`` when the device has finished an
        epoch, with the means over its images, each scored by the weights it was trained on; the
        core may call ``evaluate``, ``weights`` and ``synchronize`` from there, and may let another
        backend train an epoch meanwhile: nothing of this one should be at work then.
        """

    def consumed(self) -> ConsumedBatches:
        """Return the record that ``task.fingerprint_spec`` asks for, of the last epoch.

        Empty before the first step and after a reset. Waits for the device, because it reads what
        the device has computed. The core may call it from ``after_epoch``.
        """

    def evaluate(self, batches: Batches) -> Scores:
        """Score the images without learning: no dropout, no augmentation."""

    def reset(self) -> None:
        """Return to the task's initial weights and a fresh optimizer, keeping what is compiled."""

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array by canonical name and in canonical layout."""

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array; the reverse of ``weights``."""

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return the logits of a batch without dropout, float32, shape (batch, outputs)."""

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout.

        Canonical names and layout. Leaves the weights as they were.
        """


@runtime_checkable
class Replayable(Protocol):
    """A training that can repeat its own step on a batch that already lies on the device.

    Optional for a plugin, and part of its ``Training``. The core times it after all other work:
    what a training step takes beyond a replayed step lies outside the framework's computation.
    """

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return a function that takes one training step on it.

        The step is the one that ``train`` takes, compiled where that is compiled, including the
        augmentation that runs on the device: so many calls move the weights as so many batches of
        ``train`` do. Records nothing. Waiting for the device is up to the caller.
        """


class Backend(Protocol):
    """One deep-learning framework, able to do the work of a suite."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions that decide its results, by distribution name."""

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device.

        Raises:
            UnsupportedError: A setting of the task cannot be honoured.
        """

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's network, all of it frozen.

        Raises:
            UnsupportedError: A setting of the task cannot be honoured.
        """

    def train(self, task: Task) -> Training:
        """Build the task's network on the device with the task's weights, ready to learn.

        Raises:
            UnsupportedError: A setting of the task cannot be honoured.
        """
