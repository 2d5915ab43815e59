"""Suite files that pytest collects: an item for each cell, and the run that times them."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchharness.errors import BenchError, PluginError, RunError
from benchharness.exit_codes import INTERRUPTED
from benchharness.measure.sanity import explain
from benchharness.measure.yardstick import Readings, YardstickProcess, framework_of, joined
from benchharness.model.cell import CellKey, cell_key
from benchharness.plugins import find, requirements
from benchharness.progress.json_reporter import with_observers
from benchharness.pytest_plugin import samples
from benchharness.pytest_plugin.options import (
    SUITES,
    UNCOMPARED,
    UncomparedWarning,
    against,
    proof,
    request_of,
    with_our_options,
)
from benchharness.report.summary import answers_in
from benchharness.results.cells import record_key
from benchharness.results.record import Record
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import write_csv_files
from benchharness.run.events import Announced, Event, Observer, RunFinished, TrialStarted
from benchharness.run.requests import backend_plugin, head_benchmark
from benchharness.run.runner import Runner
from benchharness.run.session import Session, open_session, start_run
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import StrategySettings, TrainingSettings

if TYPE_CHECKING:
    from benchharness.pytest_plugin.against import AgainstRun

# Enough that classes and splits have some each; a step has its full batch all the same.
_FEW_TRAIN, _FEW_TEST = 40, 20
_LOG_LINES = 10


class SuiteCollector(pytest.File):
    """Suite of a file."""

    def collect(self) -> Iterator[CellItem]:
        """Yield an item for each cell; benchmarks that only give their heads have none."""
        self.config.stash.setdefault(SUITES, []).append(self)
        samples.require_pytest_benchmark(self.config)
        plan = self.suite_session.plan
        for cell in plan.cells:
            if cell.benchmark not in plan.added:
                yield CellItem.from_parent(self, name=samples.item_name(cell), cell=cell)

    @cached_property
    def suite_session(self) -> Session:
        """The session, before anything is prepared."""
        # A test may change the environment; trials have that of the session.
        return open_session(request_of(self.config, self.path), environment=dict(os.environ))

    @cached_property
    def run(self) -> SuiteRun | AgainstRun:
        """Timer of the items: a run of the suite, or its comparison with another side."""
        benchmarks = samples.session_of(self.config)
        is_smoke = benchmarks is None or benchmarks.disabled
        if against(self.config) is not None and not is_smoke:
            from benchharness.pytest_plugin.against import AgainstRun

            return AgainstRun(self)
        return SuiteRun(self, is_smoke=is_smoke)

    @contextmanager
    def observed(self, take: Observer) -> Iterator[Observer]:
        """Give the observer of a run, for whom it finishes when the session has."""
        with with_observers(nullcontext(take)) as observe:
            try:
                yield observe
            finally:
                run, status = self.run, self.session.exitstatus
                is_interrupted = status == pytest.ExitCode.INTERRUPTED
                finished = RunFinished(
                    exit_code=INTERRUPTED if is_interrupted else int(status),
                    folder=str(run.folder) if run.folder else None,
                    answers=tuple(run.answers()),
                    errors=("interrupted",) if is_interrupted else run.first_error.lines(),
                )
                observe(finished)

    @property
    def selected(self) -> list[PlannedCell]:
        """The cells of the items that will run."""
        items = (item for item in self.session.items if isinstance(item, CellItem))
        return [item.cell for item in items if item.parent is self]

    def close(self) -> None:
        """End what its items have begun."""
        if "run" in vars(self):
            self.run.close()

    def report(self, reporter: pytest.TerminalReporter) -> None:
        """Write the announcements of what has run, its results and its folder."""
        if "run" not in vars(self) or not (self.run.notes or self.run.folder):
            return
        reporter.section(f"benchharness: {self.nodeid}", sep="-")
        for note in self.run.notes:
            reporter.write_line(self.shortened(note.text), yellow=note.level == "warning")
        for line in self.run.lines(max(80, reporter._tw.fullwidth)):
            reporter.write_line(line)
        if self.run.folder:
            reporter.write_line(f"recorded in {self.shortened(str(self.run.folder))}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is wrong with the suite, a line for each problem."""
        if isinstance(excinfo.value, BenchError):
            return "\n".join(map(self.shortened, excinfo.value.lines()))
        return super().repr_failure(excinfo)

    def shortened(self, line: str) -> str:
        """Return a line with paths relative to where pytest was called, and options as here."""
        return with_our_options(line).replace(f"{self.config.invocation_params.dir}{os.sep}", "")


