"""Both sides in one plan: every cell of A beside its counterpart of B, each under its own name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchharness.compare.targets import Side, invalid_targets
from benchharness.errors import SuiteError
from benchharness.model.cell import cell_label
from benchharness.run.requests import backend_plugin
from benchharness.suite.file import BackendTable
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import BottleneckSettings, StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPair:
    """A cell of A and the cell of B that it is held against.

    Attributes:
        backend: Of both; empty where the sides are backends.
        is_compared: False where it only trains heads for others.
    """

    ours: Cell
    theirs: Cell
    backend: str
    is_compared: bool = True

    @property
    def label(self) -> str:
        """Benchmark, point of its matrix, backend and, unless it is the equal one, track."""
        cell = self.ours
        return cell_label(cell.benchmark, cell.matrix, cell.track, self.backend)

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies it, as JSON knows it."""
        return {
            "cell": self.label,
            "benchmark": self.ours.benchmark,
            "matrix": dict(self.ours.matrix),
            "track": self.ours.track,
            "backends": [self.ours.backend, self.theirs.backend],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """A plan in which both sides are backends, and its couples.

    Attributes:
        alone: Benchmarks that only one of the sides runs, and that are left out.
    """

    plan: Plan
    couples: tuple[CellPair, ...]
    alone: tuple[str, ...]

    def settled(self, plan: Plan) -> ComparisonPlan:
        """Return it with the cells of its plan once data and weights have settled them."""
        keys = (cell.key for cell in self.plan.cells)
        cells = dict(zip(keys, plan.cells, strict=True))
        couples = tuple(
            replace(one, ours=cells[one.ours.key], theirs=cells[one.theirs.key])
            for one in self.couples
        )
        return replace(self, plan=plan, couples=couples)


def plan_comparison(
    plan: Plan, a: Side, b: Side, *, pairs: int, is_extracting: bool
) -> ComparisonPlan:
    """Return both sides in one plan.

    Args:
        plan: The suite as written, with the backends of both sides.
        pairs: So many trials of each cell are planned.
        is_extracting: Whether features are to be extracted anew in each trial.

    Raises:
        SuiteError: A change of settings is not understood, or no cell has a counterpart.
    """
    problems = [problem for side in (a, b) for problem in side.changes.problems(plan)]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)
    names = _names(plan, a, b)
    if is_extracting:
        plan = plan.map_settings(_without_stored_features)
    # A comparison has looks of its own.
    plan = plan.fixed(pairs)
    couples = tuple(_couples(plan, (a, b), names))
    if not any(couple.is_compared for couple in couples):
        raise invalid_targets(
            f"{a.label}, {b.label}",
            expected="a benchmark that both sides run",
            found="none",
            hint="`benchharness run SUITE --dry-run` shows which backend runs which",
        )
    tables = dict(plan.suite.backend)
    for side, own in zip((a, b), names, strict=True):
        tables |= {name: _table(plan, backend, side) for backend, name in own.items()}
    matched = {couple.ours.benchmark for couple in couples}
    alone = dict.fromkeys(c.benchmark for c in plan.cells if c.benchmark not in matched)
    return ComparisonPlan(
        plan=replace(
            plan,
            suite=plan.suite.model_copy(update={"backend": tables}),
            cells=tuple(cell for couple in couples for cell in (couple.ours, couple.theirs)),
        ),
        couples=couples,
        alone=tuple(alone),
    )


def _names(plan: Plan, a: Side, b: Side) -> tuple[dict[str, str], dict[str, str]]:
    """Return what each backend of A and of B is called here, by the name it has in the suite."""
    every = dict.fromkeys(cell.backend for cell in plan.cells)
    ours, theirs = (
        {
            name: f"{name} {side.suffix}".strip()
            for name in ([side.backend] if side.backend else every)
        }
        for side in (a, b)
    )
    if set(ours.values()) & set(theirs.values()):
        ours = {own: f"{name} A" for own, name in ours.items()}
        theirs = {own: f"{name} B" for own, name in theirs.items()}
    return ours, theirs


def _couples(
    plan: Plan, sides: tuple[Side, Side], names: tuple[Mapping[str, str], ...]
) -> Iterator[CellPair]:
    a, b = sides
    for cell in plan.cells:
        if a.backend not in (None, cell.backend):
            continue
        wanted = b.backend or cell.backend
        rivals = (one for one in plan.cells if one.group_key == cell.group_key)
        counterpart = next((one for one in rivals if one.backend == wanted), None)
        if counterpart is None:
            continue
        yield CellPair(
            ours=_cell(cell, a, names[0]),
            theirs=_cell(counterpart, b, names[1]),
            backend=cell.backend if wanted == cell.backend else "",
            is_compared=cell.benchmark not in plan.added,
        )


def _cell(cell: Cell, side: Side, names: Mapping[str, str]) -> Cell:
    settings = side.changes.apply(cell.settings)
    return replace(cell, backend=names[cell.backend], settings=settings)


def _without_stored_features(settings: StrategySettings) -> StrategySettings:
    if not isinstance(settings, BottleneckSettings):
        return settings
    return settings.model_copy(update={"reuse_features": False})


def _table(plan: Plan, backend: str, side: Side) -> BackendTable:
    plugin, options = backend_plugin(plan, backend)
    # Its interpreter stays what it is.
    table = plan.suite.backend.get(backend, BackendTable())
    changed = {"plugin": plugin, "options": {**options, **side.changes.options}}
    return table.model_copy(update=changed)
