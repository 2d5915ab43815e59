"""Hooks that a plugin may implement, with the contract of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pluggy
from numpy.typing import NDArray

from benchharness.api import Backend, Dataset, Meter, Network, Observer, Setting

hookspec = pluggy.HookspecMarker("benchharness")


@hookspec(firstresult=True)
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return this plugin's backend.

    Called once in each worker, before any data is read. Importing the framework here is expected;
    starting work on the device is not. The name of the entry point is the backend's name.

    Args:
        options: The suite's ``[backend.NAME] options``; empty where it states none. A plugin
            refuses an option it does not know.

    Raises:
        PluginError: The framework is missing or too old, or an option is unknown.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_read_weights(
    path: Path, network: Network
) -> Mapping[str, NDArray[np.float32]] | None:
    """Return the weights in a file of the framework's own format; None for any other file.

    Optional. Called once for each file, in a process of its own; importing the framework here is
    expected. What the file holds beyond the network, such as a classifier, is left out. Nothing
    that comes from the file may be executed: of pickles, arrays alone are loaded.

    Args:
        path: The file, whose digest is that of the one that was published.
        network: Whose weights they are.

    Returns:
        An array for each of ``network.parameters()``, by their names and in their layout.

    Raises:
        PluginError: The framework is missing, or the file holds another network.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what waits until the framework's device has finished all that it was given.

    Optional. Called in a process of the user's own, whose framework may be imported and in use:
    nothing may be changed about it. The pytest fixture ``benchharness`` times steps with it.

    Args:
        device: ``cpu`` or ``cuda:N``, as the driver counts.

    Raises:
        PluginError: The framework is missing.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_dataset() -> Dataset:
    """Return a dataset that suites may name as their source.

    Entry points of the group ``benchharness.datasets``; the name of the entry point is the name of
    the dataset.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_meter(pid: int, device: str) -> Meter | None:
    """Return what watches a trial's worker; None where there is nothing to measure here.

    Entry points of the group ``benchharness.meters``. Called in the process that runs the suite,
    when the worker has started.

    Args:
        pid: Of the worker.
        device: ``cpu`` or ``cuda:N``, as the driver counts.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_report(
    run: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    certificates: Mapping[str, Any] | None,
) -> Mapping[str, str | bytes]:
    """Return files to be written into a run's folder, by name; none to write none.

    Entry points of the group ``benchharness.reports``. Called when a run is over, and by
    ``benchharness report``.

    Args:
        run: As in run.json.
        records: The record of each trial, as in records.jsonl.
        certificates: As in certificate.json; empty where nothing was proven, None where that cannot
            be read.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_observer() -> Observer | None:
    """Return what is called with every event of a run; None to watch nothing this time.

    Entry points of the group ``benchharness.observers``. Events are those that ``--json`` prints,
    among them ``trial_started`` and ``trial_finished``. An observer that raises is called no more,
    and the run goes on.
    """
    raise AssertionError("a specification is never called")


@hookspec(firstresult=True)
def benchharness_command() -> Any:
    """Return a command for ``benchharness``, a ``click.Command``.

    Entry points of the group ``benchharness.commands``; the name of the entry point is the name of
    the command, and ``benchharness --help`` tells which distribution adds it.
    """
    raise AssertionError("a specification is never called")
