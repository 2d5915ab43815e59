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
        reason: Why it is not ok.
        metrics: Columns that became known.
        epochs: One row each.
        blocks: Epoch, steps and seconds of each stretch of steps that was timed.
        effective: Settings that the backend reports.
        versions: Of the framework.
        modules: File and version of the plugin's package and of its framework's, by name.
        ledger: The worker's verdict on the batches consumed; None where it did not get there.
        test_bits: Which test images are right, as ``benchharness.measure.accuracy.packed`` has it;
            None without a test.
        setting_deviations: Settings that are not what the task had stated.
        phase: The one that it entered last; empty before the first.
        epochs_done: How many were trained, or fed.
        log_tail: What its process printed last, where it did not end well.
        is_retryable: Whether machine or process failed rather than the trial: another attempt may
            go well.
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
        settings = tuple(f"settings ({text})" for text in self.setting_deviations)
        if self.ledger is None or self.ledger["verdict"] == "as planned":
            return settings
        return (*settings, f"ledger ({self.ledger['verdict']})")

    def failure(self, *, epochs: int) -> dict[str, Any] | None:
        """Return where the trial failed and what its process printed last; None where it did not.

        Args:
            epochs: How many it was to train, or to feed.
        """
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
        """Add what only the worker's parent sees.

        Args:
            wall_s: From starting the process to its end.
        """
        metered = meters.metrics()
        peak_bytes = max(self.metrics.get("peak_host_bytes", 0), metered.pop("peak_host_bytes", 0))
        if "wall_s" in self.metrics:
            # The worker's own reading ends where it sends its last event.
            self.metrics["teardown_s"] = wall_s - self.metrics["wall_s"]
            self.metrics["wall_s"] = wall_s
        if peak_bytes:
            self.metrics["peak_host_bytes"] = peak_bytes
        self.metrics |= metered


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitReason:
    """Why a worker died.

    Attributes:
        status: ``failed`` or ``oom``.
        cause: In words.
        remedy: What to try.
    """

    status: str
    cause: str
    remedy: str

    def sentence(self, log_tail: tuple[str, ...]) -> str:
        """Return all of it on one line, with what the worker printed last."""
        printed = f"it printed last: {' / '.join(log_tail)}" if log_tail else "it printed nothing"
        return f"{self.cause}; {printed}; {self.remedy}"


def diagnose_exit(code: int, log_tail: tuple[str, ...], *, oom_kills: int) -> ExitReason:
    """Return why a worker died.

    Args:
        code: As ``subprocess`` has it: negative for a signal.
        log_tail: What it printed last.
        oom_kills: Processes that the kernel has killed for lack of memory while it ran.
    """
    if code == -signal.SIGKILL and oom_kills:
        return ExitReason(
            status="oom",
            cause="the kernel ended the worker by SIGKILL: the host's memory ran out",
            remedy=f"{OOM_REMEDY}, or close other programs",
        )
    if code < 0:
        cause = f"the worker was ended by {_signal_name(-code)}"
    else:
        cause = f"the worker ended with exit code {code} before it had finished"
    if any(mentions_oom(line) for line in log_tail):
        return ExitReason(status="oom", cause=f"{cause}: memory ran out", remedy=OOM_REMEDY)
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        remedy = "killed by a user or a resource limit; fix that and retry"
    elif code < 0:
        remedy = "native code of the framework or of a library crashed; try another version of it"
    else:
        remedy = "see its log"
    return ExitReason(status="failed", cause=cause, remedy=remedy)


def log_tail(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that are not blank."""
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
