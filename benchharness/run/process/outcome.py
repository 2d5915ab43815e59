"""How a trial ended, put together from what its worker told and what its parent saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchharness.measure.meters import Meters

# Phases that belong to an epoch; between two of those the worker tells none.
_OF_EPOCH = ("train", "feed", "evaluate")


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
        modules: File and version of the plugin's package and of its framework's, by name.
        ledger: What the worker says of the batches consumed; None where it came to no end.
        test_bits: Which test images are right, as ``benchharness.measure.accuracy.packed`` has it;
            None without a test.
        deviations: Settings that are not what the task had stated.
        phase: The one that it entered last; empty before the first.
        epochs_done: How many were trained, or fed.
        last_words: What its process printed last, where it did not end well.
        is_retryable: Whether machine or process failed rather than the trial: another attempt may
            go well.
        held_bytes: Device memory that was not given back, though its processes are gone.
        is_final: Whether the worker itself said how it ended.
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
    deviations: tuple[str, ...] = ()
    phase: str = ""
    epochs_done: int = 0
    last_words: tuple[str, ...] = ()
    is_retryable: bool = False
    held_bytes: int = 0
    is_final: bool = False

    def troubles(self) -> tuple[str, ...]:
        """Return what the trial did otherwise than the certificate supposes."""
        settings = tuple(f"settings ({text})" for text in self.deviations)
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
            "log_tail": list(self.last_words),
        }

    def take(self, event: Mapping[str, Any]) -> None:
        """Add what a worker's event tells."""
        kind = event["event"]
        if kind == "versions":
            self.versions = dict(event["versions"])
            # Workers of an older revision do not tell.
            self.modules = dict(event.get("modules", {}))
        elif kind == "settings":
            self.effective = dict(event["settings"])
            self.deviations = tuple(event["deviations"])
        elif kind == "ledger":
            self.ledger = {key: value for key, value in event.items() if key != "event"}
        elif kind == "tested":
            self.test_bits = event["bits"]
        elif kind == "phase":
            self.phase = event["phase"]
        elif kind == "epoch":
            apart = ("event", "blocks")
            self.epochs.append({key: value for key, value in event.items() if key not in apart})
            self.phase, self.epochs_done = "train", event["epoch"]
        elif kind == "blocks":
            self.epochs_done = event["epoch"]
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
