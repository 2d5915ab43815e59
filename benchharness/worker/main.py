"""The worker's jobs: one is carried out, and its last event says how it ended."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchharness.errors import BenchError, UnsupportedError
from benchharness.measure.clock import PhaseClock, set_affinity
from benchharness.worker.process import OOM_REMEDY, die_with_parent, is_oom
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest

# Modules whose ``run_job`` carries a job out. By name: the worker imports what its job needs, and
# some are above it in the order of imports.
_JOBS = {
    "trial": "benchharness.worker.trial",
    "probe": "benchharness.worker.probe",
    "inspect": "benchharness.doctor.probe",
    "load": "benchharness.testing.loading",
    "check": "benchharness.testing.check",
    "convert-weights": "benchharness.weights.reading",
}


def main(arguments: list[str]) -> int:
    """Carry out the requested job; the exit code is 0 when a final event was sent."""
    request_file, *descriptors = arguments
    events_fd, resume_fd = [*map(int, descriptors), None, None][:2]
    has_log = events_fd is not None
    if events_fd is None:
        # Events go to standard output, what the job prints to standard error.
        events_fd = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    die_with_parent(events_fd)
    request = WorkerRequest.read(Path(request_file))
    set_affinity(request.threads)
    with os.fdopen(events_fd, "w", encoding="utf-8") as pipe:

        def emit(event: Mapping[str, Any]) -> None:
            pipe.write(json.dumps(event) + "\n")
            pipe.flush()

        clock = PhaseClock(
            started_s=request.spawned_s,
            on_phase=lambda name: emit({"event": "phase", "phase": name}),
        )
        clock.seconds["startup"] = clock.wall_s()
        channel = Channel(emit=emit, clock=clock, resume_fd=resume_fd)
        carry_out(request, channel, has_log=has_log)
    return 0


def carry_out(request: WorkerRequest, channel: Channel, *, has_log: bool) -> None:
    """Carry out a request; the channel's last event says how it ended, whatever happened."""
    status, reason = "ok", ""
    try:
        with channel.clock.phase("startup"):
            module = importlib.import_module(_JOBS[request.job])
        module.run_job(request, channel)
    except Exception as error:
        status, reason = _failure(error, has_log=has_log)
    channel.emit(
        {"event": "finished", "status": status, "reason": reason, "metrics": _metrics(channel)}
    )


def _failure(error: Exception, *, has_log: bool) -> tuple[str, str]:
    """Return the status and the reason of a job that an exception has ended."""
    if isinstance(error, UnsupportedError):
        return "skipped", str(error)
    if isinstance(error, BenchError):
        return "oom" if is_oom(error) else getattr(error, "status", "failed"), str(error)
    traceback.print_exception(error)
    lines = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()
    reason = lines[0]
    if any("Traceback (most recent call last)" in line for line in lines):
        # A process of a data loader has failed; its own message comes last.
        reason = f"{reason} {lines[-1]}"
    if is_oom(error):
        return "oom", f"{reason}; {OOM_REMEDY}"
    return "failed", f"{reason}; its traceback is in the log" if has_log else reason


def _metrics(channel: Channel) -> dict[str, Any]:
    """Return what was measured, with the seconds of each phase."""
    # Not at the top: NumPy starts its threads when it is imported, before they are confined.
    from benchharness.measure.meters import peak_rss_bytes

    clock, metrics = channel.clock, channel.metrics
    peak_bytes, wall_s = peak_rss_bytes(), clock.wall_s()
    return {
        "peak_host_bytes": peak_bytes,
        **metrics,
        **{f"{phase}_s": seconds for phase, seconds in clock.seconds.items()},
        **{name: value for name, value in metrics.items() if value is not None},
        "wall_s": wall_s,
        "other_s": clock.other_s(wall_s),
    }
