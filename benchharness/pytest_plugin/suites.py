"""Suite files that pytest collects: an item for each cell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchharness.errors import BenchError
from benchharness.pytest_plugin.options import against, request_of, with_our_options

if TYPE_CHECKING:
    from benchharness.pytest_plugin.against import AgainstRun
    from benchharness.pytest_plugin.run import SuiteRun
    from benchharness.run.session import Session
    from benchharness.suite.plan import PlannedCell

SUITES = pytest.StashKey[list["SuiteCollector"]]()
_BENCHMARK = re.compile(r"^\s*\[\[\s*benchmark\s*\]\]", re.M)
_DATASET = re.compile(r"^\s*\[\s*dataset\s*\]", re.M)
# No suite is longer, and no other file needs to be read for it.
_LONGEST_BYTES = 1_000_000


def is_suite(path: Path) -> bool:
    """Return whether a TOML file has the tables of a suite; cheap, for every file is asked."""
    try:
        if path.stat().st_size > _LONGEST_BYTES:
            return False
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(_BENCHMARK.search(text) and _DATASET.search(text))


class SuiteCollector(pytest.File):
    """Suite of a file."""

    def collect(self) -> Iterator[CellItem]:
        """Yield an item for each cell; benchmarks that only give their heads have none."""
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
    def run(self) -> SuiteRun | AgainstRun:
        """Timer of the items: a run of the suite, or its comparison with another side."""
        from benchharness.pytest_plugin.samples import session_of

        benchmarks = session_of(self.config)
        is_smoke = benchmarks is None or benchmarks.disabled
        if against(self.config) is not None and not is_smoke:
            from benchharness.pytest_plugin.against import AgainstRun

            return AgainstRun(self)
        from benchharness.pytest_plugin.run import SuiteRun

        return SuiteRun(self, is_smoke=is_smoke)

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
