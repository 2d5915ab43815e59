"""Both sides run afresh, next to each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.criteria import Criteria
from benchharness.compare.floors import NoiseStore
from benchharness.compare.looks import FEWEST_PAIRS
from benchharness.compare.malloc import retains_heap, with_retained_heap
from benchharness.compare.notes import unequal_work
from benchharness.compare.plan import ComparisonPlan, plan_comparison
from benchharness.compare.power import PowerEstimate
from benchharness.compare.sampling import Limits, Sampler, Series, spent_minutes
from benchharness.compare.targets import Checkout, Side
from benchharness.errors import SuiteError
from benchharness.measure.machine import read_memory, usable_cores
from benchharness.results.cells import worst_proof
from benchharness.results.record import disturbed_count
from benchharness.run.events import Compared, Observer, announce
from benchharness.run.interpreters import BackendInterpreter
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.run.runner import Runner
from benchharness.run.session import Session, open_session, start_run
from benchharness.suite.file import Regression

# Below the results folder: what compares two sides is no run of the suite.
FOLDER = "comparisons"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonOptions:
    """What is to be compared, and how.

    Attributes:
        request: As for a run of the suite; its backends are those of both sides.
        columns: To compare in place of the suite's; empty for those.
        thresholds: By column; they win over the suite's.
        fewest: Pairs before anything is decided; None for as few as can be.
        most: Pairs of each cell; None for the suite's word.
        minutes: For all pairs; None for the suite's word.
        repository: A folder of the repository whose revisions are compared.
        command: What the user has called.
    """

    request: RunOptions
    a: Side
    b: Side
    columns: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    fewest: int | None = None
    most: int | None = None
    minutes: float | None = None
    repository: Path = Path()
    command: str = "compare"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRun:
    """What came of it.

    Attributes:
        series: The pairs of each couple that was compared.
        floors: Where what is known of this machine is kept.
    """

    comparison: Comparison
    series: tuple[Series, ...]
    criteria: Criteria
    lineup: ComparisonPlan
    floors: NoiseStore


def run_comparison(order: ComparisonOptions, observe: Observer) -> ComparisonRun:
    """Run both sides in turn, pair after pair, until each cell is decided.

    Args:
        observe: Told of all that happens, but for the end.

    Raises:
        BenchError: The sides, data, weights or the results folder are not to be had; or a
            threshold is below what the noise of this machine lets so many pairs show.
    """
    request = replace(order.request, results=order.request.results / FOLDER)
    session = open_session(request, environment=with_retained_heap(os.environ), observe=observe)
    criteria, limits = _criteria(session, order), _limits(session, order)
    lineup = plan_comparison(
        session.plan,
        order.a,
        order.b,
        pairs=limits.fewest,
        is_extracting=criteria.is_extraction_compared,
    )
    session = replace(
        session,
        plan=lineup.plan,
        own_head_per_backend=order.a.backend is None or order.a.backend == order.b.backend,
    )
    floors = NoiseStore(folder=session.places.cache / "noise", device=session.device.name)
    # Once before anything is built or proven, and again when the data has settled all settings.
    _require_visible(PowerEstimate.of(lineup, floors, criteria), order, limits)
    with ExitStack() as made:
        session, built = _build(order, session, lineup, observe, made)
        runner = made.enter_context(start_run(session, observe, command=order.command))
        runner.prove()
        try:
            lineup = lineup.settled(runner.plan)
            prospect = PowerEstimate.of(lineup, floors, criteria)
            _require_visible(prospect, order, limits)
            is_by_epoch = _can_live_side_by_side(session, runner)
            announce(observe, [*_opening(order, lineup, limits, built, is_by_epoch=is_by_epoch)])
            if retains_heap(session.places.environment):
                announce(
                    observe, ["trials keep the memory they free, which steadies and speeds them up"]
                )
            announce(observe, [*prospect.warnings(most=limits.most)])
            every = Sampler(
                runner=runner,
                couples=lineup.couples,
                criteria=criteria,
                limits=limits,
                observe=observe,
                first=prospect.first(most=limits.most),
                is_by_epoch=is_by_epoch,
            ).run()
        finally:
            runner.write_tables()
    series = tuple(one for one in every if one.couple.is_compared)
    comparison = _comparison(order, session, runner, lineup, every, built)
    runner.folder.write_comparison(comparison.as_dict())
    observe(Compared(comparison=comparison.as_dict()))
    return ComparisonRun(
        comparison=comparison, series=series, criteria=criteria, lineup=lineup, floors=floors
    )


def _require_visible(prospect: PowerEstimate, order: ComparisonOptions, limits: Limits) -> None:
    """Refuse thresholds that this machine cannot show; its noise is measured with any.

    Raises:
        SuiteError: There are such; all of them are in it.
    """
    problems = [*prospect.problems(most=limits.most)] if order.command == "compare" else []
    if problems:
        raise SuiteError("compare", problems)


def _can_live_side_by_side(session: Session, runner: Runner) -> bool:
    """Return whether both trials of any pair may hold their memory at once.

    Not on a GPU: its memory is scarce, and what one worker takes of it is seen by what all take.
    """
    if session.device.index is not None:
        return False
    _, free_bytes = read_memory()
    cells = session.estimate_resources(runner.inputs.dataset).cells()
    return all(2 * one.needs.host_bytes <= free_bytes for one in cells)


def _criteria(session: Session, order: ComparisonOptions) -> Criteria:
    """Return what counts as worse in a session's suite."""
    plan = session.plan
    return Criteria.of(
        plan.suite.regression_settings(profile=plan.profile),
        columns=order.columns,
        thresholds=order.thresholds,
    )


