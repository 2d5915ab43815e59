"""Observers that plugins add, told of a run beside whoever watches it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from benchharness.cli.errors import exit_code, explanation
from benchharness.plugins import broken, extensions, load_extension, title
from benchharness.progress.serialize import EventSerializer
from benchharness.run.events import Announced, Event, Observer, RunFinished, RunStarted

# What is called in a run without being asked for by name, and is told when it is left out.
_UNASKED = ("meters", "reports")


class WithObservers:
    """A watched run, and the observers of plugins: called after the watcher, with each event.

    An observer that raises is told no more, and the watcher hears why: what is recorded must not
    depend on who watches.

    Args:
        watching: What observes the run for the user.
    """

    def __init__(self, watching: AbstractContextManager[Observer]) -> None:
        self._watching = watching
        self._telling = EventSerializer()
        self._observers: dict[str, Any] = {}
        self._logged = _Logged(self)

    def __enter__(self) -> Self:
        self._watch = self._watching.__enter__()
        logging.getLogger("benchharness").addHandler(self._logged)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell of an end before its time."""
        logging.getLogger("benchharness").removeHandler(self._logged)
        if error is not None and not self._telling.is_finished:
            self._tell(RunFinished(exit_code=exit_code(error), errors=tuple(explanation(error))))
        self._watching.__exit__(kind, error, traceback)

    def __call__(self, event: Event) -> None:
        """Pass an event on to everyone."""
        self._watch(event)
        if isinstance(event, RunStarted):
            for line in self._begin():
                self._warn(line)
        self._tell(event)

    def _begin(self) -> Iterator[str]:
        """Load the observers; yield what is wrong with those, and others, that are left out."""
        yield from broken(*_UNASKED)
        for name, entry in extensions("observers").items():
            try:
                observer = load_extension("observers", name)()
            except Exception as error:
                yield str(error) if title(entry) in str(error) else f"{title(entry)}: {error}"
                continue
            if observer is not None:
                self._observers[name] = observer

    def _tell(self, event: Event) -> None:
        told = self._telling.tell(event)
        if told is None:
            return
        for name, observer in list(self._observers.items()):
            try:
                observer(told)
            except Exception as error:
                del self._observers[name]
                where = title(extensions("observers")[name])
                self._warn(f"{where}: {type(error).__name__}: {error}")

    def _warn(self, text: str) -> None:
        self._watch(Announced(level="warning", text=f"left out from here on: {text}"))


class _Logged(logging.Handler):
    """Warnings from where no observer is at hand: locks, folders."""

    def __init__(self, observe: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it as any other warning."""
        self._observe(Announced(level="warning", text=record.getMessage()))
