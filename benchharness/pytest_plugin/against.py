"""Comparison with a git revision in a pytest session: each item runs both sides in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchharness.compare.comparison import Comparison
from benchharness.compare.plan import CellPair
from benchharness.compare.run import ComparisonOptions, ComparisonSession, open_comparison
from benchharness.compare.sampling import PairSeries
from benchharness.compare.targets import WORKTREE, Side
from benchharness.errors import BenchError, RunError
from benchharness.measure.machine import recorded_variables
from benchharness.model.cell import CellKey, cell_key
from benchharness.pytest_plugin.run import select_cells
from benchharness.pytest_plugin.samples import cell_facts, seconds_per_step
from benchharness.run.events import Announced, Event
from benchharness.run.options import RunOptions
from benchharness.suite.plan import Cell
from benchharness.suite.settings import FineTuneSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSamples:
    """Samples of one side of a cell.

    Attributes:
        suffix: Of its name in the tables; empty for B.
        seconds: Of a step, a value for each round.
        facts: To store with them.
    """

    suffix: str
    seconds: list[float]
    facts: Mapping[str, Any]


class AgainstRun:
    """Comparison of one suite, cell by cell as its items ask.

    A is the revision, and B the working tree.

    Attributes:
        notes: Announcements for the user.
    """

    def __init__(self, request: RunOptions, target: str, *, repository: Path) -> None:
        """Take what ``--against`` names: ``rev:REVISION``, or a revision alone."""
        kind, colon, text = target.partition(":")
        if colon and kind in ("run", "backend"):
            raise RunError(
                f"--against {target}: expected a git revision, as rev:main; recorded runs and "
                "backends are compared by `benchharness compare`"
            )
        self.notes: list[Announced] = []
        self.revision = text if colon and kind == "rev" else target
        self._options = ComparisonOptions(
            request=request,
            a=Side(label=self.revision, revision=self.revision),
            b=Side(label="working tree", revision=WORKTREE),
            repository=repository,
        )
        self._stack = ExitStack()
        self._session: ComparisonSession | None = None
        self._series: dict[CellKey, PairSeries] = {}
        self._error: BenchError | None = None

    @property
    def comparison(self) -> Comparison | None:
        """The comparison of all cells so far; None before the first."""
        if self._session is None or not self._series:
            return None
        return self._session.comparison([*self._series.values()])

    def begin(self, selected: Iterable[Cell]) -> None:
        """Check out the revision, prepare data and weights and prove, once.

        Args:
            selected: The cells of all items that will run.

        Raises:
            BenchError: Something is unavailable; the same error each time.
        """
        if self._error is not None:
            raise self._error
        if self._session is not None:
            return
        cells = list(selected)
        try:
            self._session = self._stack.enter_context(
                open_comparison(
                    self._options, self._observe, select=lambda plan: select_cells(plan, cells)
                )
            )
        except BenchError as error:
            self._error = error
            raise

    def compare(self, cell: Cell) -> tuple[Comparison, list[SideSamples]]:
        """Run both sides of a cell in turn until it is decided.

        Raises:
            BenchError: The run cannot continue.
        """
        assert self._session is not None
        series = self._sample(next(p for p in self._session.plan.cells if _key(p) == cell.key))
        comparison = self._session.comparison([series])
        samples = [
            self._samples(series.cells.theirs, series.theirs, "B", comparison),
            self._samples(series.cells.ours, series.ours, "A", comparison),
        ]
        return comparison, samples

    def close(self) -> None:
        """Write comparison.json and the tables, release the device and remove the worktree."""
        comparison = self.comparison
        if self._session is not None and comparison is not None:
            self._session.runner.folder.write_comparison(comparison.as_dict())
        self._stack.close()

    def _sample(self, pair: CellPair) -> PairSeries:
        """Return the pairs of a cell, after those of the cell that trains its head."""
        assert self._session is not None
        key = _key(pair)
        if key not in self._series:
            settings = pair.ours.settings
            if isinstance(settings, FineTuneSettings):
                for head in self._session.plan.cells:
                    if (head.ours.benchmark, head.ours.track, head.backend) == (
                        settings.head_from,
                        pair.ours.track,
                        pair.backend,
                    ):
                        self._sample(head)
            (self._series[key],) = self._session.sampler.run([pair])
        return self._series[key]

    def _samples(
        self, cell: Cell, records: list[Any], side: str, comparison: Comparison
    ) -> SideSamples:
        assert self._session is not None
        session = self._session
        are_ok = bool(records) and all(record["status"] == "ok" for record in records)
        if not are_ok:
            return SideSamples(suffix="", seconds=[], facts={})
        facts = cell_facts(
            session.plan.plan,
            cell,
            records,
            inputs=session.runner.inputs,
            device=session.session.device.name,
            variables=recorded_variables(session.session.places.environment),
        )
        label = comparison.a if side == "A" else comparison.b
        extra: dict[str, Any] = {"side": side, "revision": label, "against": comparison.a}
        if side == "B":
            extra["comparison"] = comparison.cells[0].as_dict()
        return SideSamples(
            suffix=f" ({self.revision})" if side == "A" else "",
            seconds=seconds_per_step(records),
            facts=facts | extra,
        )

    def _observe(self, event: Event) -> None:
        if isinstance(event, Announced):
            self.notes.append(event)


def _key(pair: CellPair) -> CellKey:
    """Return the key of the suite's cell that a pair compares."""
    cell = pair.ours
    return cell_key(cell.benchmark, cell.matrix, cell.track, pair.backend)
