"""Event file: an observer, like those of plugins, that appends events as JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from benchharness.api import Event, Observer, PluginError, hookimpl
from benchharness.files import expanded, unwritten

VARIABLE = "BENCHHARNESS_EVENTS"


@hookimpl
def benchharness_observer(environment: Mapping[str, str] = os.environ) -> Observer | None:
    """Return the observer that appends to the file in $BENCHHARNESS_EVENTS; None if unset.

    Raises:
        PluginError: The file cannot be written.
    """
    if not (name := environment.get(VARIABLE)):
        return None
    path = expanded(name)
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise PluginError(f"{VARIABLE}: cannot write {path}: {unwritten(error)}") from error

    def append(event: Event) -> None:
        file.write(json.dumps(event) + "\n")
        file.flush()

    return append
