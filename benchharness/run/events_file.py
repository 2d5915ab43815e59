"""Events of a run in a file beside what the terminal shows; an observer like any plugin's."""

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
    """Return what appends events to the file that $BENCHHARNESS_EVENTS names; None for no name.

    Raises:
        PluginError: The file cannot be written.
    """
    name = environment.get(VARIABLE)
    return EventsFile(expanded(name)) if name else None


class EventsFile:
    """A file of events, one JSON object a line, each on disk before the run goes on.

    Raises:
        PluginError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise PluginError(
                f"{VARIABLE}: {path}: expected to be able to write here, found: {unwritten(error)}"
            ) from error

    def __call__(self, event: Event) -> None:
        """Append an event."""
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()
