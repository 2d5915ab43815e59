"""Verdicts on baselines that pytest-benchmark has saved: which of our benchmarks got slower.

A stored time says nothing of the machine that it was taken on. The yardstick beside it does: where
that has moved, the verdict is "undecided".
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import pytest

from benchharness.compare.sampling import ERROR
from benchharness.compare.verdict import Sample, decide
from benchharness.measure.machine import fingerprint
from benchharness.measure.yardstick import movement
from benchharness.model.quantities import QUANTITIES
from benchharness.pytest_plugin.options import SUITES

Info = Mapping[str, Any]
# With fewer samples on either side a change cannot be told from chance: processes differ, and the
# median of a handful of rounds is one of them.
_ROUNDS, _TRIALS = 20, 3
# A machine's movement that is told where it decides nothing.
_TOLD = 0.01
_SAVE = "save a new baseline with --benchmark-autosave"
_HINT = (
    "--benchmark-compare-fail compares numbers alone: it cannot tell a slower machine, or other "
    "work, from slower code; the verdicts here can, and --against runs both sides in turn"
)


class BaselineGate:
    """Plugin of a session that times anything of ours."""

    def __init__(self, config: pytest.Config, benchmarks: Any) -> None:
        self._config = config
        self._benchmarks = benchmarks
        self._verdicts: list[tuple[str, str]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Judge the benchmarks, and fail the session if one got slower."""
        for suite in self._suites:
            suite.close()
        self._verdicts = [*self._judge()]
        try:
            yield
        finally:
            is_slower = any(word == "FAILED" for word, _ in self._verdicts)
            if is_slower and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Report the runs and the verdicts, after the table."""
        try:
            yield
        finally:
            for suite in self._suites:
                suite.report(terminalreporter)
            if self._verdicts:
                terminalreporter.section("benchharness: baseline", sep="-")
            for word, text in self._verdicts:
                terminalreporter.write_line(f"{word} {text}", red=word == "FAILED")
            if self._verdicts and self._benchmarks.compare_fail:
                terminalreporter.write_line(f"note {_HINT}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add the machine's fingerprint."""
        machine_info["benchharness"] = fingerprint()

    @property
    def _suites(self) -> list[Any]:
        return self._config.stash.get(SUITES, [])

    def _judge(self) -> Iterator[tuple[str, str]]:
        """Yield a word and a text for each benchmark of ours and each baseline."""
        ours = [
            benchmark
            for benchmark in self._benchmarks.benchmarks
            if benchmark
            and "benchharness" in benchmark.extra_info
            and "against" not in benchmark.extra_info
        ]
        baselines = self._benchmarks.compared_mapping or {}
        if not baselines and self._config.getoption("benchmark_compare"):
            # What pytest-benchmark says of it stands above everything else.
            for benchmark in ours:
                yield "undecided", f"{benchmark.fullname}: no baseline that can be read; {_SAVE}"
        for path, baseline in baselines.items():
            file = str(path).rsplit("/", maxsplit=1)[-1].removesuffix(".json")[:12]
            for benchmark in ours:
                then = baseline.get(benchmark.fullname, {}).get("extra_info") or {}
                word, text = verdict(benchmark.extra_info, then)
                yield word, f"{benchmark.fullname}: {text} (baseline {file})"


def verdict(now: Info, then: Info) -> tuple[str, str]:
    """Return ``FAILED``, ``passed`` or ``undecided`` on two ``extra_info``, and the reason."""
    if "benchharness" not in then:
        return "undecided", f"not in the baseline; {_SAVE}"
    if reasons := [*differences(now, then)]:
        return "undecided", "; ".join(reasons)
    rounds = min(info.get("rounds", 0) for info in (now, then))
    trials = min(len(info.get("trial_step_s", ())) for info in (now, then))
    if rounds < _ROUNDS or trials < _TRIALS:
        return "undecided", (
            f"expected at least {_ROUNDS} rounds and {_TRIALS} trials on both sides, found "
            f"{rounds} and {trials}"
        )
    limit = now["limit"]
    moved = movement(now.get("yardstick") or {}, then.get("yardstick") or {})
    if moved is None:
        return "undecided", f"no yardstick of the same libraries; {_SAVE}"
    if abs(moved) > limit / 3:
        return "undecided", f"the machine was {speed(moved)}; run both sides in turn: --against"
    # As they would have been on the machine as it is now.
    then_s = [(1 + moved) * step_s for step_s in then["trial_step_s"]]
    sample = Sample.unpaired(QUANTITIES["step_ms_p50"], then_s, now["trial_step_s"], drift=0.0)
    decided = decide(sample, threshold=limit, level=ERROR)
    change = (decided.change or 1.0) - 1
    size = f"{speed(change, digits=1)}, limit {limit:.0%}"
    if abs(moved) >= _TOLD:
        size += f", beside a machine that was {speed(moved)}"
    changed = changes(now.get("versions") or {}, then.get("versions") or {})
    text = f"a step is {size}" + (f"; {changed}" if changed else "")
    if decided.word == "undecidable":
        return "undecided", f"{text}: its trials differ too much"
    return "FAILED" if decided.is_worse else "passed", text


def speed(share: float, *, digits: int = 0) -> str:
    """Return by how much something takes longer, or less long, for people."""
    return f"{abs(share):.{digits}%} {'slower' if share > 0 else 'faster'}"


def differences(now: Info, then: Info) -> Iterator[str]:
    """Yield the differences for which two times cannot be compared."""
    # What a fixture's benchmark never states is equal on both sides.
    for key in ("machine", "device", "precision", "dataset", "weights"):
        ours, theirs = _shown(now.get(key)), _shown(then.get(key))
        if ours != theirs:
            yield f"{key}: expected {theirs}, as in the baseline, found {ours}"
    for key, what in (("settings", "settings"), ("options", "backend options")):
        pair = [{**(info.get(key) or {}), "precision": None} for info in (now, then)]
        if changed := changes(*pair):
            yield f"{what}: expected those of the baseline, found others: {changed}"


def _shown(fact: Any) -> str:
    """Return a fact for people, of data and weights the name and the digest."""
    if isinstance(fact, Mapping):
        return f"{fact['name']} {fact['digest'][:12]}"
    return "none" if fact is None else str(fact)


def changes(now: Info, then: Info) -> str:
    """Return which values have changed, on one line; empty if none has."""
    return ", ".join(
        f"{key} {then.get(key)} then, {now.get(key)} now"
        for key in sorted({*now, *then})
        if now.get(key) != then.get(key)
    )
