"""The worker process: one trial, its events on a pipe, everything it prints in a log.

Started by the runner as ``python -m benchharness.worker.main REQUEST.json EVENTS_FD``, with
``TURNS_FD`` behind it where the trial takes turns with another.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchharness.errors import BenchError, UnsupportedError
from benchharness.measure.clock import PhaseClock
from benchharness.measure.meters import peak_rss_bytes
from benchharness.run.process.limits import die_with_parent, set_affinity
from benchharness.run.process.oom import REMEDY, is_oom
from benchharness.run.process.process_exit import exit_process
from benchharness.worker.request import TrialRequest


def main(arguments: list[str]) -> int:
    """Carry out the requested trial; the exit code is 0 when a final event was sent."""
    request_file, events_fd, *turns_fd = Path(arguments[0]), *map(int, arguments[1:])
    die_with_parent(events_fd)
    request = TrialRequest.read(request_file)
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
        emit(_outcome(request, clock=clock, emit=emit, turns_fd=next(iter(turns_fd), None)))
    return 0


def _outcome(
    request: TrialRequest,
    *,
    clock: PhaseClock,
    emit: Callable[[Mapping[str, Any]], None],
    turns_fd: int | None,
) -> dict[str, Any]:
    """Run the trial and return its final event, whatever happened."""
    with clock.phase("startup"):
        from benchharness.worker.barrier import EpochBarrier
        from benchharness.worker.training_loop import DivergedError
        from benchharness.worker.trial import run_trial

    turns = EpochBarrier(clock=clock, emit=emit, told=turns_fd)
    metrics: dict[str, Any] = {}
    try:
        run_trial(request, clock=clock, emit=emit, turns=turns, metrics=metrics)
        status, reason = "ok", ""
    except UnsupportedError as error:
        status, reason = "skipped", str(error)
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except BenchError as error:
        status, reason = "oom" if is_oom(error) else "failed", str(error)
    except Exception as error:
        traceback.print_exc()
        status, reason = _classify(error)
    metrics |= {f"{phase}_s": seconds for phase, seconds in clock.seconds.items()} | {
        name: value for name, value in metrics.items() if value is not None
    }
    metrics["wall_s"] = clock.wall_s()
    metrics["other_s"] = clock.other_s()
    metrics.setdefault("peak_host_bytes", peak_rss_bytes())
    return {"event": "finished", "status": status, "reason": reason, "metrics": metrics}


def _classify(error: Exception) -> tuple[str, str]:
    lines = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()
    told = lines[0]
    if any("Traceback (most recent call last)" in line for line in lines):
        # A loader's process has failed, and its own words come last.
        told = f"{told} {lines[-1]}"
    if is_oom(error):
        return "oom", f"{told}; {REMEDY}"
    return "failed", f"{told}; its traceback is in the log"


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
