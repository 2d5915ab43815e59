"""Comparison of two recorded runs, or of two backends of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchharness.compare.comparison import (
    CellComparison,
    Comparison,
    proof_notes,
    version_notes,
)
from benchharness.compare.sampling import ERROR
from benchharness.compare.targets import RecordedRun
from benchharness.compare.trials import FEWEST_SESSIONS, Trials, ran_in_turn
from benchharness.compare.verdict import Criteria
from benchharness.errors import Problem, SuiteError
from benchharness.model.cell import CellKey, cell_key, cell_label
from benchharness.results.cells import Cell, cells_of, worst_proof
from benchharness.results.record import Record, disturbed_count
from benchharness.text import closest

IGNORABLE = ("machine", "data", "weights", "settings")
# What distinguishes machines if a run does not say it in one line.
_MACHINE = ("cpu", "cores", "machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOptions:
    """Options of a comparison of two recorded runs.

    Attributes:
        benchmarks: Only these; empty for all.
        backends: Only these; empty for all.
        columns: In place of the suite's; empty for those.
        thresholds: By column; they win over the suite's.
        ignore: What may differ between the runs, of ``IGNORABLE``.
        described: Regression settings of a suite; None for those that A was recorded with.
    """

    benchmarks: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    described: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A cell of A with its counterpart of B; None if B has none."""

    ours: Cell
    theirs: Cell | None
    trials: Trials | None


def compare_recorded(a: RecordedRun, b: RecordedRun, options: RecordedOptions) -> Comparison:
    """Return the comparison of two recorded runs.

    Trials of one run that ran in turn are paired; others are not, and their speeds may differ by
    the suite's ``drift`` for other reasons than the code, unless both ran at several times.

    Raises:
        SuiteError: They are not of the same machine, data, weights or settings, or share no cell;
            or a stated threshold is below the drift.
        RunError: A run cannot be read.
    """
    run_a, run_b = a.run.read_run(), b.run.read_run()
    is_same_run = a.run.path.resolve() == b.run.path.resolve()
    described = options.described
    if described is None:
        described = run_a.get("resolved", {}).get("regression", {})
    criteria = Criteria.of(described, columns=options.columns, thresholds=options.thresholds)
    ours, theirs = _cells(a, options), _cells(b, options)
    every = a.run.records()[0] if is_same_run else None
    matches = [_match(cell, a, b, theirs, drift=criteria.drift, run=every) for cell in ours]

    differences = [*_run_differences(run_a, run_b), *_setting_differences(matches)]
    problems = [problem for kind, problem in differences if kind not in options.ignore]
    problems = problems or [*_thresholds_below_drift(matches, criteria)]
    if problems:
        raise SuiteError(f"{a.label}, {b.label}", problems)

    cells = [_compare(match, theirs, criteria, is_same_run=is_same_run) for match in matches]
    notes = [*proof_notes(cells)]
    trials = [match.trials for match in matches if match.trials]
    notes += dict.fromkeys(_session_notes(trials))
    if not is_same_run:
        notes += version_notes(run_a.get("environment", {}), run_b.get("environment", {}))
    notes += [f"differs, as allowed: {p}" for kind, p in differences if kind in options.ignore]
    new = [cell.label for cell in theirs if not any(cell is match.theirs for match in matches)]
    notes += [f"only in B: {', '.join(new)}"] if new else []
    return Comparison(
        suite=a.run.suite,
        a=a.label,
        b=b.label,
        how="same run" if is_same_run else "recorded",
        machine=str(run_a.get("device", "")),
        cells=tuple(cells),
        notes=tuple(notes),
        disturbed=sum(
            disturbed_count(both.ours, _cores(run_a)) + disturbed_count(both.theirs, _cores(run_b))
            for both in trials
        ),
    )


def _cores(run: Mapping[str, Any]) -> int | None:
    cores: int | None = (run.get("environment") or {}).get("cores")
    return cores


def _cells(side: RecordedRun, options: RecordedOptions) -> list[Cell]:
    """Return the cells of a side that are to be compared."""
    records, _ = side.run.records()
    backends = (side.backend,) if side.backend else options.backends
    cells = cells_of(
        record
        for record in records
        if (not backends or record["backend"] in backends)
        and (not options.benchmarks or record["benchmark"] in options.benchmarks)
    )
    if cells:
        return cells
    known = sorted({f"{record['benchmark']} on {record['backend']}" for record in records})
    names = ", ".join([*options.benchmarks, *backends]) or "any trial"
    problem = Problem(
        where=side.label,
        expected=f"trials of {names}",
        found=", ".join(known) or "an empty run",
    )
    raise SuiteError(str(side.run.path), [problem])


def _match(
    cell: Cell,
    a: RecordedRun,
    b: RecordedRun,
    theirs: Sequence[Cell],
    *,
    drift: float,
    run: Sequence[Record] | None,
) -> _Match:
    """Return a cell of A with its counterpart.

    Args:
        cell: Of A.
        theirs: All cells of B.
        drift: How far equal code may differ in speed between two times.
        run: All trials, if both cells are of one run.
    """
    are_backends = a.backend is not None and b.backend is not None

    def key(one: Cell) -> CellKey:
        backend = "" if are_backends else one.backend
        return cell_key(one.benchmark, dict(one.matrix), one.track, backend)

    match = next((other for other in theirs if key(other) == key(cell)), None)
    if match is None:
        return _Match(ours=cell, theirs=None, trials=None)
    is_paired = run is not None and ran_in_turn(cell.trials, match.trials, run=run)
    trials = Trials(ours=cell.trials, theirs=match.trials, is_paired=is_paired, drift=drift)
    return _Match(ours=cell, theirs=match, trials=trials)


