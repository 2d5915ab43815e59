"""Gate on a baseline that pytest-benchmark has saved: which cells it covers, and which got slower.

pytest-benchmark compares benchmarks of one name, whatever they measured, and ends in a traceback
after a regression. For our benchmarks a line gives every regression, and every reason not to
compare; the user's own benchmarks stay as pytest-benchmark has them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from benchharness.measure.machine import fingerprint, machine_label
from benchharness.pytest_plugin.samples import session_of
from benchharness.pytest_plugin.suites import SUITES, CellItem, SuiteFile

Info = Mapping[str, Any]
_SAVE = "save a new baseline with --benchmark-autosave"
# With fewer samples on either side a change cannot be told from chance: processes differ, and the
# median of a handful of rounds is one of them.
_ROUNDS, _TRIALS = 20, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """File of pytest-benchmark.

    Attributes:
        name: Of the file, as pytest-benchmark's table shortens it.
        infos: ``extra_info`` of our benchmarks, by full name.
    """

    name: str
    infos: Mapping[str, Info]

    @classmethod
    def of(cls, path: object, benchmarks: Mapping[str, Info]) -> Baseline:
        """Return the baseline of a file that pytest-benchmark has loaded."""
        infos = {name: benchmark.get("extra_info") or {} for name, benchmark in benchmarks.items()}
        ours = {name: info for name, info in infos.items() if _is_ours(info)}
        return cls(name=_short(str(path)), infos=ours)

    @property
    def machines(self) -> set[str]:
        """The machines that it was measured on."""
        return {info["machine"] for info in self.infos.values()}

    def machine_mismatch(self) -> str:
        """Return that it is of another machine than this."""
        return (
            f"baseline {self.name}: expected one of this machine ({machine_label(fingerprint())}), "
            f"found one of {'; '.join(sorted(self.machines))}; {_SAVE}, on this machine"
        )


@dataclass(slots=True, kw_only=True)
class RegressionCheck:
    """Check of ``--benchmark-compare-fail`` that reports our regressions to us.

    Attributes:
        check: Of pytest-benchmark.
        infos: ``extra_info`` of the baselines, by their paths and full names.
        regressions: A line for each of ours that fails it.
        compared: Names of ours that were checked; of cells with few samples also how many.
    """

    check: Any
    infos: Mapping[tuple[str, str], Info]
    regressions: list[str]
    compared: dict[str, str]

    def fails(self, current: Any, compared: Mapping[str, Any]) -> str | None:
        """Return what pytest-benchmark is to report; None for ours, and if nothing failed."""
        failure: str | None = self.check.fails(current, compared)
        if not _is_ours(current.extra_info):
            return failure
        info = self.infos[compared["path"], current.fullname]
        self.compared[current.fullname] = _few_samples(current, compared, info)
        if failure:
            field = self.check.field
            now, then = current[field], compared[field]
            growth = f" ({100 * (now / then - 1):+.0f} %)" if then else ""
            versions = version_changes(current.extra_info, info)
            self.regressions.append(
                f"{current.fullname}: {field} of a step: expected at most {self.allowance} more "
                f"than the {_in_ms(then)} of baseline {_short(compared['path'])}, found "
                f"{_in_ms(now)}{growth}" + (f"; {versions}" if versions else "")
            )
        return None

    @property
    def allowance(self) -> str:
        """How much more it allows."""
        from pytest_benchmark.utils import PercentageRegressionCheck

        is_relative = isinstance(self.check, PercentageRegressionCheck)
        return f"{self.check.threshold:g} %" if is_relative else _in_ms(self.check.threshold)


class BaselineGate:
    """Plugin of a session that times anything of ours."""

    def __init__(self, session: pytest.Session, benchmarks: Any) -> None:
        self._session = session
        self._config = session.config
        self._benchmarks = benchmarks
        self._regressions: list[str] = []
        self._compared: dict[str, str] = {}
        # Why benchmarks cannot be compared; a gate fails for the first of these lists.
        self._mismatches: list[str] = []
        self._notes: list[str] = []
        mapping = benchmarks.compared_mapping or {}
        self._baselines = [Baseline.of(path, found) for path, found in mapping.items()]
        self._is_gate = bool(benchmarks.compare_fail)
        if self._is_gate:
            infos = {
                (str(path), name): info
                for path, baseline in zip(mapping, self._baselines, strict=True)
                for name, info in baseline.infos.items()
            }
            benchmarks.compare_fail = [
                RegressionCheck(
                    check=check,
                    infos=infos,
                    regressions=self._regressions,
                    compared=self._compared,
                )
                for check in benchmarks.compare_fail
            ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Refuse a gate without a usable baseline before anything is timed.

        Raises:
            pytest.UsageError: There is no baseline, or none of this machine.
        """
        is_timed = session.items and not (self._config.option.collectonly or self._is_idle)
        if not (is_timed and self._is_gate) or session.testsfailed:
            return
        # A session that times the user's own benchmarks, too, is not ours to refuse.
        if any(self._is_users(item) for item in session.items):
            return
        problem = self._missing_baseline()
        ours = [baseline for baseline in self._baselines if baseline.infos]
        if not problem and ours:
            here = machine_label(fingerprint())
            if not any(here in baseline.machines for baseline in ours):
                problem = ours[-1].machine_mismatch()
        if problem:
            raise pytest.UsageError(f"benchharness: {problem}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Leave out what cannot be compared, before pytest-benchmark compares the rest."""
        for suite in self._suites:
            suite.close()
        if not self._is_idle:
            self._judge()
        try:
            yield
        finally:
            if self._failures and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Report the runs and the baseline, after the table."""
        try:
            yield
        finally:
            for suite in self._suites:
                suite.report(terminalreporter)
            self._report(terminalreporter)

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add the machine's fingerprint."""
        machine_info["benchharness"] = fingerprint()

    @property
    def _suites(self) -> Sequence[SuiteFile]:
        return self._config.stash.get(SUITES, [])

    @property
    def _is_idle(self) -> bool:
        return bool(self._benchmarks.disabled or self._benchmarks.skip)

    def _is_users(self, item: pytest.Item) -> bool:
        names = getattr(item, "fixturenames", ())
        is_run = "benchmark" in names or not self._benchmarks.only
        return is_run and not isinstance(item, CellItem) and "benchharness" not in names

    def _missing_baseline(self) -> str:
        """Return why there is no baseline; empty if there is one."""
        if self._benchmarks.compared_mapping:
            return ""
        storage, requested = self._benchmarks.storage, self._benchmarks.compare
        if not requested:
            actual = "no --benchmark-compare"
        elif saved := storage.query(*([] if requested is True else [requested])):
            actual = f"{_listed([file.name for file in saved])}, which cannot be read"
        elif requested is True:
            actual = "none is saved there"
        else:
            actual = f"no file there matches {requested!r}"
        return (
            f"--benchmark-compare-fail: expected a baseline in {storage.location}, found {actual}; "
            f"{_SAVE}"
        )

    def _judge(self) -> None:
        """Find the benchmarks of ours that cannot be compared, and leave them out."""
        timed = [
            benchmark
            for benchmark in self._benchmarks.benchmarks
            if benchmark and _is_ours(benchmark.extra_info)
        ]
        mappings = (self._benchmarks.compared_mapping or {}).values()
        for mapping, baseline in zip(mappings, self._baselines, strict=True):
            self._leave_out(mapping, baseline, timed)
        known = {name for baseline in self._baselines for name in baseline.infos}
        new = [benchmark.fullname for benchmark in timed if benchmark.fullname not in known]
        if self._baselines and new:
            newest = self._baselines[-1].name
            self._notes.append(
                f"not in baseline {newest}, so not compared: {_listed(new)}; {_SAVE}"
            )

    def _leave_out(self, mapping: dict[str, Any], baseline: Baseline, timed: Sequence[Any]) -> None:
        """Remove from a baseline what was measured under different conditions."""
        common = [benchmark for benchmark in timed if benchmark.fullname in baseline.infos]
        elsewhere = [
            benchmark.fullname
            for benchmark in common
            if baseline.infos[benchmark.fullname]["machine"] != benchmark.extra_info["machine"]
        ]
        if elsewhere:
            mismatch = baseline.machine_mismatch()
            self._mismatches.append(f"{mismatch} (not compared: {_listed(elsewhere)})")
        for benchmark in common:
            reasons = differences(benchmark.extra_info, baseline.infos[benchmark.fullname])
            if benchmark.fullname not in elsewhere:
                for reason in reasons:
                    self._mismatches.append(
                        f"{benchmark.fullname}: {reason} ({baseline.name}): not compared"
                    )
            if reasons or benchmark.fullname in elsewhere:
                del mapping[benchmark.fullname]

    @property
    def _failures(self) -> list[str]:
        return [*self._regressions, *(self._mismatches if self._is_gate else [])]

    def _report(self, reporter: pytest.TerminalReporter) -> None:
        failures = self._failures
        notes = [*self._notes] if self._is_gate else [*self._mismatches, *self._notes]
        few = [f"{name} ({count})" for name, count in self._compared.items() if count]
        if few:
            notes.append(
                f"too few samples to tell a change from chance: {_listed(few)}; expected at least "
                f"{_ROUNDS} rounds and {_TRIALS} trials on both sides (--benchharness-trials "
                f"{_TRIALS}, longer benchmarks; or benchharness compare)"
            )
        if not (failures or notes or self._compared):
            return
        reporter.section("benchharness: baseline", sep="-")
        for text in failures:
            reporter.write_line(f"FAILED {text}", red=True)
        if self._compared and not failures:
            checks = self._benchmarks.compare_fail
            allowed = ", ".join(f"{check.check.field} + {check.allowance}" for check in checks)
            reporter.write_line(
                f"{len(self._compared)} compared, none slower than {allowed} allows"
            )
        for text in notes:
            reporter.write_line(f"note {text}")


def set_gate(session: pytest.Session) -> None:
    """Register the gate of a session, if pytest-benchmark is there to report."""
    benchmarks = session_of(session.config)
    if benchmarks is not None:
        gate = BaselineGate(session, benchmarks)
        session.config.pluginmanager.register(gate, "benchharness-gate")


def differences(now: Info, then: Info) -> list[str]:
    """Return the differences, beside the machine, for which two times cannot be compared."""
    return [*_differences(now, then)]


def version_changes(now: Info, then: Info) -> str:
    """Return which versions have changed, on one line; empty if none has."""
    return _changes(now.get("versions") or {}, then.get("versions") or {}, missing="none")


def _differences(now: Info, then: Info) -> Iterator[str]:
    def expected(what: str, theirs: object, ours: object) -> str:
        return f"{what}: expected {theirs}, as in the baseline, found {ours}"

    # What a fixture's benchmark never states is equal on both sides.
    for key in ("device", "precision"):
        if now.get(key) != then.get(key):
            yield expected(key, then.get(key), now.get(key))
    for key in ("dataset", "weights"):
        ours, theirs = now.get(key) or {}, then.get(key) or {}
        if ours.get("digest") != theirs.get("digest"):
            yield expected(
                key, *(f"{c['name']} {c['digest'][:12]}" if c else "none" for c in (theirs, ours))
            )
    for key, what in (("settings", "settings"), ("options", "backend options")):
        changed = _changes(now.get(key) or {}, then.get(key) or {}, leave_out=("precision",))
        if changed:
            yield f"{what}: expected those of the baseline, found others: {changed}"


def _changes(
    now: Info, then: Info, *, missing: str | None = None, leave_out: tuple[str, ...] = ()
) -> str:
    return ", ".join(
        f"{key} {then.get(key, missing)} then, {now.get(key, missing)} now"
        for key in sorted({*now, *then} - {*leave_out})
        if now.get(key) != then.get(key)
    )


def _few_samples(current: Any, compared: Mapping[str, Any], info: Info) -> str:
    """Return how many samples a cell has, of the side with fewer; empty if they are enough."""
    if not _is_cell(current.extra_info):
        return ""
    trials = min(len(side["trials"]) for side in (current.extra_info, info))
    rounds = min(current["rounds"], compared["rounds"])
    is_few = trials < _TRIALS or rounds < _ROUNDS
    return f"rounds: {rounds}, trials: {trials}" if is_few else ""


def _is_ours(info: Info) -> bool:
    return "benchharness" in info


def _is_cell(info: Info) -> bool:
    """Return whether a benchmark is a cell of a suite, which is there each time."""
    return info.get("kind") == "cell"


def _short(path: str) -> str:
    """Return the name of a file as pytest-benchmark's table has it."""
    return path.rsplit("/", maxsplit=1)[-1].removesuffix(".json")[:12]


def _in_ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g} ms"


def _listed(names: Sequence[str], *, most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
