"""The process in which one backend is probed, cell after cell; one import serves them all.

Started by the certifier as ``python -m benchharness.worker.prober REQUEST.json EVENTS_FD``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import BenchError
from benchharness.measure.clock import PhaseClock
from benchharness.plugins import load_backend
from benchharness.run.process.limits import die_with_parent, set_affinity
from benchharness.run.process.process_exit import exit_process
from benchharness.worker.probe_request import ProbeRequest
from benchharness.worker.request import TrialRequest

if TYPE_CHECKING:
    from benchharness.fairness.micro import Rules


def main(arguments: list[str]) -> int:
    """Probe every requested cell; the exit code is 0 when the last event was sent."""
    request_file, events_fd = Path(arguments[0]), int(arguments[1])
    die_with_parent(events_fd)
    request = ProbeRequest.read(request_file)
    set_affinity(request.cells[0].threads)
    with os.fdopen(events_fd, "w", encoding="utf-8") as pipe:

        def emit(event: Mapping[str, Any]) -> None:
            pipe.write(json.dumps(event) + "\n")
            pipe.flush()

        prober = Prober(is_reference=request.is_reference)
        for place, (cell, file) in enumerate(zip(request.cells, request.files, strict=True)):
            emit({"event": "probed", "place": place, "reason": prober.reason(cell, Path(file))})
        emit({"event": "finished", "status": "ok", "reason": "", "metrics": {}})
    return 0


class Prober:
    """Probes cells of one backend, which is imported with the first."""

    def __init__(self, *, is_reference: bool) -> None:
        self._is_reference = is_reference
        self._rules: Rules | None = None

    def reason(self, cell: TrialRequest, file: Path) -> str:
        """Probe one cell into a file and return why that failed; empty when it did not."""
        try:
            self._probe(cell, file)
        except BenchError as error:
            return str(error)
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or ["no message"]
            return f"{type(error).__name__}: {lines[0]}"
        return ""

    def _probe(self, cell: TrialRequest, file: Path) -> None:
        # Only here, so that a failing import is told like any other failure.
        from benchharness.fairness.micro import Rules
        from benchharness.worker.context import load_context
        from benchharness.worker.probe import CellProbe

        if self._rules is None:
            self._rules = Rules(load_backend(cell.plugin, options=cell.options))
        scene = load_context(
            cell,
            backend=self._rules.backend,
            clock=PhaseClock(started_s=cell.spawned_s),
            emit=lambda event: None,
            metrics={},
        )
        exam = CellProbe(scene=scene, rules=self._rules, is_reference=self._is_reference)
        partial = file.with_suffix(".partial")
        exam.probe().write(partial)
        partial.replace(file)


if __name__ == "__main__":
    exit_process(main(sys.argv[1:]))
