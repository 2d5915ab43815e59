"""Comparison of two recorded runs, or of two backends of one run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from benchharness.compare.comparison import CellComparison, Comparison, identity_of, proof_notes
from benchharness.compare.sampling import ERROR
from benchharness.compare.targets import RecordedRun
from benchharness.compare.verdict import FEWEST_SESSIONS, Criteria, Trials, ran_in_turn
from benchharness.errors import Problem, SuiteError
from benchharness.model.cell import CellKey, cell_key, cell_label
from benchharness.model.quantities import QUANTITIES
from benchharness.results.cells import Cell, cells_of, worst_proof
from benchharness.results.record import disturbed_count
from benchharness.text import closest

# What distinguishes machines if a run does not say it in one line.
_MACHINE = ("cpu", "cores", "machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A cell of A with its counterpart of B."""

    a: Cell
    b: Cell
    trials: Trials


def compare_recorded(
    a: RecordedRun,
    b: RecordedRun,
    *,
    benchmarks: Collection[str] = (),
    backends: Collection[str] = (),
    columns: Sequence[str] = (),
    thresholds: Mapping[str, float] = MappingProxyType({}),
    ignore: Collection[str] = (),
    described: Mapping[str, Any] | None = None,
) -> Comparison:
    """Return the comparison of two recorded runs.

    Trials of one run that ran in turn are paired; others are not, and their speeds may differ by
    the suite's ``drift`` for other reasons than the code, unless both ran at several times.

    Args:
        benchmarks: Only these; empty for all.
        backends: Only these; empty for all.
        columns: In place of the suite's; empty for those.
        thresholds: By column; they win over the suite's.
        ignore: What may differ between the runs: machine, data, weights, settings.
        described: Regression settings of a suite; None for those that A was recorded with.

    Raises:
        SuiteError: They are not of the same machine, data, weights or settings, or share no cell;
            or a stated threshold is below the drift.
        RunError: A run cannot be read.
    """
    run_a, run_b = a.run.read_run(), b.run.read_run()
    is_same_run = a.run.path.resolve() == b.run.path.resolve()
    if described is None:
        described = run_a.get("resolved", {}).get("regression", {})
    criteria = Criteria.of(described, columns=columns, thresholds=thresholds)
    cells_a, cells_b = (_cells(side, benchmarks, backends) for side in (a, b))
    are_backends = a.backend is not None and b.backend is not None
    every = a.run.records()[0] if is_same_run else None
    has_machines = any(len({cell.machine for cell in side}) > 1 for side in (cells_a, cells_b))

    def key(cell: Cell) -> tuple[CellKey, str]:
        backend = "" if are_backends else cell.backend
        machine = cell.machine if has_machines else ""
        return cell_key(cell.benchmark, cell.matrix, cell.track, backend), machine

    counterparts = {key(cell): cell for cell in reversed(cells_b)}
    matches: dict[tuple[CellKey, str], _Match] = {}
    for cell in cells_a:
        if other := counterparts.get(key(cell)):
            is_paired = every is not None and ran_in_turn(cell.trials, other.trials, run=every)
            trials = Trials(
                a=cell.trials, b=other.trials, is_paired=is_paired, drift=criteria.drift
            )
            matches[key(cell)] = _Match(a=cell, b=other, trials=trials)

    differences = [*_differences(run_a, run_b, matches.values())]
    problems = [problem for kind, problem in differences if kind not in ignore]
    if problems := problems or [*_thresholds_below_drift(matches.values(), criteria)]:
        raise SuiteError(f"{a.label}, {b.label}", problems)

    cores_a, cores_b = ((run.get("environment") or {}).get("cores") for run in (run_a, run_b))

    def busy(trials: Trials) -> int:
        return disturbed_count(trials.a, cores_a) + disturbed_count(trials.b, cores_b)

    def compared(cell: Cell) -> CellComparison:
        match = matches.get(key(cell))
        if match is None:
            names = [other.label for other in cells_b]
            near = closest(cell.label, names)
            hint = f"did you rename it to {near[0]}?" if near else f"B has: {', '.join(names)}"
            identity = identity_of(cell.label, cell, rival=cell.backend)
            failure = f"not in B ({hint})"
            return CellComparison(label=cell.label, identity=identity, failure=failure)
        # Sides of several times show by themselves how far these differ.
        is_disturbed = match.trials.allowance > 0 and busy(match.trials) > 0
        return _compare(match, criteria, is_same_run=is_same_run, is_disturbed=is_disturbed)

    cells = tuple(map(compared, cells_a))
    if has_machines:
        cells = tuple(
            replace(
                comparison,
                label=f"{comparison.label} on {cell.machine}",
                identity={**comparison.identity, "machine": cell.machine},
            )
            for comparison, cell in zip(cells, cells_a, strict=True)
        )
    both = [match.trials for match in matches.values()]
    notes = [*proof_notes(cells), *dict.fromkeys(map(_session_note, both))]
    if not is_same_run:
        notes += _version_notes(run_a.get("environment", {}), run_b.get("environment", {}))
    notes += [f"differs, as allowed: {p}" for kind, p in differences if kind in ignore]
    if new := [cell.label for cell in cells_b if key(cell) not in matches]:
        notes.append(f"only in B: {', '.join(new)}")
    return Comparison(
        suite=a.run.suite,
        a=a.label,
        b=b.label,
        how="same run" if is_same_run else "recorded",
        machine=str(run_a.get("device", "")),
        cells=cells,
        notes=tuple(filter(None, notes)),
        disturbed=sum(map(busy, both)),
    )


