"""Plan of a comparison: every cell of A beside its counterpart of B."""

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
    """A cell of A and its counterpart of B.

    Attributes:
        backend: Of both; empty if the sides are backends.
        is_compared: False if it only trains heads for other cells.
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
    """Plan in which the sides are backends, and the pairs of its cells.

    Attributes:
        unmatched: Benchmarks that only one side runs; they are skipped.
    """

    plan: Plan
    cells: tuple[CellPair, ...]
    unmatched: tuple[str, ...]

    def with_plan(self, plan: Plan) -> ComparisonPlan:
        """Return it with the settings that data and weights have given to its plan."""
        keys = (cell.key for cell in self.plan.cells)
        cells = dict(zip(keys, plan.cells, strict=True))
        pairs = tuple(
            replace(pair, ours=cells[pair.ours.key], theirs=cells[pair.theirs.key])
            for pair in self.cells
        )
        return replace(self, plan=plan, cells=pairs)


def plan_comparison(
    plan: Plan, a: Side, b: Side, *, pairs: int, is_extracting: bool
) -> ComparisonPlan:
    """Return both sides in one plan.

    Args:
        plan: The suite as written, with the backends of both sides.
        pairs: So many trials of each cell are planned.
        is_extracting: Whether each trial extracts its features again.

    Raises:
        SuiteError: An override is not understood, or no cell has a counterpart.
    """
    problems = [problem for side in (a, b) for problem in side.overrides.problems(plan)]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)
    names = _backend_names(plan, a, b)
    if is_extracting:
        plan = plan.map_settings(_without_stored_features)
    # A comparison has its own looks.
    plan = plan.fixed(pairs)
    cells = tuple(_cell_pairs(plan, (a, b), names))
    if not any(pair.is_compared for pair in cells):
        raise invalid_targets(
            f"{a.label}, {b.label}",
            expected="a benchmark that both sides run",
            found="none",
            hint="`benchharness run SUITE --dry-run` shows which backend runs which",
        )
    tables = dict(plan.suite.backend)
    for side, renamed in zip((a, b), names, strict=True):
        for backend, name in renamed.items():
            plugin, options = backend_plugin(plan, backend)
            # Its interpreter stays what it is.
            table = plan.suite.backend.get(backend, BackendTable())
            update = {"plugin": plugin, "options": {**options, **side.overrides.options}}
            tables[name] = table.model_copy(update=update)
    matched = {pair.ours.benchmark for pair in cells}
    unmatched = dict.fromkeys(c.benchmark for c in plan.cells if c.benchmark not in matched)
    return ComparisonPlan(
        plan=replace(
            plan,
            suite=plan.suite.model_copy(update={"backend": tables}),
            cells=tuple(cell for pair in cells for cell in (pair.ours, pair.theirs)),
        ),
        cells=cells,
        unmatched=tuple(unmatched),
    )


def _backend_names(plan: Plan, a: Side, b: Side) -> tuple[dict[str, str], dict[str, str]]:
    """Return the name of each backend on A and on B, by its name in the suite."""
    every = dict.fromkeys(cell.backend for cell in plan.cells)
    ours, theirs = (
        {
            name: f"{name} {side.suffix}".strip()
            for name in ([side.backend] if side.backend else every)
        }
        for side in (a, b)
    )
    if set(ours.values()) & set(theirs.values()):
        ours = {backend: f"{name} A" for backend, name in ours.items()}
        theirs = {backend: f"{name} B" for backend, name in theirs.items()}
    return ours, theirs


def _cell_pairs(
    plan: Plan, sides: tuple[Side, Side], names: tuple[Mapping[str, str], ...]
) -> Iterator[CellPair]:
    a, b = sides
    for cell in plan.cells:
        if a.backend not in (None, cell.backend):
            continue
        wanted = b.backend or cell.backend
        rivals = (rival for rival in plan.cells if rival.group_key == cell.group_key)
        counterpart = next((rival for rival in rivals if rival.backend == wanted), None)
        if counterpart is None:
            continue
        yield CellPair(
            ours=_cell_of(cell, a, names[0]),
            theirs=_cell_of(counterpart, b, names[1]),
            backend=cell.backend if wanted == cell.backend else "",
            is_compared=cell.benchmark not in plan.added,
        )


def _cell_of(cell: Cell, side: Side, names: Mapping[str, str]) -> Cell:
    settings = side.overrides.apply(cell.settings)
    return replace(cell, backend=names[cell.backend], settings=settings)


def _without_stored_features(settings: StrategySettings) -> StrategySettings:
    if not isinstance(settings, BottleneckSettings):
        return settings
    return settings.model_copy(update={"reuse_features": False})
