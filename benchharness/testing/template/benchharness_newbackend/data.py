"""The device, batches on it, and the record of what the network receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    HostLedger,
    Setting,
    Task,
    UnsupportedError,
    preprocess_on_host,
    warp_on_host,
)


def use_device(task: Task) -> str:
    """Set threads, precision and determinism for this process, and return the device.

    The core has already narrowed this process to the cores and the accelerator it may use.

    Raises:
        UnsupportedError: The device or a setting is unavailable. Never substitute something
            similar: the reader would compare two different works.
    """
    execution = task.execution
    only = {"device": "cpu", "precision": "float32", "layout": "channels_last", "compile": False}
    for setting, expected in only.items():
        value = getattr(execution, setting)
        if value != expected:
            raise UnsupportedError(f"{setting} = {value}: newbackend has {expected} alone")
    if task.native is not None:
        raise UnsupportedError("track: newbackend has no defaults of its own yet")
    if task.files is not None:
        # A loader would read them in the order of the batches' ids.
        raise UnsupportedError("input: newbackend has no loader of files yet; use prepared images")
    return "cpu"


def synchronize(device: str) -> None:
    """Return when everything handed to the device is done.

    NumPy has finished when it returns. A framework that queues its work has to wait here, or the
    clock would measure the queue.
    """


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return partial(synchronize, device)


def device_settings(device: str) -> dict[str, Setting]:
    """Return what holds for the whole process, read back and not copied from the task."""
    return {
        "engine": "newbackend",
        "device": str(device),
        "precision": "float32",
        "tf32": False,
        "layout": "channels_last",
        "compile": False,
        "deterministic": True,
        "loader_workers": 0,
        # Who pays for the host in speed tells its readers so.
        "images": Inputs.computed_by,
        "fingerprints": Ledger.computed_by,
    }


def to_device(batch: Batch, *, device: str) -> Batch:
    """Return a batch with its arrays on the device; NumPy computes where they are."""
    return batch


class Inputs:
    """Augments and preprocesses batches in bulk: here on the host, later on the device.

    Attributes:
        computed_by: What computes them, for the settings.
    """

    computed_by = "numpy"

    def __init__(self, task: Task, *, device: str) -> None:
        self._preprocessing = task.preprocessing

    def __call__(self, batch: Batch) -> NDArray[Any]:
        """Return the network's inputs, shape (batch, height, width, channels), or features.

        First the warp, where the batch has one, then the preprocessing; features as they are.
        """
        inputs: NDArray[Any] = batch.inputs
        if batch.warp is not None:
            inputs = warp_on_host(inputs, batch.warp)
        if self._preprocessing is not None:
            inputs = preprocess_on_host(inputs.astype(np.float32), self._preprocessing)
        return inputs


class Ledger(HostLedger):
    """The fingerprints and labels of the sampled steps of the last epoch, kept on the host.

    A record that is kept on the device does not wait for it: a class with the same methods, by the
    framework's arrays. What is not sampled must cost nothing, for the contract times it.

    Attributes:
        computed_by: What computes it, for the settings.
    """

    computed_by = "numpy"


class NewFeeding:
    """Brings batches to the device, for no network."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._ledger = Ledger(task.fingerprint_spec)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Bring each batch to the device, augmented and preprocessed."""
        self._ledger.clear()
        for batch in batches:
            arrays = to_device(batch, device=self._device)
            self._ledger.write(self._inputs(arrays), arrays.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return device_settings(self._device)
