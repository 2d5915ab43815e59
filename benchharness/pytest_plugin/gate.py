"""Watching over a session that times anything of ours: its baseline, and what is said at the end.

pytest-benchmark compares what bears the same name and says nothing of the rest; a regression ends
in a traceback. Of our benchmarks, every reason not to compare is told in a line, and every
regression too; the user's own benchmarks stay as pytest-benchmark has them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from benchharness.pytest_plugin.baseline import (
    Baseline,
    changes,
    differences,
    is_cell,
    is_ours,
    listed,
    short,
    versions_in_words,
)
from benchharness.pytest_plugin.handover import session_of
from benchharness.pytest_plugin.options import allows_new, backends
from benchharness.pytest_plugin.suites import SUITES, CellItem, SuiteFile

_SAVE = "save a new baseline with --benchmark-autosave"
# Fewer samples than these, on either side, are said to be few: a process differs from the next, and
# the median of a handful of rounds is one of them.
_ROUNDS, _TRIALS = 20, 3


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say of the baseline."""

    text: str
    is_failure: bool


@dataclass(slots=True)
class Check:
    """A check of ``--benchmark-compare-fail``: ours are told to us, others to pytest-benchmark.

    Attributes:
        check: As pytest-benchmark has it.
        found: Takes a line for each of ours that fails it.
        held: Takes the name of each of ours that was checked; for cells with few samples also how
            many those are, of the side that has fewer.
        infos: What the baselines tell of ours, by their paths and full names.
    """

    check: Any
    found: list[Line]
    held: dict[str, str]
    infos: Mapping[tuple[str, str], Mapping[str, Any]]

    def fails(self, current: Any, compared: Mapping[str, Any]) -> str | None:
        """Return what pytest-benchmark is to report; None for ours, and where nothing failed."""
        failure: str | None = self.check.fails(current, compared)
        if not is_ours(current.extra_info):
            return failure
        self.held[current.fullname] = self._few(current, compared)
        if failure:
            self.found.append(Line(self._told(current, compared), True))
        return None

    @property
    def allowance(self) -> str:
        """How much more it allows."""
        from pytest_benchmark.utils import PercentageRegressionCheck

        is_relative = isinstance(self.check, PercentageRegressionCheck)
        return f"{self.check.threshold:g} %" if is_relative else _in_ms(self.check.threshold)

    def _few(self, current: Any, compared: Mapping[str, Any]) -> str:
        if not is_cell(current.extra_info):
            return ""
        infos = (current.extra_info, self.infos[compared["path"], current.fullname])
        trials = min(len(info["trials"]) for info in infos)
        rounds = min(current["rounds"], compared["rounds"])
        is_few = trials < _TRIALS or rounds < _ROUNDS
        return f"rounds: {rounds}, trials: {trials}" if is_few else ""

    def _told(self, current: Any, compared: Mapping[str, Any]) -> str:
        field, now, then = self.check.field, current[self.check.field], compared[self.check.field]
        info = self.infos[compared["path"], current.fullname]
        changed = versions_in_words(current.extra_info, info)
        growth = f" ({100 * (now / then - 1):+.0f} %)" if then else ""
        return (
            f"{current.fullname}: {field} of a step: expected at most {self.allowance} more than "
            f"the {_in_ms(then)} of baseline {short(compared['path'])}, found {_in_ms(now)}{growth}"
            + (f"; {changed}" if changed else "")
        )


