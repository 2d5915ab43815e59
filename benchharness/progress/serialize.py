"""Events as programs are told them: with time, run, and how long everything will still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness.results.record import without_nan
from benchharness.run.eta import EtaEstimator
from benchharness.run.events import (
    Downloading,
    Event,
    OfTrial,
    Preparing,
    RunFinished,
    RunStarted,
    TrialFinished,
)

_EVERY_S = 1.0


class EventSerializer:
    """Turns events into JSON objects.

    To the fields of an event it adds ``event`` (its kind), ``time`` (UTC, ISO 8601) and ``run``
    (the name of the run's folder; null for ``certify``). Events of a trial in flight also have
    ``remaining_s``, ``suite_remaining_s`` (null where they cannot be told) and
    ``suite_is_at_least`` (whether something of which nothing is known comes on top).

    Args:
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.

    Attributes:
        is_finished: Whether the last event has been told.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._today = today
        self._remaining = EtaEstimator(now=now)
        self._run: str | None = None
        self._said_s: dict[str, float] = {}
        self.is_finished = False

    def tell(self, event: Event) -> dict[str, Any] | None:
        """Return what is told of an event; None where the last of its kind was just now."""
        self._remaining.take(event)
        if isinstance(event, RunStarted) and event.folder:
            self._run = Path(event.folder).name
        if isinstance(event, Preparing | Downloading) and not self._is_time(event):
            return None
        self.is_finished |= isinstance(event, RunFinished)
        fields = event.as_dict()
        head = {
            "event": fields.pop("event"),
            "time": self._today().isoformat(timespec="milliseconds"),
            "run": self._run,
        }
        told: dict[str, Any] = without_nan(head | fields | self._estimates(event))
        return told

    def _estimates(self, event: Event) -> dict[str, Any]:
        if not isinstance(event, OfTrial) or isinstance(event, TrialFinished):
            return {}
        own, suite = self._remaining.trial(event.name), self._remaining.suite()
        return {
            "remaining_s": own.seconds if own and not own.is_lower_bound else None,
            "suite_remaining_s": suite.seconds if suite else None,
            "suite_is_at_least": suite is None or suite.is_lower_bound,
        }

    def _is_time(self, event: Preparing | Downloading) -> bool:
        now, said_s = self._now(), self._said_s.get(event.kind)
        if isinstance(event, Preparing) and event.done == event.count:
            return True
        if isinstance(event, Downloading) and event.done_bytes == event.count_bytes:
            return True
        if said_s is not None and now - said_s < _EVERY_S:
            return False
        self._said_s[event.kind] = now
        return True
