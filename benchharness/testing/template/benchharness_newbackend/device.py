"""The device, and the process-wide switches that decide speed and rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchharness.api import Task, UnsupportedError


def use_device(task: Task) -> str:
    """Set threads, precision and determinism for this process, and return the device.

    The core has already narrowed this process to the cores and the accelerator it may use.

    Raises:
        UnsupportedError: The device, or a setting, is not to be had here. Never substitute
            something similar: the reader would compare two different works.
    """
    execution = task.execution
    only = {"device": "cpu", "precision": "float32", "layout": "channels_last", "compile": False}
    for setting, expected in only.items():
        found = getattr(execution, setting)
        if found != expected:
            raise UnsupportedError(f"{setting} = {found}: newbackend has {expected} alone")
    if task.native is not None:
        raise UnsupportedError("track: newbackend has no defaults of its own yet")
    return "cpu"


def synchronize(device: str) -> None:
    """Return when everything handed to the device is done.

    NumPy has finished when it returns. A framework that queues its work has to wait here, or the
    clock would measure the queue.
    """


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return partial(synchronize, device)
