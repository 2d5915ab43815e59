"""Comparison run: both sides run in turn until each cell is decided."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from benchharness.compare.comparison import CellComparison, Comparison, identity_of, proof_notes
from benchharness.compare.noise import NoiseStore, PowerEstimate
from benchharness.compare.plan import ComparisonPlan, plan_comparison
from benchharness.compare.sampling import FEWEST_PAIRS, PairSeries, Sampler
from benchharness.compare.targets import Side
from benchharness.compare.verdict import Criteria
from benchharness.errors import SuiteError
from benchharness.files import json_digest
from benchharness.measure.machine import read_memory, usable_cores
from benchharness.plugins import code_digest, installed
from benchharness.results.cells import worst_proof
from benchharness.results.record import disturbed_count
from benchharness.run.events import Compared, Observer, announce
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.run.runner import Runner
from benchharness.run.session import Session, open_session, start_run
from benchharness.suite.file import Regression
from benchharness.suite.plan import Plan

# Below the results folder: a comparison is no run of the suite.
FOLDER = "comparisons"
# glibc gives large arrays back to the kernel when they are freed, and the kernel clears every page
# that is asked for again: 30 % of a PyTorch step on one processor, and most of what equal steps
# differed by there. Other allocators do not read these.
RETAINED_HEAP: Mapping[str, str] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
_ALLOCATOR_VARIABLES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonOptions:
    """Options of a comparison.

    Attributes:
        request: As for a run of the suite; its backends are those of both sides.
        columns: In place of the suite's; empty for those.
        thresholds: By column; they win over the suite's.
        fewest: Pairs before anything is decided; None for as few as can be.
        most: Pairs of each cell; None for the suite's number.
        minutes: For all pairs; None for the suite's number.
        repository: A folder of the repository whose revisions are compared.
        command: ``compare``, or ``noise`` for equal sides.
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
class ComparisonSession:
    """Two sides that are ready to run in turn.

    Attributes:
        a, b: What A and B are, for people.
        sampler: Runs the pairs of any cells of the plan.
        overrides: Settings in which the sides differ because the user compares them.
    """

    session: Session
    runner: Runner
    plan: ComparisonPlan
    a: str
    b: str
    sampler: Sampler
    noise: NoiseStore
    overrides: str

    def comparison(self, every: Sequence[PairSeries]) -> Comparison:
        """Return the comparison of the cells that have been sampled."""
        compared = [series for series in every if series.cells.is_compared]
        cells = tuple(map(_compare_cell, compared))
        records = [record for series in compared for record in (*series.a, *series.b)]
        return Comparison(
            suite=self.plan.plan.suite.name,
            a=self.a,
            b=self.b,
            how="interleaved",
            machine=self.session.device.name,
            cells=cells,
            notes=(
                *dict.fromkeys(proof_notes(cells, overridden=self.overrides)),
                *(f"skipped, as only one side runs it: {name}" for name in self.plan.unmatched),
            ),
            minutes=sum(sum(series.seconds) for series in every) / 60,
            folder=str(self.runner.folder.path),
            disturbed=disturbed_count(records, usable_cores()),
        )


def _compare_cell(series: PairSeries) -> CellComparison:
    cells, trials = series.cells, series.trials
    return CellComparison(
        label=cells.label,
        identity=identity_of(cells.label, cells.a, rival=cells.b.backend),
        verdicts=series.verdicts,
        proof=worst_proof(record["proofs"].get(cells.b.backend, "") for record in trials.a),
        failure=trials.failure(),
        scatter=series.scatter,
        is_skipped=trials.is_skipped,
    )


class ComparisonRun(NamedTuple):
    """A comparison, its session, which has ended, and the pairs of every cell."""

    comparison: Comparison
    session: ComparisonSession
    every: list[PairSeries]


def run_comparison(options: ComparisonOptions, observe: Observer) -> ComparisonRun:
    """Run both sides in turn, pair after pair, until each cell is decided; see its opening."""
    with open_comparison(options, observe) as session:
        every = session.sampler.run(session.plan.cells)
    comparison = session.comparison(every)
    session.runner.folder.write_comparison(comparison.as_dict())
    observe(Compared(comparison=comparison.as_dict()))
    return ComparisonRun(comparison, session, every)


