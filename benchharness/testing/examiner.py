"""Examination of a backend in a process of its own: a crash is a finding too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from benchharness.api import Backend, Execution, Setting
from benchharness.plugins import load_backend
from benchharness.run.process.exit import log_tail
from benchharness.run.process.worker_process import WorkerProcess
from benchharness.testing.checklist import BACKEND, Item, Result
from benchharness.testing.contract import BackendContract
from benchharness.testing.examination import Finding, examine, offered
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest, worker_command


class Examination:
    """The checks of the backend, each result as it comes.

    Attributes:
        refusals: Each kind of work with the backend's reason against it, empty where it is offered;
            known once the results have begun to come.
    """

    def __init__(self, name: str, *, options: Mapping[str, Setting], device: str = "cpu") -> None:
        self._request = WorkerRequest(
            job="check", plugin=name, options=options, device="gpu" if device == "gpu" else "cpu"
        )
        self.refusals: dict[str, str] = {}

    def results(self) -> Iterator[Result]:
        """Carry out every check and yield how each clause is kept."""
        open_items = list(BACKEND)
        with tempfile.TemporaryDirectory() as folder:
            request_file, log = Path(folder, "request.json"), Path(folder, "log")
            self._request.write(request_file)
            worker = WorkerProcess.start(
                worker_command(request_file), environment=os.environ, log=log
            )
            try:
                while not isinstance(event := worker.next_event(), str):
                    if event["event"] == "kinds":
                        self.refusals = event["kinds"]
                    elif event["event"] == "examined":
                        findings = tuple(Finding(**finding) for finding in event["findings"])
                        yield Result(item=open_items.pop(0), findings=findings)
            finally:
                worker.end(is_patient=not open_items)
            if open_items:
                yield _unfinished(open_items[0], worker.process.returncode, log)


def examined(backend: Backend, execution: Execution) -> Iterator[Result]:
    """Yield how each clause is kept by a backend, in this process."""
    contract = BackendContract()
    for item in BACKEND:
        findings = (
            finding
            for check in item.checks
            for finding in examine(contract, check, backend=backend, execution=execution)
        )
        yield Result(item=item, findings=tuple(findings))


def _unfinished(item: Item, code: int, log: Path) -> Result:
    """Return the result of a clause at which the process ended."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    last = "".join(f"; it printed last: {line}" for line in log_tail(log)[-1:])
    reason = f"the process {how} in one of {', '.join(item.checks)}{last}"
    return Result(item=item, findings=(Finding(check=item.name, outcome="broken", reason=reason),))


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Examine the requested backend and report each result."""
    backend = load_backend(request.plugin, options=request.options)
    execution = Execution(device=request.device, threads=1)
    channel.emit({"event": "kinds", "kinds": offered(backend, execution, is_tried=False)})
    for result in examined(backend, execution):
        findings = [asdict(finding) for finding in result.findings]
        channel.emit({"event": "examined", "item": result.item.name, "findings": findings})
    # Last, so that a crash is one of its clause.
    channel.emit({"event": "kinds", "kinds": offered(backend, execution, is_tried=True)})
