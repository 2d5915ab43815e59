"""Progress for programs: events as JSON objects, on standard output or for plugins' observers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from benchharness.cli.errors import exit_code, explanation
from benchharness.plugins import broken, extensions, load_extension, title
from benchharness.progress.eta import EtaEstimator
from benchharness.progress.text import BrokenPipeSafeStream
from benchharness.results.record import without_nan
from benchharness.run.events import (
    Announced,
    Downloading,
    Event,
    Observer,
    OfTrial,
    Preparing,
    RunFinished,
    RunStarted,
    TrialFinished,
)

_EVERY_S = 1.0
# Extensions that a run calls without being asked for them by name.
_AUTOMATIC = ("meters", "reports")


class EventSerializer:
    """Turns events into JSON objects.

    To the fields of an event it adds ``event`` (its kind), ``time`` (UTC, ISO 8601) and ``run``
    (the name of the run's folder; null for ``certify``). Events of a trial in flight also have
    ``remaining_s``, ``suite_remaining_s`` (null where unknown) and ``suite_is_at_least`` (whether
    something of unknown duration is still to come).

    Args:
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.

    Attributes:
        is_finished: Whether the last event has passed.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self._today = today
        self._eta = EtaEstimator(now=now)
        self._run: str | None = None
        self._last_s: dict[str, float] = {}
        self.is_finished = False

    def serialize(self, event: Event) -> dict[str, Any] | None:
        """Return the object of an event; None where the last of its kind is less than 1 s old."""
        self._eta.take(event)
        if isinstance(event, RunStarted) and event.folder:
            self._run = Path(event.folder).name
        if isinstance(event, Preparing | Downloading) and not self._is_due(event):
            return None
        self.is_finished |= isinstance(event, RunFinished)
        fields = event.as_dict()
        head = {
            "event": fields.pop("event"),
            "time": self._today().isoformat(timespec="milliseconds"),
            "run": self._run,
        }
        serialized: dict[str, Any] = without_nan(head | fields | self._time_left(event))
        return serialized

    def end(self, error: BaseException | None) -> RunFinished | None:
        """Return the last event of a run that an error ends; None where the end has passed."""
        if error is None or self.is_finished:
            return None
        return RunFinished(exit_code=exit_code(error), errors=tuple(explanation(error)))

    def _time_left(self, event: Event) -> dict[str, Any]:
        if not isinstance(event, OfTrial) or isinstance(event, TrialFinished):
            return {}
        trial, suite = self._eta.trial(event.name), self._eta.suite()
        return {
            "remaining_s": trial.seconds if trial else None,
            "suite_remaining_s": suite.seconds if suite else None,
            "suite_is_at_least": suite is None or suite.is_lower_bound,
        }

    def _is_due(self, event: Preparing | Downloading) -> bool:
        if event.is_complete:
            return True
        now, last_s = self._now(), self._last_s.get(event.kind)
        if last_s is not None and now - last_s < _EVERY_S:
            return False
        self._last_s[event.kind] = now
        return True


class JsonReporter:
    """Prints each event as a JSON object on a line; the last is always ``run_finished``.

    Args:
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
        self._stream = BrokenPipeSafeStream(stream)
        self._serializer = EventSerializer(now=now, today=today)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Print the end of a run that an error ends."""
        if end := self._serializer.end(error):
            self(end)

    def __call__(self, event: Event) -> None:
        """Print an event."""
        if (serialized := self._serializer.serialize(event)) is not None:
            self._stream.line(json.dumps(serialized))


class WithObservers:
    """A reporter and the observers of plugins, which get each event after it.

    An observer that raises gets no more events, and the reporter a warning: what is recorded must
    not depend on who watches.
    """

    def __init__(self, reporter: AbstractContextManager[Observer]) -> None:
        self._reporter = reporter
        self._serializer = EventSerializer()
        self._observers: dict[str, Any] = {}
        self._log_handler = _LogHandler(self)

    def __enter__(self) -> Self:
        self._report = self._reporter.__enter__()
        logging.getLogger("benchharness").addHandler(self._log_handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Notify the observers of a run that an error ends."""
        logging.getLogger("benchharness").removeHandler(self._log_handler)
        if end := self._serializer.end(error):
            self._notify(end)
        self._reporter.__exit__(kind, error, traceback)

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self._report(event)
        if isinstance(event, RunStarted):
            for problem in self._load():
                self._warn(problem)
        self._notify(event)

    def _load(self) -> Iterator[str]:
        """Load the observers; yield what is wrong with those, and others, that are disabled."""
        yield from broken(*_AUTOMATIC)
        for name, entry in extensions("observers").items():
            try:
                observer = load_extension("observers", name)()
            except Exception as error:
                yield str(error) if title(entry) in str(error) else f"{title(entry)}: {error}"
                continue
            if observer is not None:
                self._observers[name] = observer

    def _notify(self, event: Event) -> None:
        serialized = self._serializer.serialize(event)
        if serialized is None:
            return
        for name, observer in list(self._observers.items()):
            try:
                observer(serialized)
            except Exception as error:
                del self._observers[name]
                where = title(extensions("observers")[name])
                self._warn(f"{where}: {type(error).__name__}: {error}")

    def _warn(self, problem: str) -> None:
        self._report(Announced(level="warning", text=f"disabled after an error: {problem}"))


class _LogHandler(logging.Handler):
    """Warnings of modules that know no observer, such as locks."""

    def __init__(self, observe: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        """Report it as any other warning."""
        self._observe(Announced(level="warning", text=record.getMessage()))