class CellItem(pytest.Item):
    """One cell: a benchmark at a point of its matrix, on a backend and a track."""

    # By this pytest-benchmark knows what --benchmark-only and --benchmark-skip are about.
    fixturenames = ("benchmark",)

    def __init__(self, *, cell: PlannedCell, **place: Any) -> None:
        super().__init__(**place)
        self.cell = cell

    @property
    def suite(self) -> SuiteCollector:
        """Its suite."""
        assert isinstance(self.parent, SuiteCollector)
        return self.parent

    def runtest(self) -> None:
        """Run the cell's trials, and hand their times to pytest-benchmark."""
        self.suite.run.time(self)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return why the cell failed; a traceback only for what is our own mistake."""
        if isinstance(excinfo.value, BenchError):
            return self.suite.repr_failure(excinfo)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return the place of the item."""
        return self.path, 0, self.name


class UnprovenWarning(pytest.PytestWarning):
    """A time is reported of work that is not proven to be the same."""


class ImplausibleWarning(pytest.PytestWarning):
    """A trial ended well, with numbers that look wrong."""


class FirstError:
    """The first error, raised again: whatever it is about is broken for every item."""

    def __init__(self) -> None:
        self._error: BenchError | None = None

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Raise an earlier error, and keep one that the block raises."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except BenchError as error:
            self._error = error
            raise

    def lines(self) -> tuple[str, ...]:
        """Return the error, a line for each problem; none where there was none."""
        return tuple(self._error.lines()) if self._error else ()


class SuiteRun:
    """Run of one suite.

    Its trials keep the plan's order, in which rival backends take turns, whatever order the items
    come in: an item that asks first has the trials of its rivals run along with its own, and theirs
    are there when they ask. So pytest's order and selection never undo the interleaving. A smoke
    run is one small trial of each cell that leaves no record.
    """

    def __init__(self, suite: SuiteCollector, *, is_smoke: bool) -> None:
        self.notes: list[Announced] = []
        self._suite = suite
        self._session = suite.suite_session
        self._is_smoke = is_smoke
        self._has_yardstick = not is_smoke and samples.is_stored(suite.config)
        self._runner: Runner | None = None
        self._trials: Iterator[Record] = iter(())
        self._records: list[Record] = []
        self.first_error = FirstError()
        self._stack = ExitStack()
        self._observe: Observer = self._take
        self._yardsticks: dict[tuple[str, int], YardstickProcess] = {}
        self._readings: dict[CellKey, list[Readings]] = {}

    @property
    def folder(self) -> Path | None:
        """Folder of the records; None before the first, and for a smoke run."""
        return None if self._runner is None or self._is_smoke else self._runner.folder.path

    def time(self, item: CellItem) -> None:
        """Run the trials of an item, and hand their times to pytest-benchmark."""
        if against(item.config) is not None:
            item.warn(UncomparedWarning(f"{item.nodeid}: {UNCOMPARED}"))
        with self.first_error.repeated():
            runner = self._runner or self._start()
        is_equal = item.cell.track == "equal"
        is_required = is_equal and proof(item.config) == "required"
        if is_required:
            _require_proven(item, runner.proofs.get(item.cell.key, {}))
        cell = self._resolved(item.cell.key)
        with self.first_error.repeated():
            records = self._run(cell)
        for record in records:
            if record["status"] == "skipped":
                pytest.skip(f"{item.name}: {record['reason']}")
            if record["status"] != "ok":
                raise RunError(_failure(item, record, runner.folder.path))
        # A trial's own batch check and settings may have taken the proof back.
        verdicts = {k: v for record in records for k, v in record["proofs"].items()}
        if is_required:
            _require_proven(item, verdicts)
        if is_equal and (unproven := _unproven(verdicts)):
            item.warn(UnprovenWarning(f"{item.nodeid}: the same work is not proven: {unproven}"))
        for flag in dict.fromkeys(flag for record in records for flag in record["flags"]):
            item.warn(ImplausibleWarning(f"{item.nodeid}: {flag}: {explain(flag)}"))
        if not self._is_smoke:
            facts = samples.cell_facts(self._session, runner, cell, records)
            yardstick = joined(self._readings.get(cell.key, ()))
            samples.report_cell(item, records, facts | {"yardstick": yardstick})

    def answers(self) -> list[str]:
        """Return the answers of what has run."""
        if self.folder is None:
            return []
        folder = RunFolder.open(self.folder)
        return [*answers_in(folder.read_run(), folder.records()[0])]

    def lines(self, width: int) -> list[str]:
        """Return the answers, whatever the width of the terminal."""
        return self.answers()

    def close(self) -> None:
        """Write the tables of what has run, and release the device."""
        if self._runner is not None:
            self._runner.close()
        if self.folder is not None:
            write_csv_files(self.folder, self._records)
        self._stack.close()

    def _start(self) -> Runner:
        """Prepare data and weights and prove."""
        # Items are asked for one by one, and a look is at all of them.
        plan = select_cells(self._session.plan, self._suite.selected).fixed()
        options = self._session.options
        if self._is_smoke:
            folder = tempfile.TemporaryDirectory(prefix="benchharness-smoke-")
            results = Path(self._stack.enter_context(folder))
            plan, options = smallest_plan(plan), replace(options, proof="no", results=results)
        else:
            self._observe = self._stack.enter_context(self._suite.observed(self._take))
        session = replace(self._session, plan=plan, options=options)
        self._runner = start_run(session, self._observe)
        self._runner.prove(self._observe)
        self._trials = self._runner.run_trials(self._observe)
        return self._runner

    def _run(self, cell: PlannedCell) -> list[Record]:
        """Return the records of a cell, after running what comes before it in the plan."""
        while True:
            records = [record for record in self._records if record_key(record) == cell.key]
            if len(records) >= cell.trials:
                return records
            self._records.append(next(self._trials))
            self._read_yardstick(record_key(self._records[-1]))

    def _resolved(self, key: CellKey) -> PlannedCell:
        """Return a cell with settled settings."""
        assert self._runner is not None
        return next(cell for cell in self._runner.plan.cells if cell.key == key)

    def _take(self, event: Event) -> None:
        if isinstance(event, Announced) and not self._is_smoke:
            self.notes.append(event)
        if isinstance(event, TrialStarted):
            name = event.name
            self._read_yardstick(cell_key(name.benchmark, name.matrix, name.track, name.backend))

    def _read_yardstick(self, key: CellKey) -> None:
        """Time fixed work with the interpreter, variables and cores of a cell's trials."""
        if not self._has_yardstick or self._runner is None:
            return
        runner, cell = self._runner, self._resolved(key)
        place = (cell.backend, cell.settings.threads or 0)
        if place not in self._yardsticks:
            plugin, options = backend_plugin(runner.plan, cell.backend)
            executor = runner.requests.executor_of(cell.backend, plugin)
            distributions: Mapping[str, str] = {}
            # What is not installed here may be in an environment of its own, or fail its trial.
            with suppress(PluginError):
                distributions = dict(requirements(find(plugin)))
            process = YardstickProcess(
                framework_of(distributions, engine=options.get("engine")),
                python=executor.python,
                environment=executor.environment,
                threads=place[1],
            )
            self._yardsticks[place] = self._stack.enter_context(process)
        self._readings.setdefault(key, []).append(self._yardsticks[place].read())


