"""Plan of a comparison: every cell of A beside its counterpart of B."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """Plan in which the sides are backends, and the pairs of its cells: A and B of each in turn.

    Attributes:
        unmatched: Benchmarks that only one side runs; they are skipped.
    """

    plan: Plan
    cells: tuple[CellPair, ...]
    unmatched: tuple[str, ...]

    def with_plan(self, plan: Plan) -> ComparisonPlan:
        """Return it with the settings that data and weights have given to its plan."""
        sides = zip(self.cells, plan.cells[::2], plan.cells[1::2], strict=True)
        return replace(
            self, plan=plan, cells=tuple(replace(pair, a=a, b=b) for pair, a, b in sides)
        )


def plan_comparison(
    plan: Plan, a: Side, b: Side, *, pairs: int, is_extracting: bool
) -> ComparisonPlan:
    """Return both sides in one plan, with so many trials of each cell.

    Raises:
        SuiteError: An override is not understood, or no cell has a counterpart.
    """
    if problems := [problem for side in (a, b) for problem in side.overrides.problems(plan)]:
        raise SuiteError(str(plan.suite.path), problems)
    names_a, names_b = _backend_names(plan, a, b)
    if is_extracting:
        plan = plan.map_settings(_without_stored_features)
    # A comparison has its own looks.
    plan = plan.fixed(pairs)

    def on(side: Side, names: Mapping[str, str], cell: PlannedCell) -> PlannedCell:
        settings = side.overrides.apply(cell.settings)
        return replace(cell, backend=names[cell.backend], settings=settings)

    cells: list[CellPair] = []
    every = {cell.key: cell for cell in plan.cells}
    for cell in plan.cells:
        wanted = b.backend or cell.backend
        rival = every.get(replace(cell, backend=wanted).key)
        if rival is not None and a.backend in (None, cell.backend):
            pair = CellPair(
                a=on(a, names_a, cell),
                b=on(b, names_b, rival),
                backend=cell.backend if wanted == cell.backend else "",
                is_compared=cell.benchmark not in plan.added,
            )
            cells.append(pair)
    if not any(pair.is_compared for pair in cells):
        raise invalid_targets(
            f"{a.label}, {b.label}",
            expected="a benchmark that both sides run",
            found="none",
            hint="`benchharness run SUITE --dry-run` shows which backend runs which",
        )
    tables = dict(plan.suite.backend)
    for side, renamed in ((a, names_a), (b, names_b)):
        for backend, name in renamed.items():
            plugin, options = backend_plugin(plan, backend)
            # Its interpreter stays what it is.
            table = plan.suite.backend.get(backend, BackendTable())
            update = {"plugin": plugin, "options": {**options, **side.overrides.options}}
            tables[name] = table.model_copy(update=update)
    matched = {pair.a.benchmark for pair in cells}
    unmatched = dict.fromkeys(c.benchmark for c in plan.cells if c.benchmark not in matched)
    both = replace(
        plan,
        suite=plan.suite.model_copy(update={"backend": tables}),
        cells=tuple(cell for pair in cells for cell in (pair.a, pair.b)),
    )
    return ComparisonPlan(plan=both, cells=tuple(cells), unmatched=tuple(unmatched))


def _backend_names(plan: Plan, a: Side, b: Side) -> list[dict[str, str]]:
    """Return the name of each backend on A and on B, by its name in the suite."""
    every = dict.fromkeys(cell.backend for cell in plan.cells)

    def named(*suffixes: str) -> list[dict[str, str]]:
        return [
            {
                name: f"{name} {suffix}".strip()
                for name in ([side.backend] if side.backend else every)
            }
            for side, suffix in zip((a, b), suffixes, strict=True)
        ]

    of_a, of_b = named(a.suffix, b.suffix)
    return named("A", "B") if {*of_a.values()} & {*of_b.values()} else [of_a, of_b]


def _without_stored_features(settings: StrategySettings) -> StrategySettings:
    if not isinstance(settings, BottleneckSettings):
        return settings
    return settings.model_copy(update={"reuse_features": False})
