"""The hooks a plugin may implement, with the contract of each."""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from benchharness.api import Backend, Setting

hookspec = pluggy.HookspecMarker("benchharness")


@hookspec(firstresult=True)
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return this plugin's backend.

    Called once in each worker, before any data is read. Importing the framework here is expected;
    starting work on the device is not. The name of the entry point is the backend's name.

    Args:
        options: The suite's ``[backends.NAME] options``; empty where it states none. A plugin
            refuses an option it does not know.

    Raises:
        PluginError: The framework is missing or too old, or an option is unknown.
    """
    raise AssertionError("a specification is never called")
