"""Run of one suite in a pytest session, as far as its items have asked for it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.errors import BenchError
from benchharness.measure.machine import recorded_variables
from benchharness.pytest_plugin.samples import cell_facts
from benchharness.results.cells import record_key
from benchharness.results.record import Record
from benchharness.results.tables import write_csv_files
from benchharness.run.events import Announced, Event
from benchharness.run.runner import Runner
from benchharness.run.session import Session, start_run
from benchharness.suite.plan import Cell, Plan
from benchharness.suite.settings import FineTuneSettings, StrategySettings, TrainingSettings

# Enough that classes and splits have some each; a step has its full batch all the same.
_FEW_TRAIN, _FEW_TEST = 40, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """Records of a cell.

    Attributes:
        cell: With settled settings.
        records: One for each of its trials.
    """

    cell: Cell
    records: tuple[Record, ...]


class SuiteRun:
    """Run of one suite.

    Its trials keep the plan's order, in which rival backends take turns, whatever order the items
    come in: an item that asks first has the trials of its rivals run along with its own, and theirs
    are there when they ask. So pytest's order and selection never undo the interleaving.

    Attributes:
        notes: Announcements for the user.
    """

    def __init__(self, session: Session, *, is_smoke: bool) -> None:
        """Take a session; ``is_smoke`` for one small trial of each cell that leaves no record."""
        self.notes: list[Announced] = []
        self._session = session
        self._is_smoke = is_smoke
        self._runner: Runner | None = None
        self._trials: Iterator[Record] = iter(())
        self._records: list[Record] = []
        self._error: BenchError | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path | None:
        """Folder of the records; None before the first, and for a smoke run."""
        return None if self._runner is None or self._is_smoke else self._runner.folder.path

    def begin(self, selected: Iterable[Cell]) -> None:
        """Prepare data and weights and prove, once.

        Args:
            selected: The cells of all items that will run; others run only where these need their
                heads.

        Raises:
            BenchError: Something is unavailable; the same error each time.
        """
        with self._first_error():
            if self._runner is not None:
                return
            # Items are asked for one by one, and a look is at all of them.
            plan, options = (
                select_cells(self._session.plan, selected).fixed(),
                self._session.options,
            )
            if self._is_smoke:
                self._temporary = tempfile.TemporaryDirectory(prefix="benchharness-smoke-")
                plan = smallest_plan(plan)
                options = replace(options, proof="no", results=Path(self._temporary.name))
            session = replace(self._session, plan=plan, options=options)
            self._runner = start_run(session, self._observe)
            self._runner.prove()
            self._trials = self._runner.run_trials(self._observe)

    def result(self, cell: Cell) -> CellResult:
        """Return the result of a cell, after running what comes before it in the plan.

        Raises:
            BenchError: The run cannot continue; the same error for each cell.
        """
        resolved = next(planned for planned in self._started.plan.cells if planned.key == cell.key)
        with self._first_error():
            while True:
                records = tuple(r for r in self._records if record_key(r) == resolved.key)
                if len(records) >= resolved.trials:
                    return CellResult(cell=resolved, records=records)
                self._records.append(next(self._trials))

    def verdicts(self, cell: Cell) -> Mapping[str, str]:
        """Return the verdict of the certificates on a cell, by the other backend."""
        return self._started.proofs.get(cell.key, {})

    def facts(self, result: CellResult) -> dict[str, Any]:
        """Return the facts to store with a cell's samples."""
        return cell_facts(
            self._started.plan,
            result.cell,
            result.records,
            inputs=self._started.inputs,
            device=self._session.device.name,
            variables=recorded_variables(self._session.places.environment),
        )

    def log(self, record: Record) -> Path | None:
        """Return the log file of a trial; None if it was never started."""
        return self._started.folder.path / record["log"] if record["log"] else None

    def close(self) -> None:
        """Write the tables of what has run, and release the device."""
        if self._runner is not None:
            self._runner.close()
        if self.folder is not None:
            write_csv_files(self.folder, self._records)
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def _started(self) -> Runner:
        assert self._runner is not None
        return self._runner

    @contextmanager
    def _first_error(self) -> Iterator[None]:
        """Raise the first error again: whatever it is about is broken for every cell."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except BenchError as error:
            self._error = error
            raise

    def _observe(self, event: Event) -> None:
        if isinstance(event, Announced):
            self.notes.append(event)


def select_cells(plan: Plan, cells: Iterable[Cell]) -> Plan:
    """Return the plan of these cells alone, with those they take their heads from."""
    selected = {cell.key for cell in cells}
    heads = {
        (cell.settings.head_from, cell.track, cell.backend)
        for cell in plan.cells
        if cell.key in selected and isinstance(cell.settings, FineTuneSettings)
    }
    return replace(
        plan,
        cells=tuple(
            cell
            for cell in plan.cells
            if cell.key in selected or (cell.benchmark, cell.track, cell.backend) in heads
        ),
    )


def smallest_plan(plan: Plan) -> Plan:
    """Return a plan of one trial for each cell, with about one step of the cell's own batch."""
    return replace(plan.fixed(1).map_settings(_smallest_settings), takes_fewer=True)


def _smallest_settings(settings: StrategySettings) -> StrategySettings:
    held_out = settings.validation if isinstance(settings, TrainingSettings) else 0.0
    batch = math.ceil(settings.batch_size / (1 - held_out))
    wanted = {"train_images": max(batch, _FEW_TRAIN), "test_images": _FEW_TEST}
    few = {name: min(count, getattr(settings, name) or count) for name, count in wanted.items()}
    return settings.model_copy(update={**few, "epochs": 1})
