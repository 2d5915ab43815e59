"""Inspection of one backend, in a worker: whether it works, on what, and with which settings."""

from __future__ import annotations

import numpy as np

from benchharness.measure.meters import peak_rss_bytes
from benchharness.model.network import Network
from benchharness.model.task import Batch, Execution, Optimizer, Preprocessing, Task
from benchharness.model.work import Backend, Setting
from benchharness.plugins import load_backend
from benchharness.weights.initial import initial_weights
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Load the requested backend, feed it a batch, and report its versions and settings."""
    emit, clock = channel.emit, channel.clock
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
