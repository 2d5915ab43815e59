"""Event file: an observer, like those of plugins, that appends events as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from benchharness.api import Event, Observer, PluginError, hookimpl
from benchharness.files import expanded, unwritten

VARIABLE = "BENCHHARNESS_EVENTS"


@hookimpl
def benchharness_observer(environment: Mapping[str, str] = os.environ) -> Observer | None:
    """Return the observer that appends to the file in $BENCHHARNESS_EVENTS; None if unset.

    Raises:
        PluginError: The file cannot be written.
    """
    name = environment.get(VARIABLE)
    return EventsFile(expanded(name)) if name else None


class EventsFile:
    """A file of events, one JSON object per line, flushed after each.

    Raises:
        PluginError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise PluginError(f"{VARIABLE}: cannot write {path}: {unwritten(error)}") from error

    def __call__(self, event: Event) -> None:
        """Append an event."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()