def _compare(
    match: _Match, theirs: Sequence[Cell], criteria: Criteria, *, is_same_run: bool
) -> CellComparison:
    cell, other, trials = match.ours, match.theirs, match.trials
    identity = {
        "cell": cell.label,
        "benchmark": cell.benchmark,
        "matrix": dict(cell.matrix),
        "track": cell.track,
        "backends": [cell.backend, other.backend if other else cell.backend],
    }
    if other is None or trials is None:
        names = [other.label for other in theirs]
        near = closest(cell.label, names)
        hint = f"did you rename it to {near[0]}?" if near else f"B has: {', '.join(names)}"
        failure = f"not in B ({hint})"
        return CellComparison(label=cell.label, identity=identity, failure=failure)
    failure = trials.failure()
    backend = cell.backend if cell.backend == other.backend else ""
    return CellComparison(
        label=cell_label(cell.benchmark, dict(cell.matrix), cell.track, backend),
        identity=identity,
        verdicts=()
        if failure
        else trials.verdicts(criteria, cell.benchmark, level=ERROR, level_of_misses=ERROR),
        proof=worst_proof([cell.proof_against(other.backend)]) if is_same_run else "",
        failure=failure,
        is_skipped=trials.is_skipped,
    )


def _thresholds_below_drift(matches: Sequence[_Match], criteria: Criteria) -> Iterator[Problem]:
    """Yield the stated thresholds that nobody could decide on."""
    columns: dict[float, list[str]] = {}
    for match in matches:
        for quantity in criteria.quantities:
            stated = criteria.stated_threshold(match.ours.benchmark, quantity.name)
            if match.trials is None or quantity.kind != "speed" or stated is None:
                continue
            if stated <= match.trials.allowance and match.trials.sample(quantity) is not None:
                columns.setdefault(stated, []).append(quantity.name)
    for threshold, names in columns.items():
        yield Problem(
            where=f"threshold of {', '.join(dict.fromkeys(names))}",
            expected=f"more than the {criteria.drift:.0%} by which speeds of equal code differ "
            "between two times",
            found=f"{threshold:.3g}",
            hint=f"--threshold {2 * criteria.drift:.0%}; or run both sides; or state the drift of "
            "this machine in [regression]",
        )


def _session_notes(trials: Sequence[Trials]) -> Iterator[str]:
    """Yield a note on trials that did not run next to each other."""
    for both in trials:
        if both.is_paired:
            continue
        if both.allowance:
            yield (
                "recorded at different times: speeds of equal code may differ by "
                f"{both.drift:.0%} then, so intervals are so much wider, and an unstated limit is "
                f"{2 * both.drift:.0%}; run both sides to see smaller changes"
            )
        elif min(both.sessions) >= FEWEST_SESSIONS:
            ours, theirs = both.sessions
            yield (
                f"recorded at {ours} different times of A and {theirs} of B: speeds are compared "
                "by the median of each time"
            )
        else:
            yield "recorded at different times: trials are not paired"


def _run_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
    """Yield the differences of two runs that affect how long the work takes, by kind."""
    is_in_words = "machine" in a and "machine" in b
    machines = [_machine(run, is_in_words=is_in_words) for run in (a, b)]
    if machines[0] != machines[1]:
        yield "machine", _difference("machine", *machines)
    if "variables" in a and "variables" in b:
        ours, theirs = a["variables"], b["variables"]
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                values = ours.get(name, "not set"), theirs.get(name, "not set")
                yield "settings", _difference("settings", *values, where=f"variable {name}")
    for kind, key in (("data", "dataset"), ("weights", "weights")):
        ours, theirs = a.get(key) or {}, b.get(key) or {}
        if ours.get("digest") != theirs.get("digest"):
            yield kind, _difference(kind, _content_name(ours), _content_name(theirs))


def _setting_differences(matches: Sequence[_Match]) -> Iterator[tuple[str, Problem]]:
    """Yield the settings in which matching cells differ."""
    for match in matches:
        if match.theirs is None:
            continue
        ours, theirs = match.ours.trials[0]["settings"], match.theirs.trials[0]["settings"]
        for key in sorted(ours.keys() | theirs.keys()):
            a, b = ours.get(key), theirs.get(key)
            if a != b:
                yield "settings", _difference("settings", a, b, where=f"{match.ours.label}: {key}")


def _difference(kind: str, ours: Any, theirs: Any, *, where: str = "") -> Problem:
    return Problem(
        where=where or kind,
        expected=f"the same {kind} on both sides",
        found=f"A {ours}, B {theirs}",
        hint=f"--ignore {kind} compares all the same",
    )


def _machine(run: Mapping[str, Any], *, is_in_words: bool) -> str:
    if is_in_words:
        return f"{run['machine']}, on {run.get('device', '')}"
    environment = run.get("environment") or {}
    return ", ".join(str(environment.get(key, run.get("device", ""))) for key in _MACHINE)


def _content_name(content: Mapping[str, Any]) -> str:
    name = content.get("name") or content.get("origin") or ""
    digest = str(content.get("digest", ""))[:16]
    return f"{name} {digest}".strip() or "none"
