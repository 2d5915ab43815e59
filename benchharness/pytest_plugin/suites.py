"""Suite files that pytest collects: an item for each cell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchharness.errors import BenchError, RunError
from benchharness.pytest_plugin.options import against, proof, request_of, with_our_options

if TYPE_CHECKING:
    from benchharness.pytest_plugin.against import AgainstRun
    from benchharness.pytest_plugin.run import CellResult, SuiteRun
    from benchharness.results.record import Record
    from benchharness.run.session import Session
    from benchharness.suite.plan import Cell

SUITES = pytest.StashKey[list["SuiteFile"]]()
_BENCHMARK = re.compile(r"^\s*\[\[\s*benchmark\s*\]\]", re.M)
_DATASET = re.compile(r"^\s*\[\s*dataset\s*\]", re.M)
# No suite is longer, and no other file needs to be read for it.
_LONGEST_BYTES = 1_000_000
_LOG_LINES = 10
UNCOMPARED = "--against: nothing is compared: benchmarks are disabled"


class UnprovenWarning(pytest.PytestWarning):
    """A time is reported of work that is not proven to be the same."""


class ImplausibleWarning(pytest.PytestWarning):
    """A trial ended well, with numbers that look wrong."""


class UncomparedWarning(pytest.PytestWarning):
    """Nothing is compared, although ``--against`` asks for it."""


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
    """Suite of a file."""

    def collect(self) -> Iterator[CellItem]:
        """Yield an item for each cell; benchmarks that only give their heads have none.

        Raises:
            BenchError: The suite says something that is not understood, or cannot run here.
        """
        from benchharness.pytest_plugin.samples import item_name, require_pytest_benchmark

        require_pytest_benchmark(self.config)
        plan = self.suite_session.plan
        self.config.stash.setdefault(SUITES, []).append(self)
        for cell in plan.cells:
            if cell.benchmark not in plan.added:
                yield CellItem.from_parent(self, name=item_name(cell), cell=cell)

    @cached_property
    def suite_session(self) -> Session:
        """The session, before anything is prepared."""
        from benchharness.run.session import open_session

        # A test may change the environment; trials have that of the session.
        return open_session(request_of(self.config, self.path), environment=dict(os.environ))

    @cached_property
    def run(self) -> SuiteRun:
        """The run of the suite."""
        from benchharness.pytest_plugin.run import SuiteRun

        return SuiteRun(self.suite_session, is_smoke=not self.is_timed)

    @cached_property
    def against_run(self) -> AgainstRun:
        """The comparison of the suite with another side."""
        from benchharness.pytest_plugin.against import AgainstRun

        return AgainstRun(self.config, self.path)

    @property
    def is_timed(self) -> bool:
        """Whether pytest-benchmark is there, and not disabled."""
        from benchharness.pytest_plugin.samples import session_of

        benchmarks = session_of(self.config)
        return benchmarks is not None and not benchmarks.disabled

    @property
    def selected(self) -> list[Cell]:
        """The cells of the items that will run."""
        return [
            item.cell
            for item in self.session.items
            if isinstance(item, CellItem) and item.parent is self
        ]

    def close(self) -> None:
        """End what its items have begun."""
        for begun in ("run", "against_run"):
            if begun in vars(self):
                vars(self)[begun].close()

    def report(self, reporter: pytest.TerminalReporter) -> None:
        """Write the announcements of what has run, its results and its folder."""
        if "against_run" in vars(self):
            self._report_comparison(reporter)
        if "run" not in vars(self) or self.run.folder is None:
            return
        from benchharness.report.summary import answers_in
        from benchharness.results.run_folder import RunFolder

        folder = RunFolder.open(self.run.folder)
        reporter.section(f"benchharness: {self.nodeid}", sep="-")
        for note in self.run.notes:
            reporter.write_line(self.shortened(note.text), yellow=note.level == "warning")
        for answer in answers_in(folder.read_run(), folder.records()[0]):
            reporter.write_line(answer)
        reporter.write_line(f"recorded in {self.shortened(str(folder.path))}")

    def _report_comparison(self, reporter: pytest.TerminalReporter) -> None:
        from benchharness.report.comparison import plain_text

        comparison = self.against_run.comparison
        reporter.section(f"benchharness: {self.nodeid}", sep="-")
        for note in self.against_run.notes:
            reporter.write_line(self.shortened(note.text), yellow=note.level == "warning")
        if comparison is not None:
            width = max(80, reporter._tw.fullwidth)
            reporter.write_line(plain_text(comparison, width=width).rstrip())
            reporter.write_line(f"recorded in {self.shortened(comparison.folder)}")

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

    def __init__(self, *, cell: Cell, **place: Any) -> None:
        super().__init__(**place)
        self.cell = cell

    @property
    def suite(self) -> SuiteFile:
        """Its suite."""
        assert isinstance(self.parent, SuiteFile)
        return self.parent

    def runtest(self) -> None:
        """Run the cell's trials, and hand their times to pytest-benchmark.

        Raises:
            BenchError: A trial has not ended well, or a proof was required and is not there.
        """
        from benchharness.pytest_plugin import samples

        if against(self.config) is not None:
            if self.suite.is_timed:
                self.suite.against_run.compare(self, self.suite.selected)
                return
            self.warn(UncomparedWarning(f"{self.nodeid}: {UNCOMPARED}"))
        run = self.suite.run
        run.begin(self.suite.selected)
        is_required = proof(self.config) == "required" and self.cell.track == "equal"
        if is_required:
            self._require_proven(run.verdicts(self.cell))
        result = run.result(self.cell)
        self._require_ok(result)
        # A trial's own batch check and settings may have taken the proof back.
        verdicts = {k: v for record in result.records for k, v in record["proofs"].items()}
        if is_required:
            self._require_proven(verdicts)
        self._warn_of_proof(verdicts)
        self._warn_of_flags(result)
        if not self.suite.is_timed:
            return
        samples.report_samples(
            self,
            samples.seconds_per_step(result.records),
            extra_info=run.facts(result),
            group=samples.group(self.suite.suite_session.plan, self.cell),
            params=samples.params(self.cell),
        )

    def _require_ok(self, result: CellResult) -> None:
        """Skip what a backend cannot do, and fail if a trial has failed."""
        for record in result.records:
            if record["status"] == "skipped":
                pytest.skip(f"{self.name}: {record['reason']}")
            if record["status"] != "ok":
                raise RunError(self._failure(record))

    def _failure(self, record: Record) -> str:
        """Return how a trial ended, with the last lines of what it printed."""
        of = f"{record['trial']} of {self.cell.trials}"
        head = f"{self.name}: trial {of}: {record['status']}: {record['reason']}"
        log = self.suite.run.log(record)
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

    def _warn_of_flags(self, result: CellResult) -> None:
        from benchharness.measure.sanity import explain

        for flag in dict.fromkeys(flag for record in result.records for flag in record["flags"]):
            self.warn(ImplausibleWarning(f"{self.nodeid}: {flag}: {explain(flag)}"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return why the cell failed; a traceback only for what is our own mistake."""
        if isinstance(excinfo.value, BenchError):
            return "\n".join(map(self.suite.shortened, excinfo.value.lines()))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Return the place of the item."""
        return self.path, 0, self.name


def _unproven(verdicts: Mapping[str, str]) -> str:
    """Return what is not proven, by the other backend; empty if all is, or none was requested."""
    return "; ".join(
        f"{verdict} (against {other})" for other, verdict in verdicts.items() if verdict != "proven"
    )