def _cells(side: RecordedRun, benchmarks: Collection[str], backends: Collection[str]) -> list[Cell]:
    """Return the cells of a side that are to be compared."""
    records, _ = side.run.records()
    backends = (side.backend,) if side.backend else backends
    cells = cells_of(
        record
        for record in records
        if (not backends or record["backend"] in backends)
        and (not benchmarks or record["benchmark"] in benchmarks)
    )
    if not cells:
        known = sorted({f"{record['benchmark']} on {record['backend']}" for record in records})
        names = ", ".join([*benchmarks, *backends]) or "any trial"
        found = ", ".join(known) or "an empty run"
        problem = Problem(where=side.label, expected=f"trials of {names}", found=found)
        raise SuiteError(str(side.run.path), [problem])
    return cells


def _compare(
    match: _Match, criteria: Criteria, *, is_same_run: bool, is_disturbed: bool
) -> CellComparison:
    cell, other, trials = match.a, match.b, match.trials
    failure = trials.failure()
    verdicts = (
        ()
        if failure
        else trials.verdicts(criteria, cell.benchmark, level=ERROR, level_of_misses=ERROR)
    )
    if is_disturbed:
        # Of trials at different times, a speed beside other programs says nothing of the code.
        speeds = {name for name, quantity in QUANTITIES.items() if quantity.kind == "speed"}
        verdicts = tuple(
            replace(verdict, word="undecidable") if verdict.column in speeds else verdict
            for verdict in verdicts
        )
    backend = cell.backend if cell.backend == other.backend else ""
    return CellComparison(
        label=cell_label(cell.benchmark, cell.matrix, cell.track, backend),
        identity=identity_of(cell.label, cell, rival=other.backend),
        verdicts=verdicts,
        proof=worst_proof([cell.proof_against(other.backend)]) if is_same_run else "",
        failure=failure,
        is_skipped=trials.is_skipped,
    )


def _thresholds_below_drift(matches: Iterable[_Match], criteria: Criteria) -> Iterator[Problem]:
    """Yield the stated thresholds that nobody could decide on."""
    columns: dict[float, dict[str, None]] = {}
    for match in matches:
        for quantity in criteria.quantities:
            stated = criteria.stated_threshold(match.a.benchmark, quantity.name)
            if quantity.kind != "speed" or stated is None or stated > match.trials.allowance:
                continue
            if match.trials.sample(quantity) is not None:
                columns.setdefault(stated, {})[quantity.name] = None
    for threshold, names in columns.items():
        yield Problem(
            where=f"threshold of {', '.join(names)}",
            expected=f"more than the {criteria.drift:.0%} by which speeds of equal code differ "
            "between two times",
            found=f"{threshold:.3g}",
            hint=f"--threshold {2 * criteria.drift:.0%}; or run both sides; or state the drift of "
            "this machine in [regression]",
        )


