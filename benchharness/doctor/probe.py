"""The process that looks at one backend: whether it works, on what, and its settings.

Started by the doctor as ``python -m benchharness.doctor.probe REQUEST.json EVENTS_FD``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchharness.doctor.probe_request import GaugeRequest
from benchharness.errors import BenchError
from benchharness.measure.clock import PhaseClock
from benchharness.measure.memory import peak_rss_bytes
from benchharness.model.network import Network
from benchharness.model.task import Batch, Execution, Optimizer, Preprocessing, Task
from benchharness.model.work import Backend, Setting
from benchharness.plugins import load_backend
from benchharness.run.process.limits import die_with_parent, set_affinity
from benchharness.run.process.process_exit import exit_process
from benchharness.weights.initial import initial_weights

Emit = Callable[[Mapping[str, Any]], None]


def main(arguments: list[str]) -> int:
    """Look at the requested backend; the exit code is 0 when the last event was sent."""
    request_file, events_fd = Path(arguments[0]), int(arguments[1])
    die_with_parent(events_fd)
    request = GaugeRequest.read(request_file)
    set_affinity(request.threads)
    clock = PhaseClock(started_s=request.spawned_s)
    with os.fdopen(events_fd, "w", encoding="utf-8") as pipe:

        def emit(event: Mapping[str, Any]) -> None:
            pipe.write(json.dumps(event) + "\n")
            pipe.flush()

        reason = _reason(request, clock=clock, emit=emit)
        seconds = {f"{phase}_s": value for phase, value in clock.seconds.items()}
        emit(
            {
                "event": "finished",
                "status": "failed" if reason else "ok",
                "reason": reason,
                "metrics": {**seconds, "wall_s": clock.wall_s()},
            }
        )
    return 0


def _reason(request: GaugeRequest, *, clock: PhaseClock, emit: Emit) -> str:
    """Look at the backend and return what is wrong with it; empty when nothing is."""
    try:
        _look(request, clock=clock, emit=emit)
    except BenchError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no message"]
        return f"{type(error).__name__}: {lines[0]}"
    return ""


def _look(request: GaugeRequest, *, clock: PhaseClock, emit: Emit) -> None:
    clock.seconds["startup"] = clock.wall_s()
    with clock.phase("import"):
        backend = load_backend(request.plugin, options=request.options)
    emit({"event": "versions", "versions": dict(backend.versions())})
    execution = Execution(device=request.device, threads=request.threads)
    with clock.phase("feed"):
        settings = _feed(backend, execution)
    emit({"event": "settings", "settings": settings, "deviations": []})
    emit({"event": "base", "bytes": peak_rss_bytes()})


def _feed(backend: Backend, execution: Execution) -> dict[str, Setting]:
    """Feed two small images and return the settings in effect."""
    network = Network(input_shape=(8, 8, 3), layers=())
    task = Task(
        network=network,
        weights=initial_weights(network, seed=1),
        trainable=network.learning_layers(),
        output="sigmoid",
        optimizer=Optimizer(name="adam", lr=1e-4),
        preprocessing=Preprocessing(
            name="unit", order=(0, 1, 2), mean=(0.0,) * 3, scale=(1 / 255,) * 3
        ),
        is_augmented=False,
        execution=execution,
        seed=1,
    )
    batch = Batch(
        ids=np.arange(2),
        inputs=np.zeros((2, 8, 8, 3), np.uint8),
        labels=np.arange(2, dtype=np.int32),
        warp=None,
    )
    feeding = backend.feed(task)
    feeding.feed([batch], after_step=lambda: None)
    feeding.synchronize()
    return dict(feeding.settings())


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
