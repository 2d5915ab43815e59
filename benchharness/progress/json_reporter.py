"""Progress for programs: events as JSON objects, on standard output or for plugins' observers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

from benchharness.exit_codes import exit_code, explanation
from benchharness.observers import require_usable
from benchharness.plugins import broken, extensions, load_extension, title
from benchharness.progress.plain import BrokenPipeSafeStream
from benchharness.progress.state import RunState
from benchharness.results.record import without_nan
from benchharness.run import events
from benchharness.run.events import Event, Observer

_EVERY_S = 1.0


class EventSerializer:
    """Turns events into JSON objects and sends them on; the last is always ``run_finished``.

    To the fields of an event it adds ``event`` (its kind), ``time`` (UTC, ISO 8601) and ``run``
    (the name of the run's folder; null for ``certify``). Events of a trial in flight also have
    ``remaining_s``, ``suite_remaining_s`` (null where unknown) and ``suite_is_at_least`` (whether
    something of unknown duration is still to come).

    A context that yields an observer: an error that leaves it is in the last event.

    Args:
        send: Called with each object.
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        *,
        now: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._send = send
        self._now = now
        self._today = today
        self._state = RunState(now=now)
        self._folder: Path | None = None
        self._last_s: dict[str, float] = {}
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or self._is_finished:
            return
        is_recorded = self._folder is not None and self._folder.is_dir()
        self(
            events.RunFinished(
                exit_code=exit_code(error),
                folder=str(self._folder) if is_recorded else None,
                errors=tuple(explanation(error)),
            )
        )

    def __call__(self, event: Event) -> None:
        """Send the object of an event, unless the last of its kind is less than 1 s old."""
        if (serialized := self.serialize(event)) is not None:
            self._send(serialized)

    def serialize(self, event: Event) -> dict[str, Any] | None:
        """Return the object of an event; None where the last of its kind is less than 1 s old."""
        self._state.take(event)
        if isinstance(event, events.RunStarted) and event.folder:
            self._folder = Path(event.folder)
        if isinstance(event, events.Preparing | events.Downloading) and not event.is_complete:
            if self._now() - self._last_s.get(event.kind, float("-inf")) < _EVERY_S:
                return None
            self._last_s[event.kind] = self._now()
        self._is_finished |= isinstance(event, events.RunFinished)
        fields = event.as_dict()
        serialized = {
            "event": fields.pop("event"),
            "time": self._today().isoformat(timespec="milliseconds"),
            "run": self._folder.name if self._folder else None,
            **fields,
        }
        if isinstance(event, events.OfTrial) and not isinstance(event, events.TrialFinished):
            trial, suite = self._state.left_of_trial(event.name), self._state.left()
            serialized |= {
                "remaining_s": trial.seconds if trial else None,
                "suite_remaining_s": suite.seconds if suite else None,
                "suite_is_at_least": suite is None or suite.is_lower_bound,
            }
        result: dict[str, Any] = without_nan(serialized)
        return result


def json_reporter(stream: TextIO, **clocks: Callable[[], Any]) -> EventSerializer:
    """Return what prints each event as a JSON object on a line; ``clocks`` as of the serializer."""
    output = BrokenPipeSafeStream(stream)
    return EventSerializer(lambda serialized: output.line(json.dumps(serialized)), **clocks)


@contextmanager
def with_observers(reporter: AbstractContextManager[Observer]) -> Iterator[Observer]:
    """Pass each event to a reporter, and after it to the observers of plugins.

    An observer that raises gets no more events, and the reporter a warning: what is recorded must
    not depend on who watches. Warnings that modules log, such as those of locks, are events too.

    Raises:
        SuiteError: A tracker is asked for that is unknown or not installed.
    """
    require_usable()
    observers: dict[str, Any] = {}

    def warn(problem: str) -> None:
        report(events.Announced(level="warning", text=f"disabled after an error: {problem}"))

    def load() -> None:
        # Extensions that a run calls without being asked for them by name.
        for problem in broken("meters", "reports"):
            warn(problem)
        for name, entry in extensions("observers").items():
            try:
                if (observer := load_extension("observers", name)()) is not None:
                    observers[name] = observer
            except Exception as error:
                warn(str(error) if title(entry) in str(error) else f"{title(entry)}: {error}")

    def send(serialized: dict[str, Any]) -> None:
        for name, observer in list(observers.items()):
            try:
                observer(serialized)
            except Exception as error:
                del observers[name]
                where = title(extensions("observers")[name])
                warn(f"{where}: {type(error).__name__}: {error}")

    def observe(event: Event) -> None:
        report(event)
        if isinstance(event, events.RunStarted):
            load()
        notify(event)

    notify = EventSerializer(send)
    handler, logger = _LogHandler(observe), logging.getLogger("benchharness")
    with reporter as report:
        logger.addHandler(handler)
        try:
            with notify:
                yield observe
        finally:
            logger.removeHandler(handler)


class _LogHandler(logging.Handler):
    """Makes an event of each warning that is logged."""

    def __init__(self, observe: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        """Report it as any other warning."""
        self._observe(events.Announced(level="warning", text=record.getMessage()))
