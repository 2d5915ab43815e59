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
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import BottleneckSettings, StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPair:
    """A cell of A and its counterpart of B.

    Attributes:
        backend: Of both; empty if the sides are backends.
        is_compared: False if it only trains heads for other cells.
    """

    a: PlannedCell
    b: PlannedCell
    backend: str
    is_compared: bool = True

    @property
    def label(self) -> str:
        """Benchmark, point of its matrix, backend and, unless it is the equal one, track."""
        cell = self.a
        return cell_label(cell.benchmark, cell.matrix, cell.track, self.backend)

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies it, as JSON knows it."""
        return {
            "cell": self.label,
            "benchmark": self.a.benchmark,
            "matrix": dict(self.a.matrix),
            "track": self.a.track,
            "backends": [self.a.backend, self.b.backend],
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
            replace(pair, a=cells[pair.a.key], b=cells[pair.b.key]) for pair in self.cells
        )
        return replace(self, plan=plan, cells=pairs)


def plan_comparison(
    plan: Plan, a: Side, b: Side, *, pairs: int, is_extracting: bool
) -> ComparisonPlan:
    """Return both sides in one plan, with so many trials of each cell.

    Raises:
        SuiteError: An override is not understood, or no cell has a counterpart.
    """
    if problems := [problem for side in (a, b) for problem in side.overrides.problems(plan)]:
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
    matched = {pair.a.benchmark for pair in cells}
    return ComparisonPlan(
        plan=replace(
            plan,
            suite=plan.suite.model_copy(update={"backend": tables}),
            cells=tuple(cell for pair in cells for cell in (pair.a, pair.b)),
        ),
        cells=cells,
        unmatched=tuple(
            dict.fromkeys(c.benchmark for c in plan.cells if c.benchmark not in matched)
        ),
    )


def _backend_names(plan: Plan, a: Side, b: Side) -> list[dict[str, str]]:
    """Return the name of each backend on A and on B, by its name in the suite."""
    every = dict.fromkeys(cell.backend for cell in plan.cells)
    backends = [[side.backend] if side.backend else list(every) for side in (a, b)]
    suffixes = [a.suffix, b.suffix]
    if {f"{name} {a.suffix}".strip() for name in backends[0]} & {
        f"{name} {b.suffix}".strip() for name in backends[1]
    }:
        suffixes = ["A", "B"]
    return [
        {name: f"{name} {suffix}".strip() for name in names}
        for names, suffix in zip(backends, suffixes, strict=True)
    ]


def _cell_pairs(
    plan: Plan, sides: tuple[Side, Side], names: list[dict[str, str]]
) -> Iterator[CellPair]:
    def of(cell: PlannedCell, side: Side, names: Mapping[str, str]) -> PlannedCell:
        settings = side.overrides.apply(cell.settings)
        return replace(cell, backend=names[cell.backend], settings=settings)

    a, b = sides
    every = {cell.key: cell for cell in plan.cells}
    for cell in plan.cells:
        wanted = b.backend or cell.backend
        rival = every.get(replace(cell, backend=wanted).key)
        if rival is not None and a.backend in (None, cell.backend):
            yield CellPair(
                a=of(cell, a, names[0]),
                b=of(rival, b, names[1]),
                backend=cell.backend if wanted == cell.backend else "",
                is_compared=cell.benchmark not in plan.added,
            )


def _without_stored_features(settings: StrategySettings) -> StrategySettings:
    if not isinstance(settings, BottleneckSettings):
        return settings
    return settings.model_copy(update={"reuse_features": False})
