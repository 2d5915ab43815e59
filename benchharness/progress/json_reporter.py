"""Progress for programs: events as JSON objects, on standard output or for plugins' observers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from benchharness.exit_codes import exit_code, explanation
from benchharness.observers import require_usable
from benchharness.plugins import broken, extensions, load_extension, title
from benchharness.progress.plain import BrokenPipeSafeStream
from benchharness.progress.state import RunState
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


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EventSerializer:
    """Turns events into JSON objects.

    To the fields of an event it adds ``event`` (its kind), ``time`` (UTC, ISO 8601) and ``run``
    (the name of the run's folder; null for ``certify``). Events of a trial in flight also have
    ``remaining_s``, ``suite_remaining_s`` (null where unknown) and ``suite_is_at_least`` (whether
    something of unknown duration is still to come).

    Args:
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.
    """

    def __init__(self, *, now: Callable[[], float], today: Callable[[], datetime]) -> None:
        self._now = now
        self._today = today
        self._state = RunState(now=now)
        self._folder: Path | None = None
        self._last_s: dict[str, float] = {}
        self._is_finished = False

    def serialize(self, event: Event) -> dict[str, Any] | None:
        """Return the object of an event; None where the last of its kind is less than 1 s old."""
        self._state.take(event)
        if isinstance(event, RunStarted) and event.folder:
            self._folder = Path(event.folder)
        if isinstance(event, Preparing | Downloading) and not event.is_complete:
            if self._now() - self._last_s.get(event.kind, float("-inf")) < _EVERY_S:
                return None
            self._last_s[event.kind] = self._now()
        self._is_finished |= isinstance(event, RunFinished)
        fields = event.as_dict()
        serialized = {
            "event": fields.pop("event"),
            "time": self._today().isoformat(timespec="milliseconds"),
            "run": self._folder.name if self._folder else None,
            **fields,
        }
        if isinstance(event, OfTrial) and not isinstance(event, TrialFinished):
            trial, suite = self._state.left_of_trial(event.name), self._state.left()
            serialized |= {
                "remaining_s": trial.seconds if trial else None,
                "suite_remaining_s": suite.seconds if suite else None,
                "suite_is_at_least": suite is None or suite.is_lower_bound,
            }
        result: dict[str, Any] = without_nan(serialized)
        return result

    def end(self, error: BaseException) -> RunFinished | None:
        """Return the last event of a run that an error ends; None where the end has passed."""
        if self._is_finished:
            return None
        is_recorded = self._folder is not None and self._folder.is_dir()
        return RunFinished(
            exit_code=exit_code(error),
            folder=str(self._folder) if is_recorded else None,
            errors=tuple(explanation(error)),
        )


@contextmanager
def json_reporter(
    stream: TextIO,
    *,
    now: Callable[[], float] = time.monotonic,
    today: Callable[[], datetime] = _utc_now,
) -> Iterator[Observer]:
    """Print each event as a JSON object on a line; the last is always ``run_finished``.

    Args:
        now: Monotonic clock in seconds.
        today: Returns the time of day, with its zone.
    """
    output, serializer = BrokenPipeSafeStream(stream), EventSerializer(now=now, today=today)

    def observe(event: Event) -> None:
        if (serialized := serializer.serialize(event)) is not None:
            output.line(json.dumps(serialized))

    try:
        yield observe
    except BaseException as error:
        if end := serializer.end(error):
            observe(end)
        raise


@contextmanager
def with_observers(reporter: AbstractContextManager[Observer]) -> Iterator[Observer]:
    """Pass each event to a reporter, and after it to the observers of plugins.

    An observer that raises gets no more events, and the reporter a warning: what is recorded must
    not depend on who watches. Warnings that modules log, such as those of locks, are events too.

    Raises:
        SuiteError: A tracker is asked for that is unknown or not installed.
    """
    require_usable()
    serializer = EventSerializer(now=time.monotonic, today=_utc_now)
    observers: dict[str, Any] = {}

    def warn(problem: str) -> None:
        report(Announced(level="warning", text=f"disabled after an error: {problem}"))

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

    def notify(event: Event) -> None:
        serialized = serializer.serialize(event)
        for name, observer in list(observers.items()) if serialized is not None else ():
            try:
                observer(serialized)
            except Exception as error:
                del observers[name]
                where = title(extensions("observers")[name])
                warn(f"{where}: {type(error).__name__}: {error}")

    def observe(event: Event) -> None:
        report(event)
        if isinstance(event, RunStarted):
            load()
        notify(event)

    handler, logger = _LogHandler(observe), logging.getLogger("benchharness")
    with reporter as report:
        logger.addHandler(handler)
        try:
            yield observe
        except BaseException as error:
            if end := serializer.end(error):
                notify(end)
            raise
        finally:
            logger.removeHandler(handler)


class _LogHandler(logging.Handler):
    """Makes an event of each warning that is logged."""

    def __init__(self, observe: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        """Report it as any other warning."""
        self._observe(Announced(level="warning", text=record.getMessage()))
