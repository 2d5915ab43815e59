"""A backend under examination, in a process of its own: a crash is a finding too.

Started as ``python -m benchharness.testing.examiner REQUEST EVENTS_FD``; writes an event a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import IO, Any

from benchharness.api import Backend, Execution, Setting
from benchharness.plugins import load_backend
from benchharness.subprocesses import python_environment
from benchharness.testing.checklist import BACKEND, Item, Result
from benchharness.testing.contract import BackendContract
from benchharness.testing.examination import Finding, examine, offered

_MODULE = "benchharness.testing.examiner"


class Examination:
    """The checks of the backend, each result as it comes.

    Attributes:
        refusals: Each kind of work with the backend's reason against it, empty where it is offered;
            known once the results have begun to come.
    """

    def __init__(self, name: str, *, options: Mapping[str, Setting], device: str = "cpu") -> None:
        self._request = json.dumps({"name": name, "options": dict(options), "device": device})
        self.refusals: dict[str, str] = {}

    def results(self) -> Iterator[Result]:
        """Carry out every check and yield how each clause is kept."""
        reader, writer = os.pipe()
        with (
            tempfile.TemporaryFile("w+b") as printed,
            os.fdopen(reader, encoding="utf-8") as events,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, self._request, str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=python_environment(),
                pass_fds=(writer,),
            )
            os.close(writer)
            try:
                yield from self._read(events, process, printed)
            finally:
                process.kill()
                process.wait()

    def _read(
        self, events: IO[str], process: subprocess.Popen[bytes], printed: IO[bytes]
    ) -> Iterator[Result]:
        open_items = list(BACKEND)
        for line in events:
            event = json.loads(line)
            if "kinds" in event:
                self.refusals = event["kinds"]
                continue
            findings = tuple(Finding(**found) for found in event["findings"])
            yield Result(item=open_items.pop(0), findings=findings)
        if open_items:
            yield _unfinished(open_items[0], process.wait(), printed)


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


def _unfinished(item: Item, code: int, printed: IO[bytes]) -> Result:
    """Return the result of a clause at which the process ended."""
    printed.seek(0)
    lines = printed.read().decode("utf-8", "replace").strip().splitlines()
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    last = f"; it printed last: {lines[-1].strip()}" if lines else ""
    reason = f"the process {how} in one of {', '.join(item.checks)}{last}"
    return Result(item=item, findings=(Finding(check=item.name, outcome="broken", reason=reason),))


def main(request: Mapping[str, Any], events: IO[str]) -> None:
    """Examine the requested backend and write each result."""

    def emit(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    backend = load_backend(request["name"], options=request["options"])
    execution = Execution(device=request["device"], threads=1)
    emit({"kinds": offered(backend, execution, is_tried=False)})
    for result in examined(backend, execution):
        emit({"item": result.item.name, "findings": [asdict(found) for found in result.findings]})
    # Last, so that a crash is one of its clause.
    emit({"kinds": offered(backend, execution, is_tried=True)})


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as pipe:
        main(json.loads(sys.argv[1]), pipe)