def _limits(session: Session, order: ComparisonOptions) -> Limits:
    stated = session.plan.suite.regression or Regression()
    fewest = order.fewest or FEWEST_PAIRS
    return Limits(
        fewest=fewest,
        most=max(order.most or stated.pairs, fewest),
        minutes=order.minutes or stated.minutes,
    )


def _build(
    order: ComparisonOptions,
    session: Session,
    lineup: ComparisonPlan,
    observe: Observer,
    made: ExitStack,
) -> tuple[Session, dict[str, Checkout]]:
    """Make revisions ready; return the session with their executors, and them by letter."""
    session = session.resolve_interpreters()
    built: dict[str, Checkout] = {}
    plugins = {backend_plugin(lineup.plan, cell.backend)[0] for cell in lineup.plan.cells}
    executors: dict[str, LocalExecutor] = {}
    for letter, side in (("A", order.a), ("B", order.b)):
        if side.revision is None:
            continue
        # Not at the top: most comparisons need no git.
        from benchharness.compare.revisions import prepare

        checkout = prepare(
            side.revision,
            repository=order.repository,
            cache=session.places.cache,
            tell=lambda line: announce(observe, [line]),
            plugins=plugins,
            environment=session.places.environment,
        )
        made.callback(checkout.close)
        executor = session.executor(
            python=str(checkout.python), variables=checkout.environment, code=_code(checkout)
        )
        cells = (one.ours if letter == "A" else one.theirs for one in lineup.couples)
        for backend in dict.fromkeys(cell.backend for cell in cells):
            own = session.interpreters.get(backend)
            executors[backend] = executor if own is None else _within(own, executor, checkout)
        built[letter] = checkout
    return replace(session, executors={**session.executors, **executors}), built


def _within(
    quarters: BackendInterpreter, executor: LocalExecutor, checkout: Checkout
) -> LocalExecutor:
    """Return an executor of a revision's code among the packages of a backend's own environment."""
    with_interpreter = quarters.with_interpreter(executor)
    return replace(
        with_interpreter,
        environment={**with_interpreter.environment, **checkout.environment},
        code=f"{executor.code} {with_interpreter.code}",
    )


def _code(checkout: Checkout) -> str:
    """Return what tells a revision's code; files that are changed have no lasting name."""
    if not checkout.is_dirty:
        return checkout.commit
    import secrets

    return f"{checkout.commit} changed {secrets.token_hex(8)}"


def _opening(
    order: ComparisonOptions,
    lineup: ComparisonPlan,
    limits: Limits,
    built: Mapping[str, Checkout],
    *,
    is_by_epoch: bool,
) -> Iterator[str]:
    a, b = (_label(side, letter, built) for letter, side in (("A", order.a), ("B", order.b)))
    cells = sum(couple.is_compared for couple in lineup.couples)
    span = (
        f"{limits.fewest}" if limits.fewest == limits.most else f"{limits.fewest} to {limits.most}"
    )
    turns = "the two of a pair in turn, " + ("epoch by epoch" if is_by_epoch else "one by one")
    yield f"A: {a}; B: {b}; {span} pairs of trials of each of {cells} cells, {turns}"
    if lineup.alone:
        yield f"left out, as only one side runs it: {', '.join(lineup.alone)}"


def _comparison(
    order: ComparisonOptions,
    session: Session,
    runner: Runner,
    lineup: ComparisonPlan,
    every: Sequence[Series],
    built: Mapping[str, Checkout],
) -> Comparison:
    cells = tuple(_cell(one) for one in every if one.couple.is_compared)
    asked = ", ".join([*order.a.changes.written, *order.b.changes.written])
    notes = [f"left out, as only one side runs it: {name}" for name in lineup.alone]
    return Comparison(
        suite=session.plan.suite.name,
        a=_label(order.a, "A", built),
        b=_label(order.b, "B", built),
        how="interleaved",
        machine=session.device.name,
        cells=cells,
        notes=(*dict.fromkeys(unequal_work(cells, asked=asked)), *notes),
        minutes=spent_minutes(every),
        folder=str(runner.folder.path),
        disturbed=disturbed_count(
            [
                trial
                for one in every
                if one.couple.is_compared
                for trial in (*one.ours, *one.theirs)
            ],
            usable_cores(),
        ),
    )


def _cell(series: Series) -> CellComparison:
    couple, trials = series.couple, series.trials
    other = couple.theirs.backend
    proofs = (record["proofs"].get(other, "") for record in trials.ours)
    return CellComparison(
        label=couple.label,
        identity=couple.as_dict(),
        verdicts=series.verdicts,
        proof=worst_proof(proofs),
        failure=trials.failure(),
        scatter=series.scatter,
        is_skipped=trials.is_skipped,
    )


def _label(side: Side, letter: str, built: Mapping[str, Checkout]) -> str:
    if letter not in built:
        return side.label
    return " ".join([built[letter].label, *side.changes.written])
