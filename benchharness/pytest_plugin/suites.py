"""Suite files as pytest collects them: an item for each cell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchharness.errors import BenchError, RunError
from benchharness.pytest_plugin.handover import report_samples, require_pytest_benchmark, session_of
from benchharness.pytest_plugin.options import in_our_words, proof, request_of

if TYPE_CHECKING:
    from benchharness.pytest_plugin.run import Course, Result
    from benchharness.results.record import Record
    from benchharness.run.session import Session
    from benchharness.suite.plan import Cell

SUITES = pytest.StashKey[list["SuiteFile"]]()
_BENCHMARK = re.compile(r"^\s*\[\[\s*benchmark\s*\]\]", re.M)
_DATASET = re.compile(r"^\s*\[\s*dataset\s*\]", re.M)
# No suite is longer, and no other file needs to be read for it.
_LONGEST_BYTES = 1_000_000
_LOG_LINES = 10


class UnprovenWarning(pytest.PytestWarning):
    """A time is reported of work that is not proven to be the same."""


class ImplausibleWarning(pytest.PytestWarning):
    """A trial ended well, with numbers that look wrong."""


def is_suite(path: Path) -> bool:
    """Return whether a file has the tables of a suite; cheap, for every file is asked."""
    if path.suffix != ".toml":
        return False
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            return False
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_BENCHMARK.search(text) and _DATASET.search(text))


class SuiteFile(pytest.File):
    """One suite.

    Attributes:
        names: Node ids of all its items, those included that nobody selects.
    """

    names: tuple[str, ...] = ()

    def collect(self) -> Iterator[CellItem]:
        """Yield an item for each cell; benchmarks that only give their heads have none.

        Raises:
            BenchError: The suite says something that is not understood, or cannot run here.
        """
        from benchharness.pytest_plugin.samples import label

        require_pytest_benchmark(self.config)
        plan = self.suite_session.plan
        items = [
            CellItem.from_parent(self, name=label(cell), cell=cell)
            for cell in plan.cells
            if cell.benchmark not in plan.added
        ]
        self.names = tuple(item.nodeid for item in items)
        self.config.stash.setdefault(SUITES, []).append(self)
        yield from items

    @cached_property
    def suite_session(self) -> Session:
        """The run as it was asked for."""
        from benchharness.run.session import open_session

        # A test may change the environment; the trials are to have that of the session.
        return open_session(request_of(self.config, self.path), environment=dict(os.environ))

    @cached_property
    def course(self) -> Course:
        """The run as far as it has come."""
        from benchharness.pytest_plugin.run import Course

        benchmarks = session_of(self.config)
        return Course(self.suite_session, is_smoke=benchmarks is None or benchmarks.disabled)

    @property
    def is_begun(self) -> bool:
        """Whether any of its items has been run."""
        return "course" in vars(self)

    def begin(self) -> Course:
        """Return the run, ready for trials of the items that are selected.

        Raises:
            BenchError: It cannot begin.
        """
        selected = [
            item.cell
            for item in self.session.items
            if isinstance(item, CellItem) and item.parent is self
        ]
        self.course.begin(selected)
        return self.course

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is wrong with the suite, a line for each problem."""
        if isinstance(excinfo.value, BenchError):
            return "\n".join(map(self.shortened, excinfo.value.lines()))
        return super().repr_failure(excinfo)

    def shortened(self, line: str) -> str:
        """Return a line with paths told from where pytest was called, and options as here."""
        return in_our_words(line).replace(f"{self.config.invocation_params.dir}{os.sep}", "")


class CellItem(pytest.Item):
    """One cell: a benchmark at a point of its matrix, on a backend and a track."""

    # By this pytest-benchmark knows what --benchmark-only and --benchmark-skip are about.
    fixturenames = ("benchmark",)

    def __init__(self, *, cell: Cell, **place: Any) -> None:
        super().__init__(**place)
        self.cell = cell

    @property
    def suite(self) -> SuiteFile:
        """The file it stands in."""
        assert isinstance(self.parent, SuiteFile)
        return self.parent

    def runtest(self) -> None:
        """Have the cell's trials run, and hand their times to pytest-benchmark.

        Raises:
            BenchError: A trial has not ended well, or a proof was required and is not there.
        """
        from benchharness.pytest_plugin.samples import group, params, seconds_per_step

        course = self.suite.begin()
        is_required = proof(self.config) == "required" and self.cell.track == "equal"
        if is_required:
            self._require_proven(course.verdicts(self.cell))
        result = course.result(self.cell)
        self._require_well(result)
        # A trial's own ledger and settings may have taken the proof back.
        verdicts = {k: v for record in result.records for k, v in record["proofs"].items()}
        if is_required:
            self._require_proven(verdicts)
        self._warn_of_proof(verdicts)
        self._warn_of_flags(result)
        benchmarks = session_of(self.config)
        if benchmarks is None or benchmarks.disabled:
            return
        report_samples(
            self,
            seconds_per_step(result.records),
            extra_info=course.facts(result),
            group=group(self.suite.suite_session.plan, self.cell),
            params=params(self.cell),
        )

    def _require_well(self, result: Result) -> None:
        """Skip what a backend cannot do, and fail what it has failed at."""
        for record in result.records:
            if record["status"] == "skipped":
                pytest.skip(f"{self.name}: {record['reason']}")
            if record["status"] != "ok":
                raise RunError(self._account(record))

    def _account(self, record: Record) -> str:
        """Return how a trial ended, with the last lines of what it printed."""
        of = f"{record['trial']} of {self.cell.trials}"
        head = f"{self.name}: trial {of}: {record['status']}: {record['reason']}"
        log = self.suite.course.log(record)
        if log is None:
            return head
        text = log.read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]
        if not lines:
            return head
        return "\n".join([head, f"last lines of {log}:", *(f"    {line}" for line in lines)])

    def _require_proven(self, verdicts: Mapping[str, str]) -> None:
        if unproven := _unproven(verdicts):
            raise RunError(
                f"{self.name}: proof: expected proven, found {unproven} "
                "(leave out --benchharness-require-proof to time it all the same)"
            )

    def _warn_of_proof(self, verdicts: Mapping[str, str]) -> None:
        unproven = _unproven(verdicts)
        if unproven and self.cell.track == "equal":
            self.warn(UnprovenWarning(f"{self.nodeid}: the same work is not proven: {unproven}"))

    def _warn_of_flags(self, result: Result) -> None:
        from benchharness.measure.sanity import explain

        for flag in dict.fromkeys(flag for record in result.records for flag in record["flags"]):
            self.warn(ImplausibleWarning(f"{self.nodeid}: {flag}: {explain(flag)}"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return why the cell failed; a traceback only for what is our own mistake."""
        if isinstance(excinfo.value, BenchError):
            return "\n".join(map(self.suite.shortened, excinfo.value.lines()))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return where the item stands."""
        return self.path, 0, self.name


def _unproven(verdicts: Mapping[str, str]) -> str:
    """Return what is not proven, by the other backend; empty where all is, or nobody asked."""
    return "; ".join(
        f"{verdict} (against {other})" for other, verdict in verdicts.items() if verdict != "proven"
    )
