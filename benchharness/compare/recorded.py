"""Two recorded runs, or two backends of one, held against each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchharness.compare.comparison import FEWEST_SESSIONS, CellComparison, Comparison, Trials
from benchharness.compare.criteria import Criteria
from benchharness.compare.looks import ERROR
from benchharness.compare.notes import software, unequal_work
from benchharness.compare.sessions import ran_in_turn
from benchharness.compare.targets import Recorded
from benchharness.errors import Problem, SuiteError
from benchharness.model.cell import CellKey, cell_key, cell_label
from benchharness.results.cells import Cell, cells_of, worst_proof
from benchharness.results.record import Record, disturbed_count

IGNORABLE = ("machine", "data", "weights", "settings")
# What tells machines apart where a run does not say it in one line.
_MACHINE = ("cpu", "cores", "machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """What to compare of two recorded sides.

    Attributes:
        benchmarks: Only these; empty for all.
        backends: Only these; empty for all.
        columns: In place of the suite's; empty for those.
        thresholds: By column; they win over the suite's.
        across: What may differ between the sides, of ``IGNORABLE``.
        described: What a suite says of regressions; None for what A's run was recorded with.
    """

    benchmarks: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    across: tuple[str, ...] = ()
    described: Mapping[str, Any] | None = None


def compare_recorded(a: Recorded, b: Recorded, question: RecordedOptions) -> Comparison:
    """Return what two recorded sides differ in.

    Trials of one run that ran in turn are paired; others are not, and their speeds may differ by
    the suite's ``drift`` for no reason of the code's, unless both sides ran at several times.

    Raises:
        SuiteError: They are not of the same machine, data, weights or settings, or share no cell;
            or a stated threshold is below the drift.
        RunError: A run cannot be read.
    """
    one, other = a.run.read_run(), b.run.read_run()
    is_same_run = a.run.path.resolve() == b.run.path.resolve()
    ours, theirs = _cells(a, question), _cells(b, question)
    matched = [(cell, _counterpart(cell, a, b, theirs)) for cell in ours]
    problems = [*_differences(one, other), *_settings(matched)]
    refused = [problem for kind, problem in problems if kind not in question.across]
    if refused:
        raise SuiteError(f"{a.label}, {b.label}", refused)
    described = (
        one.get("resolved", {}).get("regression", {})
        if question.described is None
        else question.described
    )
    criteria = Criteria.of(described, columns=question.columns, thresholds=question.thresholds)
    run = a.run.records()[0] if is_same_run else None
    trials = [
        _trials(cell, match, criteria, run) if match is not None else None
        for cell, match in matched
    ]
    if too_small := [*_below_drift(matched, trials, criteria)]:
        raise SuiteError(f"{a.label}, {b.label}", too_small)
    cells = [
        _compared(cell, match, both, theirs, criteria, is_same_run=is_same_run)
        for (cell, match), both in zip(matched, trials, strict=True)
    ]
    notes = [*unequal_work(cells)]
    notes += dict.fromkeys(_of_different_times([both for both in trials if both]))
    if not is_same_run:
        notes += software(one.get("environment", {}), other.get("environment", {}))
    notes += [f"differs, as allowed: {p}" for kind, p in problems if kind in question.across]
    new = [cell.label for cell in theirs if not any(cell is match for _, match in matched)]
    notes += [f"only in B: {', '.join(new)}"] if new else []
    return Comparison(
        suite=a.run.suite,
        a=a.label,
        b=b.label,
        how="same run" if is_same_run else "recorded",
        machine=str(one.get("device", "")),
        cells=tuple(cells),
        notes=tuple(notes),
        disturbed=sum(
            disturbed_count(both.ours, _cores(one)) + disturbed_count(both.theirs, _cores(other))
            for both in trials
            if both
        ),
    )


def _cores(run: Mapping[str, Any]) -> int | None:
    cores: int | None = (run.get("environment") or {}).get("cores")
    return cores


def _trials(cell: Cell, match: Cell, criteria: Criteria, run: Sequence[Record] | None) -> Trials:
    """Return the trials of a cell on both sides.

    Args:
        cell: Of A.
        match: Of B.
        criteria: Of their suite.
        run: All trials, where both cells are of one run.
    """
    is_paired = run is not None and ran_in_turn(cell.trials, match.trials, run=run)
    return Trials(ours=cell.trials, theirs=match.trials, is_paired=is_paired, drift=criteria.drift)


def _below_drift(
    matched: Sequence[tuple[Cell, Cell | None]],
    trials: Sequence[Trials | None],
    criteria: Criteria,
) -> Iterator[Problem]:
    """Yield the thresholds that somebody states and nobody could decide on."""
    found: dict[float, list[str]] = {}
    for (cell, _), both in zip(matched, trials, strict=True):
        for quantity in criteria.quantities:
            stated = criteria.stated_threshold(cell.benchmark, quantity.name)
            if both is None or quantity.kind != "speed" or stated is None:
                continue
            if stated <= both.allowance and both.sample(quantity) is not None:
                found.setdefault(stated, []).append(quantity.name)
    for threshold, columns in found.items():
        yield Problem(
            where=f"threshold of {', '.join(dict.fromkeys(columns))}",
            expected=f"more than the {criteria.drift:.0%} by which speeds of equal code differ "
            "between two times",
            found=f"{threshold:.3g}",
            hint=f"--threshold {2 * criteria.drift:.0%}; or compare both sides afresh; or state "
            "the drift of this machine in [regression]",
        )


def _of_different_times(trials: Sequence[Trials]) -> Iterator[str]:
    """Yield what a reader must know of trials that did not run next to each other."""
    for both in trials:
        if both.is_paired:
            continue
        if both.allowance:
            yield (
                "recorded at different times: speeds of equal code may differ by "
                f"{both.drift:.0%} then, so intervals are so much wider, and the limit is "
                f"{2 * both.drift:.0%} where none is stated; compare both sides afresh to see "
                "smaller changes"
            )
        elif min(both.sessions) >= FEWEST_SESSIONS:
            ours, theirs = both.sessions
            yield (
                f"recorded at {ours} different times of A and {theirs} of B: speeds are compared "
                "by the median of each time"
            )
        else:
            yield "recorded at different times: trials are not paired"


def _cells(side: Recorded, question: RecordedOptions) -> list[Cell]:
    """Return the cells of a side that are asked for."""
    records, _ = side.run.records()
    wanted = (side.backend,) if side.backend else question.backends
    found = cells_of(
        record
        for record in records
        if (not wanted or record["backend"] in wanted)
        and (not question.benchmarks or record["benchmark"] in question.benchmarks)
    )
    if found:
        return found
    known = sorted({f"{record['benchmark']} on {record['backend']}" for record in records})
    names = ", ".join([*question.benchmarks, *wanted]) or "any trial"
    problem = Problem(
        where=side.label,
        expected=f"trials of {names}",
        found=", ".join(known) or "an empty run",
    )
    raise SuiteError(str(side.run.path), [problem])


def _counterpart(cell: Cell, a: Recorded, b: Recorded, theirs: Sequence[Cell]) -> Cell | None:
    are_backends = a.backend is not None and b.backend is not None

    def key(one: Cell) -> CellKey:
        backend = "" if are_backends else one.backend
        return cell_key(one.benchmark, dict(one.matrix), one.track, backend)

    return next((one for one in theirs if key(one) == key(cell)), None)


def _compared(
    cell: Cell,
    match: Cell | None,
    trials: Trials | None,
    theirs: Sequence[Cell],
    criteria: Criteria,
    *,
    is_same_run: bool,
) -> CellComparison:
    identity = {
        "cell": cell.label,
        "benchmark": cell.benchmark,
        "matrix": dict(cell.matrix),
        "track": cell.track,
        "backends": [cell.backend, match.backend if match else cell.backend],
    }
    if match is None or trials is None:
        return CellComparison(label=cell.label, identity=identity, failure=_missing(cell, theirs))
    failure = trials.failure()
    backend = cell.backend if cell.backend == match.backend else ""
    return CellComparison(
        label=cell_label(cell.benchmark, dict(cell.matrix), cell.track, backend),
        identity=identity,
        verdicts=()
        if failure
        else trials.verdicts(criteria, cell.benchmark, level=ERROR, level_of_misses=ERROR),
        proof=worst_proof([cell.proof_against(match.backend)]) if is_same_run else "",
        failure=failure,
        is_skipped=trials.is_skipped,
    )


def _missing(cell: Cell, theirs: Sequence[Cell]) -> str:
    names = [one.label for one in theirs]
    near = difflib.get_close_matches(cell.label, names, n=1)
    hint = f"did you rename it to {near[0]}?" if near else f"B has: {', '.join(names)}"
    return f"not in B ({hint})"


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
    """Yield what two runs differ in that decides how long the work takes."""
    is_in_words = "machine" in one and "machine" in other
    machines = [_machine(run, is_in_words=is_in_words) for run in (one, other)]
    if machines[0] != machines[1]:
        yield "machine", _problem("machine", *machines)
    if "variables" in one and "variables" in other:
        ours, theirs = one["variables"], other["variables"]
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                values = ours.get(name, "not set"), theirs.get(name, "not set")
                yield "settings", _problem("settings", *values, where=f"variable {name}")
    for kind, place in (("data", "dataset"), ("weights", "weights")):
        ours, theirs = one.get(place) or {}, other.get(place) or {}
        if ours.get("digest") != theirs.get("digest"):
            yield kind, _problem(kind, _described(ours), _described(theirs))


def _settings(matched: Sequence[tuple[Cell, Cell | None]]) -> Iterator[tuple[str, Problem]]:
    """Yield what cells of one name were asked that is not the same."""
    for cell, match in matched:
        if match is None:
            continue
        ours, theirs = cell.trials[0]["settings"], match.trials[0]["settings"]
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                where = f"{cell.label}: {key}"
                yield "settings", _problem("settings", ours.get(key), theirs.get(key), where=where)


def _problem(kind: str, ours: Any, theirs: Any, *, where: str = "") -> Problem:
    return Problem(
        where=where or kind,
        expected=f"the same {kind} on both sides",
        found=f"A {ours}, B {theirs}",
        hint=f"--across {kind} compares all the same",
    )


def _machine(run: Mapping[str, Any], *, is_in_words: bool) -> str:
    if is_in_words:
        return f"{run['machine']}, on {run.get('device', '')}"
    environment = run.get("environment") or {}
    return ", ".join(str(environment.get(key, run.get("device", ""))) for key in _MACHINE)


def _described(found: Mapping[str, Any]) -> str:
    name = found.get("name") or found.get("origin") or ""
    digest = str(found.get("digest", ""))[:16]
    return f"{name} {digest}".strip() or "none"
