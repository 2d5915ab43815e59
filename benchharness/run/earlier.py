"""How long the trials of a plan took in the latest run of its suite: a first guess at the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchharness.errors import RunError
from benchharness.results.record import Record
from benchharness.results.store import runs_of
from benchharness.suite.plan import Cell, Plan

# Settings that decide most of a trial's seconds.
_DECISIVE = ("epochs", "image_size", "batch_size", "train_images", "test_images", "threads")


def previous_durations(results: Path, plan: Plan, *, device: str) -> dict[int, float]:
    """Return the median seconds of a cell's trials, by the cell's place in the plan.

    Cells that the latest run on this device did not carry out to the end are left out; so are
    all where there is no such run.
    """
    try:
        folder = runs_of(results / plan.suite.name)[-1]
        run, (records, _) = folder.read_run(), folder.records()
    except (IndexError, RunError, OSError):
        return {}
    if run.get("device") != device:
        return {}
    taken = {place: _seconds(cell, records) for place, cell in enumerate(plan.cells)}
    return {place: median(seconds) for place, seconds in taken.items() if seconds}


def _seconds(cell: Cell, records: list[Record]) -> list[float]:
    wanted = _identity(cell.as_dict())
    return [
        record["metrics"]["wall_s"]
        for record in records
        if _identity(record) == wanted and "wall_s" in record["metrics"]
    ]


def _identity(described: Mapping[str, Any]) -> tuple[Any, ...]:
    names = (described.get(key) for key in ("benchmark", "backend", "track", "matrix"))
    settings = described.get("settings", {})
    return *names, *(settings.get(key) for key in _DECISIVE)
