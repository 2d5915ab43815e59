"""Run of one suite in a pytest session, as far as its items have asked for it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchharness.errors import BenchError, PluginError, RunError
from benchharness.exit_codes import INTERRUPTED
from benchharness.measure.sanity import explain
from benchharness.measure.yardstick import Readings, YardstickProcess, framework_of, joined
from benchharness.model.cell import CellKey, cell_key
from benchharness.plugins import find, requirements
from benchharness.progress.json_reporter import with_observers
from benchharness.pytest_plugin import samples
from benchharness.pytest_plugin.options import UNCOMPARED, UncomparedWarning, against, proof
from benchharness.report.summary import answers_in
from benchharness.results.cells import record_key
from benchharness.results.record import Record
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import write_csv_files
from benchharness.run.events import Announced, Event, Observer, RunFinished, TrialStarted
from benchharness.run.requests import backend_plugin
from benchharness.run.runner import Runner
from benchharness.run.session import start_run
from benchharness.suite.plan import Plan, PlannedCell
from benchharness.suite.settings import FineTuneSettings, StrategySettings, TrainingSettings

if TYPE_CHECKING:
    from benchharness.pytest_plugin.suites import CellItem, SuiteCollector

# Enough that classes and splits have some each; a step has its full batch all the same.
_FEW_TRAIN, _FEW_TEST = 40, 20
_LOG_LINES = 10


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

    def lines(self) -> list[str]:
        """Return the error, a line for each problem; none where there was none."""
        return self._error.lines() if self._error else []


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
        self._first_error = FirstError()
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
        with self._first_error.repeated():
            runner = self._runner or self._start()
        is_equal = item.cell.track == "equal"
        is_required = is_equal and proof(item.config) == "required"
        if is_required:
            _require_proven(item, runner.proofs.get(item.cell.key, {}))
        cell = self._resolved(item.cell.key)
        with self._first_error.repeated():
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

    def lines(self, width: int) -> Iterator[str]:
        """Yield the answers of what has run, whatever the width of the terminal."""
        if self.folder is not None:
            folder = RunFolder.open(self.folder)
            yield from answers_in(folder.read_run(), folder.records()[0])

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
            self._observe = self._stack.enter_context(with_observers(nullcontext(self._take)))
            self._stack.callback(self._finish)
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

    def _finish(self) -> None:
        answers = self.lines(80)
        self._observe(run_finished(self._suite, self.folder, answers, self._first_error))

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


def run_finished(
    suite: SuiteCollector, folder: Path | None, answers: Iterable[str], error: FirstError
) -> RunFinished:
    """Return the end of a suite's run, for observers, when its session has ended."""
    is_interrupted = suite.session.exitstatus == pytest.ExitCode.INTERRUPTED
    return RunFinished(
        exit_code=INTERRUPTED if is_interrupted else int(suite.session.exitstatus),
        folder=str(folder) if folder else None,
        answers=tuple(answers),
        errors=("interrupted",) if is_interrupted else tuple(error.lines()),
    )


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
        (cell.settings.head_from, cell.track, cell.backend)
        for cell in plan.cells
        if cell.key in selected and isinstance(cell.settings, FineTuneSettings)
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
