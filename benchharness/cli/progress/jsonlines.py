"""Progress for programs: every event as a JSON object on a line of standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from benchharness.cli.exits import exit_code, explanation
from benchharness.cli.progress.outlet import Outlet
from benchharness.results.record import without_nan
from benchharness.run.events import (
    Downloading,
    Event,
    OfTrial,
    Preparing,
    RunFinished,
    RunStarted,
    TrialFinished,
)
from benchharness.run.remaining import Remaining

_EVERY_S = 1.0


class JsonLines:
    """Prints events; the last is ``run_finished``, whatever happens.

    To the fields of an event it adds ``event`` (its kind), ``time`` (UTC, ISO 8601) and ``run``
    (the name of the run's folder; null for ``certify``). Events of a trial in flight also have
    ``remaining_s``, ``suite_remaining_s`` (null where they cannot be told) and
    ``suite_is_at_least`` (whether something of which nothing is known comes on top).

    Args:
        stream: Where to.
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        now: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._outlet = Outlet(stream)
        self._now = now
        self._today = today
        self._remaining = Remaining(now=now)
        self._run: str | None = None
        self._said_s: dict[str, float] = {}
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell of an end before its time."""
        if error is not None and not self._is_finished:
            self(RunFinished(exit_code=exit_code(error), errors=tuple(explanation(error))))

    def __call__(self, event: Event) -> None:
        """Print an event."""
        self._remaining.take(event)
        if isinstance(event, RunStarted) and event.folder:
            self._run = Path(event.folder).name
        if isinstance(event, Preparing | Downloading) and not self._is_time(event):
            return
        self._is_finished |= isinstance(event, RunFinished)
        fields = event.as_dict()
        head = {
            "event": fields.pop("event"),
            "time": self._today().isoformat(timespec="milliseconds"),
            "run": self._run,
        }
        told = without_nan(head | fields | self._estimates(event))
        self._outlet.line(json.dumps(told))

    def _estimates(self, event: Event) -> dict[str, Any]:
        if not isinstance(event, OfTrial) or isinstance(event, TrialFinished):
            return {}
        own, suite = self._remaining.trial(event.name), self._remaining.suite()
        return {
            "remaining_s": own.seconds if own and not own.is_at_least else None,
            "suite_remaining_s": suite.seconds if suite else None,
            "suite_is_at_least": suite is None or suite.is_at_least,
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