def _session_note(trials: Trials) -> str:
    """Return a note on trials that did not run next to each other; empty for others."""
    if trials.is_paired:
        return ""
    if trials.allowance:
        return (
            "recorded at different times: speeds of equal code may differ by "
            f"{trials.drift:.0%} then, so intervals are so much wider, and an unstated limit is "
            f"{2 * trials.drift:.0%}; run both sides to see smaller changes"
        )
    times_a, times_b = trials.sessions
    if min(times_a, times_b) < FEWEST_SESSIONS:
        return "recorded at different times: trials are not paired"
    return (
        f"recorded at {times_a} different times of A and {times_b} of B: speeds are compared by "
        "the median of each time"
    )


def _differences(
    a: Mapping[str, Any], b: Mapping[str, Any], matches: Collection[_Match]
) -> Iterator[tuple[str, Problem]]:
    """Yield what differs between two runs and affects how long the work takes, by kind."""

    def difference(kind: str, a: Any, b: Any, *, where: str = "") -> tuple[str, Problem]:
        return kind, Problem(
            where=where or kind,
            expected=f"the same {kind} on both sides",
            found=f"A {a}, B {b}",
            hint=f"--ignore {kind} compares all the same",
        )

    def machine(run: Mapping[str, Any]) -> str:
        if "machine" in a and "machine" in b:
            return f"{run['machine']}, on {run.get('device', '')}"
        environment = run.get("environment") or {}
        return ", ".join(str(environment.get(key, run.get("device", ""))) for key in _MACHINE)

    def content(run: Mapping[str, Any], key: str) -> str:
        known = run.get(key) or {}
        name = known.get("name") or known.get("origin") or ""
        return f"{name} {str(known.get('digest', ''))[:16]}".strip() or "none"

    if machine(a) != machine(b):
        yield difference("machine", machine(a), machine(b))
    if "variables" in a and "variables" in b:
        for name in sorted({*a["variables"], *b["variables"]}):
            values = [run["variables"].get(name, "not set") for run in (a, b)]
            if values[0] != values[1]:
                yield difference("settings", *values, where=f"variable {name}")
    for kind, key in (("data", "dataset"), ("weights", "weights")):
        digests = [(run.get(key) or {}).get("digest") for run in (a, b)]
        if digests[0] != digests[1]:
            yield difference(kind, content(a, key), content(b, key))
    for match in matches:
        of_a, of_b = (cell.trials[0]["settings"] for cell in (match.a, match.b))
        for key in sorted(of_a.keys() | of_b.keys()):
            if of_a.get(key) != of_b.get(key):
                where = f"{match.a.label}: {key}"
                yield difference("settings", of_a.get(key), of_b.get(key), where=where)
    if machine(a) == machine(b):
        # run.json of a cluster's run has the kind of the machine that started it.
        for kind_a, kind_b in dict.fromkeys(
            (match.a.machine, match.b.machine) for match in matches
        ):
            if kind_a and kind_b and kind_a != kind_b:
                yield difference("machine", kind_a, kind_b)


def _version_notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """Yield the versions that differ between the environments of two runs."""
    for name in ("python", "system"):
        if a.get(name) != b.get(name):
            yield f"{name}: A {a.get(name)}, B {b.get(name)}"
    packages_a, packages_b = a.get("packages", {}), b.get("packages", {})
    for name in sorted(packages_a.keys() | packages_b.keys()):
        versions = [packages.get(name, "absent") for packages in (packages_a, packages_b)]
        if versions[0] != versions[1]:
            yield f"{name}: A {versions[0]}, B {versions[1]}"