class Watch:
    """The plugin that a session has where it times anything of ours."""

    def __init__(self, session: pytest.Session, benchmarks: Any) -> None:
        self._session = session
        self._config = session.config
        self._benchmarks = benchmarks
        self._lines: list[Line] = []
        self._held: dict[str, str] = {}
        self._baselines = [
            Baseline.of(path, mapping)
            for path, mapping in (benchmarks.compared_mapping or {}).items()
        ]
        if benchmarks.compare_fail:
            infos = {
                (str(path), name): info
                for path, baseline in zip(benchmarks.compared_mapping, self._baselines, strict=True)
                for name, info in baseline.benchmarks.items()
            }
            benchmarks.compare_fail = [
                Check(check, self._lines, self._held, infos) for check in benchmarks.compare_fail
            ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Refuse to time what there is nothing to hold against, before anything is timed.

        Raises:
            pytest.UsageError: There is no baseline, or none of this machine.
        """
        is_timed = session.items and not (self._config.option.collectonly or self._is_idle)
        if is_timed and not session.testsfailed and self._is_gate and self._is_alone:
            problem = self._no_baseline() or self._no_machine()
            if problem:
                raise pytest.UsageError(f"benchharness: {problem}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Judge the baseline before pytest-benchmark compares; fail the session afterwards."""
        for suite in self._suites:
            if suite.is_begun:
                suite.course.close()
        if not self._is_idle:
            self._judge()
        try:
            yield
        finally:
            failed = any(line.is_failure for line in self._lines)
            if failed and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Say where the records are, and what is to be said of the baseline, after the table."""
        try:
            yield
        finally:
            for suite in self._suites:
                _tell_suite(terminalreporter, suite)
            self._tell_baseline(terminalreporter)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add the machine's fingerprint."""
        from benchharness.measure.machine import fingerprint

        machine_info["benchharness"] = fingerprint()

    @property
    def _suites(self) -> Sequence[SuiteFile]:
        return self._config.stash.get(SUITES, [])

    @property
    def _is_idle(self) -> bool:
        return bool(self._benchmarks.disabled or self._benchmarks.skip)

    @property
    def _is_gate(self) -> bool:
        return bool(self._benchmarks.compare_fail)

    @property
    def _is_alone(self) -> bool:
        """Whether nothing of the user's own would be timed, which is not ours to refuse."""
        return not any(map(self._is_own, self._session.items))

    def _is_own(self, item: pytest.Item) -> bool:
        """Whether an item is no business of ours."""
        names = getattr(item, "fixturenames", ())
        is_run = "benchmark" in names or not self._benchmarks.only
        return is_run and not isinstance(item, CellItem) and "benchharness" not in names

    def _no_baseline(self) -> str:
        if self._benchmarks.compared_mapping:
            return ""
        asked = self._benchmarks.compare
        found = {True: "none is saved there", (): "no --benchmark-compare"}.get(
            asked or (), f"no file there matches {asked!r}"
        )
        saved = self._benchmarks.storage.query(*([] if asked is True else [asked])) if asked else []
        if saved:
            found = f"{listed([file.name for file in saved])}, which cannot be read"
        return (
            "--benchmark-compare-fail: expected a baseline in "
            f"{self._benchmarks.storage.location}, found {found}; {_SAVE}"
        )

    def _no_machine(self) -> str:
        """Return that every baseline is of another machine; empty where one is of this one."""
        baselines = [baseline for baseline in self._baselines if baseline.benchmarks]
        if not baselines or any(_machine() in one.machines() for one in baselines):
            return ""
        return _other_machine(baselines[-1])

    def _judge(self) -> None:
        """Add a line for everything that cannot be compared, and keep it from being compared."""
        timed = [one for one in self._benchmarks.benchmarks if one and is_ours(one.extra_info)]
        loaded: Mapping[Any, dict[str, Any]] = self._benchmarks.compared_mapping or {}
        for baseline, mapping in zip(self._baselines, loaded.values(), strict=True):
            self._judge_one(baseline, mapping, timed)
        if self._baselines:
            self._judge_names(self._baselines, timed)

    def _judge_one(self, baseline: Baseline, mapping: dict[str, Any], timed: Sequence[Any]) -> None:
        common = [one for one in timed if one.fullname in baseline.benchmarks]
        alien = [
            one.fullname
            for one in common
            if baseline.benchmarks[one.fullname]["machine"] != one.extra_info["machine"]
        ]
        if alien:
            self._say(f"{_other_machine(baseline)} (not compared: {listed(alien)})")
        for one in common:
            reasons = differences(one.extra_info, baseline.benchmarks[one.fullname])
            if one.fullname not in alien:
                for reason in reasons:
                    self._say(f"{one.fullname}: {reason} ({baseline.name}): not compared")
            if reasons or one.fullname in alien:
                del mapping[one.fullname]

    def _judge_names(self, baselines: Sequence[Baseline], timed: Sequence[Any]) -> None:
        """Say what the baselines lack, and what the newest of them has that is not there now."""
        newest = baselines[-1]
        known = {name for baseline in baselines for name in baseline.benchmarks}
        there = {name for suite in self._suites for name in suite.names}
        gone = [
            name
            for name, info in newest.benchmarks.items()
            if name not in there and self._is_expected(name, info)
        ]
        lacking = [one.fullname for one in timed if one.fullname not in known]
        found = changes(lacking, gone)
        for new, old in found.renamed.items():
            self._say(
                f"{new}: expected a cell of baseline {newest.name}, found a new one; the nearest "
                f"there is {old}, which is missing now (renamed? {_SAVE})"
            )
        for name in found.new:
            text = f"{name}: expected a cell of baseline {newest.name}, found a new one ({_SAVE})"
            self._say(text, may_pass=allows_new(self._config))
        for name in found.missing:
            self._say(f"{name}: expected it, as in baseline {newest.name}, found it gone ({_SAVE})")

    def _is_expected(self, name: str, info: Mapping[str, Any]) -> bool:
        """Whether a cell of the baseline belongs to what was collected."""
        asked = backends(self._config)
        files = {suite.nodeid for suite in self._suites}
        is_wanted = not asked or info["backend"] in asked
        return is_cell(info) and name.split("::", maxsplit=1)[0] in files and is_wanted

    def _say(self, text: str, *, may_pass: bool = False) -> None:
        self._lines.append(Line(text, self._is_gate and not may_pass))

    def _tell_baseline(self, reporter: pytest.TerminalReporter) -> None:
        if not (self._lines or self._held):
            return
        reporter.section("benchharness: baseline", sep="-")
        for line in self._lines:
            kind = "FAILED" if line.is_failure else "note"
            reporter.write_line(f"{kind} {line.text}", red=line.is_failure)
        if self._held and not any(line.is_failure for line in self._lines):
            asked = ", ".join(map(_expression, self._benchmarks.compare_fail))
            reporter.write_line(f"{len(self._held)} compared, none slower than {asked} allows")
        few = [f"{name} ({count})" for name, count in self._held.items() if count]
        if few:
            reporter.write_line(
                f"note too few samples to tell a change from chance: {listed(few)}; expected at "
                f"least {_ROUNDS} rounds and {_TRIALS} trials on both sides (--benchharness-trials "
                f"{_TRIALS}, longer benchmarks; or benchharness compare)"
            )


def set_watch(session: pytest.Session) -> None:
    """Watch over a session, where pytest-benchmark is there to report."""
    benchmarks = session_of(session.config)
    if benchmarks is not None:
        session.config.pluginmanager.register(Watch(session, benchmarks), "benchharness-watch")


def _tell_suite(reporter: pytest.TerminalReporter, suite: SuiteFile) -> None:
    """Say what was announced of a suite's run, its answers and where it is recorded."""
    if not suite.is_begun or suite.course.folder is None:
        return
    from benchharness.report.summary import answers_in
    from benchharness.results.run_folder import RunFolder

    folder = RunFolder.open(suite.course.folder)
    reporter.section(f"benchharness: {suite.nodeid}", sep="-")
    for note in suite.course.notes:
        reporter.write_line(suite.shortened(note.text), yellow=note.level == "warning")
    for answer in answers_in(folder.read_run(), folder.records()[0]):
        reporter.write_line(answer)
    reporter.write_line(f"recorded in {suite.shortened(str(folder.path))}")


def _machine() -> str:
    from benchharness.measure.machine import fingerprint, machine_label

    return machine_label(fingerprint())


def _other_machine(baseline: Baseline) -> str:
    return (
        f"baseline {baseline.name}: expected one of this machine ({_machine()}), "
        f"found one of {'; '.join(sorted(baseline.machines()))}; {_SAVE}, on this machine"
    )


def _expression(check: Check) -> str:
    return f"{check.check.field} + {check.allowance}"


def _in_ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g} ms"
