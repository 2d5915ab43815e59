"""Comparison with another side in a pytest session: each item runs both sides in turn."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchharness.compare.comparison import FAILED, OK, UNDECIDABLE, Comparison
from benchharness.compare.plan import CellPair
from benchharness.compare.run import ComparisonOptions, ComparisonSession, open_comparison
from benchharness.compare.sampling import PairSeries
from benchharness.compare.targets import WORKTREE, Side, TargetSpec, backends_of, parse_target
from benchharness.compare.verdict import read_thresholds
from benchharness.errors import RunError
from benchharness.model.cell import CellKey, cell_key
from benchharness.plugins import installed
from benchharness.pytest_plugin import samples
from benchharness.pytest_plugin.options import against, request_of
from benchharness.pytest_plugin.suites import FirstError, select_cells
from benchharness.report.comparison import headline, plain_text
from benchharness.run.events import Announced, Event
from benchharness.run.requests import head_benchmark
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.text import suggest

if TYPE_CHECKING:
    from benchharness.pytest_plugin.suites import CellItem, SuiteCollector


class UndecidedWarning(pytest.PytestWarning):
    """The machine cannot tell whether a cell got worse."""


class AgainstRun:
    """Comparison of one suite, cell by cell as its items ask.

    A is what ``--against`` names, and B the working tree, or the other backend.
    """

    def __init__(self, suite: SuiteCollector) -> None:
        self.notes: list[Announced] = []
        self._suite = suite
        self._request = request_of(suite.config, suite.path)
        self._target = target_of(
            suite.config,
            backends=[*backends_of(load(suite.path)), *installed()],
            results=self._request.results,
        )
        self._stack = ExitStack()
        self._session: ComparisonSession | None = None
        self._series: dict[CellKey, PairSeries] = {}
        self.first_error = FirstError()

    @property
    def folder(self) -> Path | None:
        """Folder of the comparison; None before it begins."""
        return None if self._session is None else self._session.runner.folder.path

    def time(self, item: CellItem) -> None:
        """Run both sides of an item in turn until its cell is decided, and report both."""
        cell, target = item.cell, self._target
        if target.kind == "backend" and cell.backend == target.text:
            pytest.skip(f"{item.name}: the others are compared with {target.text}")
        with self.first_error.repeated():
            session = self._session or self._start()
        pair = next((pair for pair in session.plan.cells if _key(pair) == cell.key), None)
        if pair is None:
            pytest.skip(f"{item.name}: only one side runs it")
        series = self._sample(pair)
        comparison = session.comparison([series])
        for letter, of, records in (
            ("B", series.cells.b, series.b),
            ("A", series.cells.a, series.a),
        ):
            if records and all(record["status"] == "ok" for record in records):
                facts = samples.cell_facts(session.session, session.runner, of, records)
                facts |= {"side": letter, "against": comparison.a}
                if letter == "B":
                    facts["comparison"] = comparison.cells[0].as_dict()
                suffix = f" ({target.text})" if letter == "A" else ""
                samples.report_cell(item, records, facts, suffix=suffix)
        judge(item, comparison)

    def answers(self) -> list[str]:
        """Return the outcome of all cells so far, in a line."""
        comparison = self._comparison()
        return [headline(comparison)] if comparison else []

    def lines(self, width: int) -> list[str]:
        """Return the table of all cells so far, for a terminal of that width."""
        comparison = self._comparison()
        return plain_text(comparison, width=width).rstrip().splitlines() if comparison else []

    def close(self) -> None:
        """Write comparison.json and the tables, release the device and remove the worktree."""
        comparison = self._comparison()
        if self._session is not None and comparison is not None:
            self._session.runner.folder.write_comparison(comparison.as_dict())
        self._stack.close()

    def _comparison(self) -> Comparison | None:
        """Return the comparison of all cells so far; None before the first."""
        if self._session is None or not self._series:
            return None
        return self._session.comparison([*self._series.values()])

    def _start(self) -> ComparisonSession:
        """Check out the revision, prepare data and weights and prove."""
        observe = self._stack.enter_context(self._suite.observed(self._observe))
        opened = open_comparison(self._options(), observe, select=self._select)
        self._session = self._stack.enter_context(opened)
        return self._session

    def _options(self) -> ComparisonOptions:
        name, request = self._target.text, self._request
        a = Side(label=name, revision=name)
        b = Side(label="working tree", revision=WORKTREE)
        if self._target.kind == "backend":
            others = sorted({cell.backend for cell in self._suite.selected} - {name})
            if len(others) != 1:
                raise RunError(
                    f"--against backend:{name}: expected cells of one other backend, found "
                    f"{', '.join(others)}; select one with --benchharness-backend NAME"
                )
            a, b = (Side(label=backend, backend=backend) for backend in (name, *others))
            request = replace(request, backends=(name, *others))
        return ComparisonOptions(
            request=request,
            a=a,
            b=b,
            thresholds=read_thresholds(self._suite.config.getoption("against_threshold")),
            repository=self._suite.config.invocation_params.dir,
        )

    def _select(self, plan: Plan) -> Plan:
        """Return the plan of the selected cells, with those that they are compared with."""
        selected, is_backend = self._suite.selected, self._target.kind == "backend"
        cells = {cell.key for cell in selected}
        groups = {cell.group_key for cell in selected if is_backend}
        return select_cells(
            plan, [c for c in plan.cells if c.key in cells or c.group_key in groups]
        )

    def _sample(self, pair: CellPair) -> PairSeries:
        """Return the pairs of a cell, after those of the cell that trains its head."""
        assert self._session is not None
        key, of_head = _key(pair), (head_benchmark(pair.a), pair.a.track, pair.backend)
        if key not in self._series:
            for other in self._session.plan.cells:
                if (other.a.benchmark, other.a.track, other.backend) == of_head:
                    self._sample(other)
            (self._series[key],) = self._session.sampler.run([pair])
        return self._series[key]

    def _observe(self, event: Event) -> None:
        if isinstance(event, Announced):
            self.notes.append(event)


def target_of(config: pytest.Config, *, backends: Sequence[str], results: Path) -> TargetSpec:
    """Return the side that ``--against`` names: a revision, or one of the backends."""
    target = against(config) or ""
    spec = parse_target(target, backends=backends, results=results)
    if spec.kind == "backend" and spec.text not in backends:
        raise RunError(
            f"--against {target}: expected rev:REVISION or, for suites, backend:NAME, found "
            + (suggest(spec.text, backends) if backends else "a backend")
        )
    if spec.kind == "run":
        raise RunError(
            f"--against {target}: expected rev:REVISION or, for suites, backend:NAME, found a "
            "recorded run; timings of different times differ on most machines: run both sides, or "
            "compare two recorded runs with `benchharness compare`"
        )
    return spec


def judge(item: pytest.Item, comparison: Comparison) -> None:
    """Fail an item whose only cell got worse, and skip or warn where nothing is known."""
    (cell,) = comparison.cells
    if cell.is_skipped:
        pytest.skip(f"{item.name}: {cell.failure}")
    code = comparison.exit_code
    if code == FAILED:
        raise RunError(f"{item.name}: {cell.failure}")
    text = f"{headline(comparison)} (A {comparison.a})"
    if code == UNDECIDABLE and not item.config.getoption("against_strict"):
        item.warn(UndecidedWarning(f"{item.nodeid}: {text}"))
    elif code != OK:
        raise RunError(f"{item.name}: {text}")


def _key(pair: CellPair) -> CellKey:
    """Return the key of the suite's cell that a pair compares."""
    cell = pair.b
    backend = pair.backend or cell.backend
    return cell_key(cell.benchmark, cell.matrix, cell.track, backend)