@contextmanager
def open_comparison(
    options: ComparisonOptions,
    observe: Observer,
    *,
    select: Callable[[Plan], Plan] = lambda plan: plan,
) -> Iterator[ComparisonSession]:
    """Prepare both sides, and write the tables of what has run afterwards.

    Args:
        observe: Receives all events, but for the end.
        select: Narrows the plan of the suite.

    Raises:
        BenchError: The sides, data, weights or the results folder are unavailable; or a threshold
            is below what the noise of this machine lets so many pairs detect.
    """
    a, b = options.a, options.b
    request = replace(options.request, results=options.request.results / FOLDER)
    session = open_session(request, environment=with_retained_heap(os.environ), observe=observe)
    suite_plan = select(session.plan)
    suite_criteria = suite_plan.suite.regression_settings(profile=suite_plan.profile)
    criteria = Criteria.of(suite_criteria, columns=options.columns, thresholds=options.thresholds)
    stated = session.plan.suite.regression or Regression()
    fewest = options.fewest or FEWEST_PAIRS
    most = max(options.most or stated.pairs, fewest)
    is_extracting = "extract_images_per_s" in criteria.columns
    plan = plan_comparison(suite_plan, a, b, pairs=fewest, is_extracting=is_extracting)
    session = replace(
        session,
        plan=plan.plan,
        own_head_per_backend=a.backend is None or a.backend == b.backend,
    )
    noise = NoiseStore(folder=session.places.cache / "noise", device=session.device.name)

    def estimate_power() -> PowerEstimate:
        """Return the power of the plan; a noise run may ask for any, which a comparison may not."""
        power = PowerEstimate.of(plan, noise, criteria)
        problems = [*power.problems(most=most)] if options.command == "compare" else []
        if problems:
            raise SuiteError("compare", problems)
        return power

    # Once before anything is built or proven, and again when all settings are resolved.
    estimate_power()
    with ExitStack() as stack:
        session, (label_a, label_b) = _check_out(options, session, plan, observe, stack)
        runner = stack.enter_context(start_run(session, observe, command=options.command))
        runner.prove(observe)
        try:
            plan = plan.with_plan(runner.plan)
            power = estimate_power()
            is_by_epoch = _can_run_side_by_side(session, runner)
            turns = "epoch by epoch" if is_by_epoch else "trial by trial"
            pairs = "" if fewest == most else f"{fewest} to "
            lines = [
                f"A: {label_a}; B: {label_b}; {pairs}{most} pairs of trials of each of "
                f"{sum(pair.is_compared for pair in plan.cells)} cells, both sides in turn, {turns}"
            ]
            if plan.unmatched:
                names = ", ".join(plan.unmatched)
                lines.append(f"skipped, as only one side runs it: {names}")
            if retains_heap(session.places.environment):
                lines.append("malloc is set to retain freed memory (less noise)")
            announce(observe, [*lines, *power.warnings(most=most)])
            yield ComparisonSession(
                session=session,
                runner=runner,
                plan=plan,
                a=label_a,
                b=label_b,
                sampler=Sampler(
                    runner=runner,
                    criteria=criteria,
                    observe=observe,
                    fewest=fewest,
                    most=most,
                    minutes=options.minutes or stated.minutes,
                    first_looks=power.first_looks(most=most),
                    is_by_epoch=is_by_epoch,
                ),
                noise=noise,
                overrides=", ".join([*a.overrides.written, *b.overrides.written]),
            )
        finally:
            runner.write_tables()


def with_retained_heap(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose processes keep the memory they free.

    An environment that already tunes the allocator is left as it is.

    Source:
        mallopt(3) of glibc: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.
    """
    if any(name.startswith(_ALLOCATOR_VARIABLES) for name in environment):
        return dict(environment)
    return {**environment, **RETAINED_HEAP}


def retains_heap(environment: Mapping[str, str]) -> bool:
    """Return whether the processes of an environment keep freed memory because of us."""
    return RETAINED_HEAP.items() <= environment.items()


def _can_run_side_by_side(session: Session, runner: Runner) -> bool:
    """Return whether both trials of any pair may hold their memory at once.

    Not on a GPU: its memory is scarce, and one worker's use of it shows in the figures of all.
    """
    if session.device.index is not None:
        return False
    _, free_bytes = read_memory()
    cells = session.estimate_resources(runner.inputs.dataset).cells()
    return all(2 * cell.host_bytes <= free_bytes for cell in cells)


def _check_out(
    options: ComparisonOptions,
    session: Session,
    plan: ComparisonPlan,
    observe: Observer,
    stack: ExitStack,
) -> tuple[Session, list[str]]:
    """Check out the revisions; return the session with their executors, and what A and B are."""
    session = session.resolve_interpreters()
    labels: list[str] = []
    plugins = {backend_plugin(plan.plan, cell.backend)[0] for cell in plan.plan.cells}
    executors: dict[str, LocalExecutor] = {}
    cells_a, cells_b = [pair.a for pair in plan.cells], [pair.b for pair in plan.cells]
    for side, cells in ((options.a, cells_a), (options.b, cells_b)):
        if side.revision is None:
            labels.append(side.label)
            continue
        # Not at the top: most comparisons need no git.
        from benchharness.compare.revisions import check_out

        checkout = stack.enter_context(
            check_out(
                side.revision,
                repository=options.repository,
                cache=session.places.cache,
                tell=lambda line: announce(observe, [line]),
                plugins=plugins,
                environment=session.places.environment,
            )
        )
        labels.append(" ".join([checkout.label, *side.overrides.written]))
        # Modified files have no lasting name.
        modified = f" changed {secrets.token_hex(8)}" if checkout.is_dirty else ""
        # Of what is installed beside the repository as well: plugins, and versions of frameworks.
        known = [entry for name, entry in installed().items() if name in plugins]
        setup = json_digest([checkout.python, *map(code_digest, known)], length=16)
        ours = session.executor()
        executor = replace(
            ours,
            python=str(checkout.python),
            environment={**ours.environment, **checkout.environment},
            code=f"{checkout.commit}{modified} {setup}",
        )
        for backend in dict.fromkeys(cell.backend for cell in cells):
            executors[backend] = executor
            if interpreter := session.interpreters.get(backend):
                # The revision's code among the packages of the backend's environment.
                inside = interpreter.with_interpreter(executor)
                executors[backend] = replace(
                    inside,
                    environment={**inside.environment, **checkout.environment},
                    code=f"{executor.code} {inside.code}",
                )
    return replace(session, executors={**session.executors, **executors}), labels
