"""Progress for programs: every event as a JSON object on a line of standard output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

from benchharness.cli.errors import exit_code, explanation
from benchharness.progress.serialize import EventSerializer
from benchharness.progress.stream import BrokenPipeSafeStream
from benchharness.run.events import Event, RunFinished


class JsonLines:
    """Prints events; the last is ``run_finished``, whatever happens.

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
        self._outlet = BrokenPipeSafeStream(stream)
        self._telling = EventSerializer(now=now, today=today)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell of an end before its time."""
        if error is not None and not self._telling.is_finished:
            self(RunFinished(exit_code=exit_code(error), errors=tuple(explanation(error))))

    def __call__(self, event: Event) -> None:
        """Print an event."""
        told = self._telling.tell(event)
        if told is not None:
            self._outlet.line(json.dumps(told))
