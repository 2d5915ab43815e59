"""The run of one suite, carried out as far as its items have asked for it."""

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
from benchharness.pytest_plugin.samples import facts
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
class Result:
    """What became of a cell.

    Attributes:
        records: One for each of its trials.
    """

    cell: Cell
    records: tuple[Record, ...]


class Course:
    """One suite's run.

    Its trials keep the plan's order, in which rival backends take turns, whatever order the items
    come in: an item that asks first has the trials of its rivals run along with its own, and theirs
    are there when they ask. So pytest's order and selection never undo the interleaving.

    Attributes:
        notes: What the user should know, as it was announced.
        folder: Where the trials are recorded; None before the first, and where none are to be.
    """

    def __init__(self, session: Session, *, is_smoke: bool) -> None:
        """Take a session; ``is_smoke`` for one small trial of each cell that leaves no record."""
        self.notes: list[Announced] = []
        self._session = session
        self._is_smoke = is_smoke
        self._runner: Runner | None = None
        self._trials: Iterator[Record] = iter(())
        self._records: list[Record] = []
        self._obstacle: BenchError | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def folder(self) -> Path | None:
        """The run's folder."""
        return None if self._runner is None or self._is_smoke else self._runner.folder.path

    def begin(self, among: Iterable[Cell]) -> None:
        """Find data and weights and prove, once.

        Args:
            among: The cells that will be asked for; others run only where these need their heads.

        Raises:
            BenchError: Something is not to be had; the same each time it is asked for.
        """
        with self._remembering():
            if self._runner is None:
                self._begin(among)

    def result(self, cell: Cell) -> Result:
        """Return what became of a cell, having run what comes before it in the plan.

        Raises:
            BenchError: The run cannot go on; the same for each cell that asks.
        """
        assert self._runner is not None
        settled = next(one for one in self._runner.plan.cells if one.key == cell.key)
        with self._remembering():
            while len(found := self._of(settled)) < settled.trials:
                self._records.append(next(self._trials))
        return Result(cell=settled, records=found)

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Keep the first error: what it hit is broken for every cell."""
        if self._obstacle is not None:
            raise self._obstacle
        try:
            yield
        except BenchError as error:
            self._obstacle = error
            raise

    def verdicts(self, cell: Cell) -> Mapping[str, str]:
        """Return the verdict of the certificates on a cell, by the other backend."""
        assert self._runner is not None
        return self._runner.proofs.get(cell.key, {})

    def facts(self, result: Result) -> dict[str, Any]:
        """Return what is to be filed with a cell's samples."""
        assert self._runner is not None
        return facts(
            self._runner.plan,
            result.cell,
            result.records,
            materials=self._runner.inputs,
            device=self._session.device.name,
            variables=recorded_variables(self._session.places.environment),
        )

    def log(self, record: Record) -> Path | None:
        """Return the file of what a trial has printed; None where it was never started."""
        assert self._runner is not None
        return self._runner.folder.path / record["log"] if record["log"] else None

    def close(self) -> None:
        """Write the tables of what has run, and let others have the device."""
        if self._runner is not None:
            self._runner.close()
        if self.folder is not None:
            write_csv_files(self.folder, self._records)
        if self._scratch is not None:
            self._scratch.cleanup()

    def _begin(self, among: Iterable[Cell]) -> None:
        # Items are asked for one by one, and a look is at all of them.
        plan, options = narrowed(self._session.plan, among).fixed(), self._session.options
        if self._is_smoke:
            self._scratch = tempfile.TemporaryDirectory(prefix="benchharness-smoke-")
            plan = smallest(plan)
            options = replace(options, proof="no", results=Path(self._scratch.name))
        session = replace(self._session, plan=plan, options=options)
        self._runner = start_run(session, self._take)
        self._runner.prove()
        self._trials = self._runner.run_trials(self._take)

    def _of(self, cell: Cell) -> tuple[Record, ...]:
        return tuple(record for record in self._records if record_key(record) == cell.key)

    def _take(self, event: Event) -> None:
        if isinstance(event, Announced):
            self.notes.append(event)


def narrowed(plan: Plan, cells: Iterable[Cell]) -> Plan:
    """Return the plan of these cells alone, with those they take their heads from."""
    wanted = {cell.key for cell in cells}
    kept = [cell for cell in plan.cells if cell.key in wanted]
    heads = {
        (cell.settings.head_from, cell.track, cell.backend)
        for cell in kept
        if isinstance(cell.settings, FineTuneSettings)
    }
    return replace(
        plan,
        cells=tuple(
            cell
            for cell in plan.cells
            if cell.key in wanted or (cell.benchmark, cell.track, cell.backend) in heads
        ),
    )


def smallest(plan: Plan) -> Plan:
    """Return a plan of one trial for each cell, with about one step of the cell's own batch."""
    return replace(plan.fixed(1).map_settings(_smallest), takes_fewer=True)


def _smallest(settings: StrategySettings) -> StrategySettings:
    held_out = settings.validation if isinstance(settings, TrainingSettings) else 0.0
    batch = math.ceil(settings.batch_size / (1 - held_out))
    wanted = {"train_images": max(batch, _FEW_TRAIN), "test_images": _FEW_TEST}
    few = {name: min(count, getattr(settings, name) or count) for name, count in wanted.items()}
    return settings.model_copy(update={**few, "epochs": 1})
