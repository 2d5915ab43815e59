"""Carrying out one trial in a process of its own, and seeing how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from benchharness.measure.clock import now_s
from benchharness.measure.meters import Meters, base_bytes, make_meters
from benchharness.measure.nvml import open_gpu
from benchharness.run.checkup.gauge_request import GaugeRequest
from benchharness.run.proof.probe_request import ProbeRequest
from benchharness.run.request import TrialRequest

OnEvent = Callable[[Mapping[str, Any]], None]
_LOG_LINES = 3


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: ``ok``, ``failed``, ``timeout``, ``oom``, ``diverged`` or ``skipped``.
        reason: Why it is not ok.
        metrics: Columns that became known.
        epochs: One row each.
        blocks: Epoch, steps and seconds of each stretch of steps that was timed.
        effective: Settings that the backend reports.
        versions: Of the framework.
        ledger: What the worker says of the batches consumed; None where it came to no end.
        deviations: Settings that are not what the task had stated.
    """

    status: str = "failed"
    reason: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[tuple[int, int, float]] = field(default_factory=list)
    effective: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ledger: dict[str, Any] | None = None
    deviations: tuple[str, ...] = ()
    is_final: bool = False

    def troubles(self) -> tuple[str, ...]:
        """Return what the trial did otherwise than the certificate supposes."""
        settings = tuple(f"settings ({text})" for text in self.deviations)
        if self.ledger is None or self.ledger["verdict"] == "as planned":
            return settings
        return (*settings, f"ledger ({self.ledger['verdict']})")

    def take(self, event: Mapping[str, Any]) -> None:
        """Add what a worker's event tells."""
        kind = event["event"]
        if kind == "versions":
            self.versions = dict(event["versions"])
        elif kind == "settings":
            self.effective = dict(event["settings"])
            self.deviations = tuple(event["deviations"])
        elif kind == "ledger":
            self.ledger = {key: value for key, value in event.items() if key != "event"}
        elif kind == "epoch":
            apart = ("event", "blocks")
            self.epochs.append({key: value for key, value in event.items() if key not in apart})
        elif kind == "finished":
            self.status, self.reason = event["status"], event["reason"]
            self.metrics = dict(event["metrics"])
            self.is_final = True
        self.blocks += [
            (event["epoch"], steps, seconds) for steps, seconds in event.get("blocks", ())
        ]

    def end(self, *, wall_s: float, meters: Meters) -> None:
        """Add what only the worker's parent sees.

        Args:
            wall_s: From starting the process to its end.
        """
        own = self.metrics
        seen = meters.metrics()
        peak_bytes = max(own.get("peak_host_bytes", 0), seen.pop("peak_host_bytes", 0))
        if "wall_s" in own:
            # The worker's own reading ends where it sends its last event.
            own["teardown_s"] = wall_s - own["wall_s"]
            own["wall_s"] = wall_s
        if peak_bytes:
            own["peak_host_bytes"] = peak_bytes
        own |= seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExecutor:
    """Runs trials on this machine, one after the other.

    Attributes:
        environment: Of the workers.
        gpu_index: Of the GPU that they see, as the driver counts; None for none.
        timeout_s: Longest a trial may take; None for no limit.
        python: The workers' interpreter.
        code: Tells the code that its workers import; empty for what this process would import.
    """

    environment: Mapping[str, str]
    gpu_index: int | None = None
    timeout_s: float | None = None
    python: str = sys.executable
    code: str = ""

    def run(
        self,
        request: TrialRequest | ProbeRequest | GaugeRequest,
        *,
        request_file: Path,
        log: Path,
        on_event: OnEvent,
    ) -> Outcome:
        """Carry out one trial and return how it ended; never raises for what a worker does.

        Args:
            request_file: Where to write the request.
            log: Takes everything the worker prints.
            on_event: Told of each event as it comes.
        """
        gpu = None if self.gpu_index is None else open_gpu(self.gpu_index)
        used_bytes = base_bytes(gpu)
        request = replace(request, spawned_s=now_s())
        request.write(request_file)
        worker, reader = self._start(request.program, request_file, log)
        outcome = Outcome()
        meters = make_meters(worker.pid, gpu=gpu, base_bytes=used_bytes)

        def take(event: Mapping[str, Any]) -> None:
            meters.take(event)
            outcome.take(event)
            on_event(event)

        with os.fdopen(reader, "rb") as events, meters:
            try:
                is_late = not self._listen(events, take)
            finally:
                # Also when the user interrupts: nothing of ours outlives us.
                _end(worker, patient=outcome.is_final)
                wall_s = now_s() - request.spawned_s
        outcome.end(wall_s=wall_s, meters=meters)
        if is_late:
            outcome.status = "timeout"
            outcome.reason = f"still running after the {self.timeout_s:g} s that it was given"
        elif not outcome.is_final:
            outcome.reason = f"{_ending(worker.returncode)}; {_last_words(log)}"
        return outcome

    def _start(
        self, program: str, request_file: Path, log: Path
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Start a worker; return it, and the descriptor from which its events are read."""
        reader, writer = os.pipe()
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [self.python, "-m", program, str(request_file), str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                pass_fds=(writer,),
                # A group of its own, so that it can be ended with all its children.
                start_new_session=True,
            )
        os.close(writer)
        return worker, reader

    def _listen(self, events: IO[bytes], take: OnEvent) -> bool:
        """Take events until the worker closes its end; False when its time ran out first."""
        deadline_s = None if self.timeout_s is None else now_s() + self.timeout_s
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(events, selectors.EVENT_READ)
            while True:
                left_s = None if deadline_s is None else deadline_s - now_s()
                if left_s is not None and left_s <= 0:
                    return False
                if not selector.select(left_s):
                    continue
                chunk = os.read(events.fileno(), 65536)
                if not chunk:
                    return True
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    take(json.loads(line))


def _end(worker: subprocess.Popen[bytes], *, patient: bool) -> None:
    """Wait for a worker that has finished, end one that has not; its children go with it."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=30 if patient else 1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _ending(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}"
    return f"the worker ended with exit code {code} before it had finished"


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    words = [line.strip() for line in lines if line.strip()][-_LOG_LINES:]
    return "it printed nothing" if not words else f"it printed last: {' / '.join(words)}"
