"""Steps of the user's tests against a git revision: the test of each side runs in turn.

Both tests are processes of one environment, each with the files of its side in front of the import
path. They live side by side, and one of them computes: a block of steps here, a block there.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from statistics import median
from typing import Any, Self

import pytest

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.revisions import open_worktree
from benchharness.compare.run import with_retained_heap
from benchharness.compare.sampling import FEWEST_PAIRS, level_of, planned_looks
from benchharness.compare.verdict import Sample, Verdict, decide, read_thresholds
from benchharness.download.caches import cache_folder
from benchharness.errors import BenchError, RunError
from benchharness.measure.clock import now_s
from benchharness.measure.machine import fingerprint, machine_label
from benchharness.measure.yardstick import SHARED_DEVICE
from benchharness.model.quantities import QUANTITIES
from benchharness.pytest_plugin.against import judge, target_of
from benchharness.pytest_plugin.options import UNCOMPARED, UncomparedWarning, request_of
from benchharness.pytest_plugin.samples import report_samples, session_of
from benchharness.pytest_plugin.side import VARIABLE, path_as_json
from benchharness.pytest_plugin.suites import FirstError
from benchharness.report.comparison import plain_text
from benchharness.subprocesses import python_environment

_COLUMN = QUANTITIES["step_ms_p50"]
_MOST_PAIRS = 20
_LOG_LINES = 15
_END_S = 120
_PLUGINS = ("benchharness.pytest_plugin.side",)
# Variables by which coverage starts in every process, and slows the side that it covers.
_COVERAGE = ("COV_CORE_", "COVERAGE_PROCESS_")
# Options of the session that are none of a single test's: what it selects, writes and reports.
_SESSION_OPTIONS = re.compile(
    r"against|benchmark_|cov_|file_or_dir$|keyword$|markexpr$|deselect$|maxfail$|xmlpath$|htmlpath$"
    r"|json_report|report_log|log_file|basetemp$|usepdb|trace$|verbose$|durations|lf$|failedfirst$"
    r"|newfirst$|stepwise|numprocesses$|dist$|tx$|plugins$|inifilename$|rootdir$|override_ini$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSide:
    """Files of one side, below ``files``; those of the working tree are at the repository's top."""

    label: str
    top: Path
    files: Path

    def here(self, path: Path) -> Path:
        """Return where the side has a path of the repository; others stay as they are."""
        inside = path.is_relative_to(self.top) and not path.is_relative_to(sys.prefix)
        return self.files / path.relative_to(self.top) if inside else path

    def environment(self, root: Path) -> dict[str, str]:
        """Return the variables of its process, which imports the side's files first.

        ``root`` is the root folder of the session, that of a project within the repository.
        """
        path = [self.here(Path(entry)) for entry in sys.path if entry]
        own = [folder for folder in path if folder.is_relative_to(self.files)]
        sources = [at / part for at in (self.here(root), self.files) for part in ("src", "")]
        entries = dict.fromkeys([*map(str, [*own, *sources]), os.environ.get("PYTHONPATH", "")])
        kept = {
            name: value
            for name, value in os.environ.items()
            if name != "PYTEST_ADDOPTS" and not name.startswith(_COVERAGE)
        }
        variables = {**SHARED_DEVICE, **kept, "PYTHONPATH": os.pathsep.join(entries)}
        return with_retained_heap(python_environment(variables))

    def arguments(self, item: pytest.Item, cache: Path) -> list[str]:
        """Return pytest's arguments for a test; what an ini file adds is in the options."""
        config = item.config
        ini = self.here(config.inipath) if config.inipath else None
        plugins = [name for name in config.option.plugins if isinstance(name, str)]
        own = ("addopts=", f"cache_dir={cache}")
        return [
            f"{self.here(item.path)}::{item.nodeid.partition('::')[2]}",
            f"--rootdir={self.here(config.rootpath)}",
            *(["-c", str(ini)] if ini and ini.exists() else []),
            *(f"-p{name}" for name in (*plugins, *_PLUGINS)),
            *(f"-o{text}" for text in (*(config.option.override_ini or ()), *own)),
        ]


