"""One trial inside its worker: from a request to measurements."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

from benchharness import __version__
from benchharness.measure.clock import PhaseClock
from benchharness.plugins import find, load_backend
from benchharness.worker.barrier import EpochBarrier
from benchharness.worker.context import Emit, load_context
from benchharness.worker.request import TrialRequest
from benchharness.worker.strategies import carry_out


def run_trial(
    request: TrialRequest,
    *,
    clock: PhaseClock,
    emit: Emit,
    turns: EpochBarrier,
    metrics: dict[str, Any],
) -> None:
    """Carry out one trial.

    Args:
        request: What to do.
        clock: Started where the runner spawned this process.
        emit: Takes events for the runner: versions, files, effective settings, each epoch.
        turns: Waited for before each epoch.
        metrics: Takes each column of the result as it becomes known, so that a trial that fails
            leaves what it had.

    Raises:
        UnsupportedError: The backend cannot honour a setting.
        DivergedError: The loss is no longer a number.
        BenchError: Data, weights or plugin are not what they should be.
    """
    with clock.phase("import"):
        backend = load_backend(request.plugin, options=request.options)
    versions = {**backend.versions(), "python": platform.python_version()}
    modules = _modules(find(request.plugin), versions)
    emit({"event": "versions", "versions": versions, "modules": modules})
    with clock.phase("data"):
        scene = load_context(request, backend=backend, clock=clock, emit=emit, metrics=metrics)
    carry_out(scene, turns)


def _modules(entry: EntryPoint, versions: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return version and file of what is imported of the core, the plugin and its framework."""
    plugin = entry.module.partition(".")[0]
    release = entry.dist.version if entry.dist else ""
    known = {"benchharness": __version__, plugin: release, **versions}
    files = {
        name: getattr(sys.modules.get(name.replace("-", "_")), "__file__", None) for name in known
    }
    return {name: {"version": known[name], "file": file} for name, file in files.items() if file}
