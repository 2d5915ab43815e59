"""End of a worker: its outcome, and the reason where it died without giving one."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchharness.measure.meters import Meters
from benchharness.worker.process import OOM_REMEDY, mentions_oom

LOG_LINES = 3
# A log may be large, and only its end is of interest.
_TAIL_BYTES = 16_384
# Phases that belong to an epoch; between two of those the worker reports none.
_OF_EPOCH = ("train", "feed", "evaluate")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Result of a worker, from its events and from what its parent saw.

    Attributes:
        status: ``ok``, ``failed``, ``timeout``, ``oom``, ``diverged`` or ``skipped``.
        blocks: Epoch, steps and seconds of each stretch of steps that was timed.
        effective: Settings that the backend reports.
        modules: File and version of the plugin's package and of its framework's, by name.
        test_bits: Which test images are right, as ``benchharness.measure.accuracy.packed`` has it.
        setting_deviations: Settings that are not what the task had stated.
        phase: The one that it entered last; empty before the first.
        is_retryable: Whether machine or process failed rather than the trial.
        unreleased_device_bytes: Device memory still held although its processes are gone.
        is_final: Whether the worker itself reported how it ended.
    """

    status: str = "failed"
    reason: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[tuple[int, int, float]] = field(default_factory=list)
    effective: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    modules: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] | None = None
    test_bits: str | None = None
    setting_deviations: tuple[str, ...] = ()
    phase: str = ""
    epochs_done: int = 0
    log_tail: tuple[str, ...] = ()
    is_retryable: bool = False
    unreleased_device_bytes: int = 0
    is_final: bool = False

    def deviations(self) -> tuple[str, ...]:
        """Return what the trial did otherwise than the certificate supposes."""
        verdict = "as planned" if self.ledger is None else self.ledger["verdict"]
        ledger = () if verdict == "as planned" else (f"ledger ({verdict})",)
        return (*(f"settings ({text})" for text in self.setting_deviations), *ledger)

    def failure(self, *, epochs: int) -> dict[str, Any] | None:
        """Return where a trial of so many epochs failed, and its log's end; None if it did not."""
        if self.status in ("ok", "skipped"):
            return None
        is_in_epoch = self.phase in _OF_EPOCH and self.epochs_done < epochs
        return {
            "phase": self.phase or None,
            "epoch": self.epochs_done + 1 if is_in_epoch else None,
            "log_tail": list(self.log_tail),
        }

    def add(self, event: Mapping[str, Any]) -> None:
        """Add a worker's event."""
        match event["event"]:
            case "versions":
                self.versions = dict(event["versions"])
                self.modules = dict(event.get("modules", {}))
            case "settings":
                self.effective = dict(event["settings"])
                self.setting_deviations = tuple(event["deviations"])
            case "ledger":
                self.ledger = {key: value for key, value in event.items() if key != "event"}
            case "tested":
                self.test_bits = event["bits"]
            case "phase":
                self.phase = event["phase"]
            case "epoch":
                row = {key: value for key, value in event.items() if key not in ("event", "blocks")}
                self.epochs.append(row)
                self.phase, self.epochs_done = "train", event["epoch"]
            case "blocks":
                self.epochs_done = event["epoch"]
            case "finished":
                self.status, self.reason = event["status"], event["reason"]
                self.metrics = dict(event["metrics"])
                self.is_final = True
        self.blocks += [
            (event["epoch"], steps, seconds) for steps, seconds in event.get("blocks", ())
        ]

    def end(self, *, wall_s: float, meters: Meters) -> None:
        """Add what only the worker's parent sees: seconds from its start to its end, and meters."""
        metered = meters.metrics()
        peak_bytes = max(self.metrics.get("peak_host_bytes", 0), metered.pop("peak_host_bytes", 0))
        if "wall_s" in self.metrics:
            # The worker's own reading ends where it sends its last event.
            self.metrics["teardown_s"] = wall_s - self.metrics["wall_s"]
            self.metrics["wall_s"] = wall_s
        if peak_bytes:
            self.metrics["peak_host_bytes"] = peak_bytes
        self.metrics |= metered


def diagnose_exit(code: int, log_tail: tuple[str, ...], *, oom_kills: int) -> tuple[str, str]:
    """Return the status of a worker that died, ``failed`` or ``oom``, and the reason on one line.

    The code is negative for a signal; ``oom_kills`` are those of the kernel while it ran.
    """
    status = "failed"
    if code < 0:
        cause = f"the worker was ended by {_signal_name(-code)}"
    else:
        cause = f"the worker ended with exit code {code} before it had finished"
    if code == -signal.SIGKILL and oom_kills:
        status = "oom"
        cause = "the kernel ended the worker by SIGKILL: the host's memory ran out"
        remedy = f"{OOM_REMEDY}, or close other programs"
    elif any(map(mentions_oom, log_tail)):
        status, cause, remedy = "oom", f"{cause}: memory ran out", OOM_REMEDY
    elif code in (-signal.SIGKILL, -signal.SIGTERM):
        remedy = "killed by a user or a resource limit; fix that and retry"
    elif code < 0:
        remedy = "native code of the framework or of a library crashed; try another version of it"
    else:
        remedy = "see its log"
    printed = f"it printed last: {' / '.join(log_tail)}" if log_tail else "it printed nothing"
    return status, f"{cause}; {printed}; {remedy}"


def log_tail(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that are not blank; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(lines[-LOG_LINES:])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have no name.
        return f"signal {number}"
