"""The device, and what MLX can be asked for."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from benchharness.api import Task, UnsupportedError


def use_device(task: Task) -> mx.Device:
    """Choose the device for this process, and return it.

    Raises:
        UnsupportedError: MLX has no such device or setting.
    """
    execution = task.execution
    only = {
        "device": "cpu",
        # A stream of MLX on a CPU is one thread.
        "threads": 1,
        "precision": "float32",
        "layout": "channels_last",
        "compile": False,
    }
    for setting, expected in only.items():
        found = getattr(execution, setting)
        if found != expected:
            raise UnsupportedError(f"{setting} = {found}: mlx has {expected} alone")
    if task.native is not None:
        raise UnsupportedError("track: mlx has no defaults of its own yet")
    device = mx.Device(mx.cpu)
    mx.set_default_device(device)
    return device


def synchronize(device: mx.Device) -> None:
    """Return when everything handed to the device is done.

    It waits for what ``mx.eval`` and ``mx.async_eval`` have handed over. An operation that was only
    recorded is nobody's work yet: each step hands over all of its own.
    """
    mx.synchronize(mx.default_stream(device))


def waiter(device: str) -> Callable[[], None]:
    """Return what waits for the device of a process that is not ours."""
    return mx.synchronize
