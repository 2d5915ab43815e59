"""Which trained head a trial starts from, where it starts from another benchmark's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchharness.results.record import Record
from benchharness.suite.plan import Cell, Plan, Trial
from benchharness.suite.settings import FineTuneSettings


def needs_pretrained_head(cell: Cell) -> bool:
    """Whether a cell starts from a head that another benchmark has trained."""
    return isinstance(cell.settings, FineTuneSettings) and cell.settings.head_from is not None


def head_name(cell: Cell) -> str:
    """Return the benchmark whose head a cell starts from."""
    assert isinstance(cell.settings, FineTuneSettings)
    return cell.settings.head_from or ""


def wanted(cells: Iterable[Cell]) -> frozenset[str]:
    """Return the benchmarks whose heads some of the cells start from."""
    return frozenset(head_name(cell) for cell in cells if needs_pretrained_head(cell))


def sources(plan: Plan, cell: Cell, *, own: bool) -> list[Cell]:
    """Return the cells one of which leaves the head that a cell starts from, the preferred first.

    All backends start from the same head, or they would not do the same work: that of the first
    backend of the suite that has left one. In the native track each starts from its own.

    Args:
        own: Whether each backend starts from its own in the equal track, too.
    """
    if not needs_pretrained_head(cell):
        return []
    found = [
        other
        for other in plan.cells
        if other.benchmark == head_name(cell) and other.track == cell.track
    ]
    if own or cell.track == "native":
        return [other for other in found if other.backend == cell.backend]
    in_suite_order = list(dict.fromkeys(one.backend for one in plan.cells))
    return sorted(found, key=lambda other: in_suite_order.index(other.backend))


def find_head_record(
    plan: Plan, trial: Trial, records: Sequence[Record], *, own: bool
) -> Record | None:
    """Return the record of the trial whose head this one starts from; None where there is none.

    Args:
        records: Of earlier trials.
        own: Whether each backend starts from its own in the equal track, too.
    """
    able = {
        record["backend"]: record
        for record in records
        if needs_pretrained_head(trial.cell)
        and record["benchmark"] == head_name(trial.cell)
        and record["track"] == trial.cell.track
        and record["trial"] == _head_trial(trial, records)
        and record["status"] == "ok"
    }
    preferred = (cell.backend for cell in sources(plan, trial.cell, own=own))
    return next((able[backend] for backend in preferred if backend in able), None)


def _head_trial(trial: Trial, records: Sequence[Record]) -> int:
    """Return which trial of the bottleneck serves; where it has fewer, they serve in turn."""
    name = head_name(trial.cell)
    count = max((record["trial"] for record in records if record["benchmark"] == name), default=1)
    return (trial.index - 1) % int(count) + 1
