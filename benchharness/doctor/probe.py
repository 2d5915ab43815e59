"""Probe of one backend, in a worker: whether it works, on what device, and how fast."""

from __future__ import annotations

from benchharness.doctor.calibrate import Calibrator
from benchharness.measure.clock import now_s
from benchharness.measure.meters import peak_rss_bytes
from benchharness.model.task import Execution
from benchharness.plugins import load_backend
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Load the requested backend, feed it a batch, and measure its speed if that is asked for."""
    emit, clock = channel.emit, channel.clock
    with clock.phase("import"):
        backend = load_backend(request.plugin, options=request.options)
    emit({"event": "versions", "versions": dict(backend.versions())})
    execution = Execution(device=request.device, threads=request.threads)
    calibrator = Calibrator(backend=backend, execution=execution, now=now_s)
    with clock.phase("feed"):
        settings = calibrator.settings()
    emit({"event": "settings", "settings": settings, "deviations": []})
    emit({"event": "base", "bytes": peak_rss_bytes()})
    if request.arguments["is_measured"]:
        with clock.phase("calibrate"):
            measures = calibrator.measures()
        emit({"event": "measures", "measures": measures})