class SideProcess:
    """Process that runs the test of one side, and times its steps block by block.

    Its last report has a ``code``.
    """

    def __init__(self, item: pytest.Item, side: StepSide, log: Path) -> None:
        self.facts: dict[str, Any] = {}
        self.step_s: list[float] = []
        self.output = ""
        self._label, self._log = side.label, log
        orders, ours = os.pipe()
        theirs, answers = os.pipe()
        # Unbuffered: a line that is read in advance would not be seen to be there.
        self._orders = os.fdopen(ours, "wb", buffering=0)
        self._answers = os.fdopen(theirs, "rb", buffering=0)
        self._timeout_s = request_of(item.config, item.path).timeout_s
        root = item.config.rootpath
        stated = {
            "options": _options(item.config),
            "places": [side.files, side.here(root), side.top],
            "orders": orders,
            "answers": answers,
        }
        folder = side.here(item.config.invocation_params.dir)
        arguments = side.arguments(item, cache=log.with_name(f"cache-{log.name}"))
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=folder if folder.is_dir() else side.files,
                env=side.environment(root) | {VARIABLE: json.dumps(stated, default=path_as_json)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(orders, answers),
                # Ctrl-C is for the session.
                start_new_session=True,
            )
        os.close(orders)
        os.close(answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._kill()
        self._process.wait()
        self._answers.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def take_turn(self) -> None:
        """Let it run until its next report."""
        with suppress(BrokenPipeError):
            self._orders.write(b"go\n")
        self.read()

    def read(self) -> None:
        """Wait for its next report, no longer than ``--benchharness-timeout`` says."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            if not selector.select(self._timeout_s or None):
                self._kill()
        line = self._answers.readline()
        answer = json.loads(line) if line else {"code": self._process.wait()}
        if "step_s" in answer:
            self.step_s.append(answer["step_s"])
        self.facts |= answer

    def finish(self) -> None:
        """Let the test end."""
        self._orders.close()
        while "code" not in self.facts:
            self.read()
        # What it prints of a failure comes last.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self.output = self._log.read_text(encoding="utf-8", errors="replace")

    def require_ok(self) -> None:
        """Require that the test has passed, timed its steps, and imported the side's files."""
        problem = self.facts.get("foreign", "")
        if "rounds" not in self.facts:
            problem = problem or "expected a call of benchharness.time, found none"
        if code := self.facts["code"]:
            tail = "\n".join(f"    {line}" for line in self.output.splitlines()[-_LOG_LINES:])
            problem = f"the test ended with code {code}:\n{tail}"
        if problem:
            raise RunError(f"{self._label}: {problem}")

    @property
    def skipped(self) -> str:
        """Why the test was skipped before it timed anything; empty if it was not."""
        return "" if "rounds" in self.facts else self.facts.get("skipped", "")

    @property
    def is_missing(self) -> bool:
        """True where the side has no such test, or skips it."""
        is_refused = self.facts["code"] == pytest.ExitCode.USAGE_ERROR
        return bool(self.skipped) or (is_refused and "not found: " in self.output)


class StepsAgainst:
    """Plugin of a session with ``--against``: it runs the tests that use the fixture."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._sides: tuple[StepSide, StepSide] | None = None
        self._first_error = FirstError()
        self._cells: list[CellComparison] = []
        self._notes: list[str] = []
        self._began_s = now_s()
        config.add_cleanup(self._stack.close)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let the test's fixtures, made in this process too, leave the device to the sides."""
        if "benchharness" in getattr(item, "fixturenames", ()):
            for name, value in SHARED_DEVICE.items():
                os.environ.setdefault(name, value)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run the test of both sides in turn, in place of the function."""
        benchmarks = session_of(self._config)
        if "benchharness" not in pyfuncitem.fixturenames or benchmarks is None:
            return None
        if benchmarks.disabled:
            pyfuncitem.warn(UncomparedWarning(f"{pyfuncitem.nodeid}: {UNCOMPARED}"))
            return None
        try:
            return self._compare(pyfuncitem)
        except BenchError as error:
            failure = str(error)
        return pytest.fail(failure, pytrace=False)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report the comparison of all steps."""
        if self._notes or self._cells:
            terminalreporter.section("benchharness: steps", sep="-")
        for note in self._notes:
            terminalreporter.write_line(note)
        if self._cells:
            comparison = self._comparison(*self._cells)
            width = max(80, terminalreporter._tw.fullwidth)
            terminalreporter.write_line(plain_text(comparison, width=width).rstrip())

    def _compare(self, item: pytest.Function) -> bool | None:
        """Run pairs until the step is decided; None if the revision has no such test."""
        a, b = self._opened(item)
        given = read_thresholds(self._config.getoption("against_threshold"))
        threshold = given.get(_COLUMN.name, _COLUMN.threshold)
        looks = planned_looks(FEWEST_PAIRS, _MOST_PAIRS)
        pairs: list[tuple[SideProcess, SideProcess]] = []
        verdict: Verdict | None = None
        while len(pairs) < _MOST_PAIRS and (verdict is None or verdict.word == "undecidable"):
            of_a, of_b = _run_pair(item, a, b, is_reversed=len(pairs) % 2 == 1)
            if of_b.skipped:
                pytest.skip(of_b.skipped)
            if of_a.is_missing:
                item.warn(UncomparedWarning(f"{item.nodeid}: not compared: not in {a.label}"))
                return None
            of_b.require_ok()
            of_a.require_ok()
            for side in (of_b, of_a):
                if not side.step_s:
                    # The step skips by itself.
                    pytest.skip(side.facts.get("skipped") or "no step was timed")
            pairs.append((of_a, of_b))
            if len(pairs) in looks:
                medians = [(median(of_a.step_s), median(of_b.step_s)) for of_a, of_b in pairs]
                sample = Sample.paired(_COLUMN, medians)
                verdict = decide(sample, threshold=threshold, level=level_of(looks))
        assert verdict is not None
        identity = {"cell": item.nodeid, "benchmark": item.nodeid, "matrix": {}, "backends": []}
        cell = CellComparison(label=item.nodeid, identity=identity, verdicts=(verdict,))
        self._cells.append(cell)
        for place, letter, suffix in ((1, "B", ""), (0, "A", f" ({a.label.partition(' ')[0]})")):
            sides = [pair[place] for pair in pairs]
            facts = {**sides[-1].facts["facts"], "side": letter, "against": a.label}
            if letter == "B":
                facts["comparison"] = cell.as_dict()
            step_s = [seconds for side in sides for seconds in side.step_s]
            report_samples(item, step_s, extra_info=facts, suffix=suffix)
        judge(item, self._comparison(cell))
        return True

    def _opened(self, item: pytest.Item) -> tuple[StepSide, StepSide]:
        """Return both sides, the revision checked out."""
        if self._sides is None:
            results = self._config.invocation_params.dir / "results"
            with self._first_error.repeated():
                opened = open_worktree(
                    target_of(self._config, backends=(), results=results).text,
                    repository=item.path.parent,
                    cache=cache_folder(os.environ),
                    tell=self._notes.append,
                )
                top, files, label = self._stack.enter_context(opened)
            self._sides = (
                StepSide(label=label, top=top, files=files),
                StepSide(label="working tree", top=top, files=top),
            )
        if not item.path.is_relative_to(self._sides[0].top):
            raise RunError(f"{item.path}: expected a test below {self._sides[0].top}")
        return self._sides

    def _comparison(self, *cells: CellComparison) -> Comparison:
        assert self._sides is not None
        return Comparison(
            suite="steps",
            a=self._sides[0].label,
            b=self._sides[1].label,
            how="interleaved",
            machine=machine_label(fingerprint()),
            cells=cells,
            minutes=(now_s() - self._began_s) / 60,
        )


def _run_pair(
    item: pytest.Item, a: StepSide, b: StepSide, *, is_reversed: bool
) -> tuple[SideProcess, SideProcess]:
    """Run the test of both sides, block by block in turn, and return them when they have ended."""
    with tempfile.TemporaryDirectory(prefix="benchharness-steps-") as folder, ExitStack() as stack:
        of_a = stack.enter_context(SideProcess(item, a, Path(folder, "a")))
        of_b = stack.enter_context(SideProcess(item, b, Path(folder, "b")))
        sides = (of_b, of_a) if is_reversed else (of_a, of_b)
        for side in sides:
            side.read()
        if all("rounds" in side.facts for side in sides):
            # The first turn is for warming up.
            for _ in range(1 + min(side.facts["rounds"] for side in sides)):
                for side in sides:
                    if all("code" not in side.facts for side in sides):
                        side.take_turn()
        for side in sides:
            side.finish()
        return of_a, of_b


def _options(config: pytest.Config) -> dict[str, Any]:
    """Return the session's options that a test may ask for."""

    def is_plain(value: object) -> bool:
        if isinstance(value, list):
            return all(map(is_plain, value))
        return isinstance(value, str | int | float | PurePath | None)

    options = vars(config.option).items()
    kept = {k: v for k, v in options if is_plain(v) and not _SESSION_OPTIONS.match(k)}
    is_only = config.getoption("benchmark_only", False)
    quiet = {"benchmark_quiet": True, "disable_warnings": True}
    return {**kept, **quiet, "benchmark_only": is_only}