def _failure(item: CellItem, record: Record, folder: Path) -> str:
    """Return how a trial ended, with the last lines of what it printed."""
    of = f"{record['trial']} of {item.cell.trials}"
    lines = [f"{item.name}: trial {of}: {record['status']}: {record['reason']}"]
    if record["log"]:
        log = folder / record["log"]
        printed = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if tail := [f"    {line}" for line in printed if line.strip()][-_LOG_LINES:]:
            lines += [f"last lines of {log}:", *tail]
    return "\n".join(lines)


def _require_proven(item: CellItem, verdicts: Mapping[str, str]) -> None:
    if unproven := _unproven(verdicts):
        raise RunError(
            f"{item.name}: proof: expected proven, found {unproven} "
            "(leave out --benchharness-require-proof to time it all the same)"
        )


def _unproven(verdicts: Mapping[str, str]) -> str:
    """Return what is not proven, by the other backend; empty if all is, or none was requested."""
    return "; ".join(
        f"{verdict} (against {other})" for other, verdict in verdicts.items() if verdict != "proven"
    )


def select_cells(plan: Plan, cells: Iterable[PlannedCell]) -> Plan:
    """Return the plan of these cells alone, with those they take their heads from."""
    selected = {cell.key for cell in cells}
    heads = {
        (head_benchmark(cell), cell.track, cell.backend)
        for cell in plan.cells
        if cell.key in selected
    }
    kept = (
        cell
        for cell in plan.cells
        if cell.key in selected or (cell.benchmark, cell.track, cell.backend) in heads
    )
    return replace(plan, cells=tuple(kept))


def smallest_plan(plan: Plan) -> Plan:
    """Return a plan of one trial for each cell, with about one step of the cell's own batch."""
    return replace(plan.fixed(1).map_settings(_smallest_settings), takes_fewer=True)


def _smallest_settings(settings: StrategySettings) -> StrategySettings:
    held_out = settings.validation if isinstance(settings, TrainingSettings) else 0.0
    batch = math.ceil(settings.batch_size / (1 - held_out))
    wanted = {"train_images": max(batch, _FEW_TRAIN), "test_images": _FEW_TEST}
    few = {name: min(count, getattr(settings, name) or count) for name, count in wanted.items()}
    return settings.model_copy(update={**few, "epochs": 1})
