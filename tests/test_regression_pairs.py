"""In which order pairs are run, when they end, and what the machine's noise changes of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from results_records import record
from suite_files import suite_of

from benchharness.compare.criteria import Criteria
from benchharness.compare.looks import level_of, level_of_misses, planned
from benchharness.compare.overrides import Changes
from benchharness.compare.plan import ComparisonPlan, plan_comparison
from benchharness.compare.sampling import Limits, Sampler, Series, read_pairs, spent_minutes
from benchharness.compare.targets import Side
from benchharness.errors import SuiteError
from benchharness.run.events import unobserved
from benchharness.suite.plan import Plan, Trial
from benchharness.suite.resolve import resolve

SUITE = """
name = "pets"
trials = 1
seed = 7
backends = ["torch"]

[dataset]
source = "drawn"

[[benchmark]]
name = "one"
strategy = "simple_cnn"

[[benchmark]]
name = "two"
strategy = "simple_cnn"
"""
A, B = Side(label="A", changes=Changes()), Side(label="B", changes=Changes())
SPEED = Criteria(columns=("train_images_per_s",))
Metrics = Callable[[Trial], dict[str, Any]]


@dataclass
class FakeRunner:
    """Answers with what a test says of each trial, at once."""

    plan: Plan
    metrics: Metrics
    clock: list[float]
    trial_s: float = 10.0
    ran: list[tuple[str, str, int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    together: list[int] = field(default_factory=list)

    def run_in_turn(
        self,
        trials: Sequence[Trial],
        before: Sequence[dict[str, Any]],
        observe,
        *,
        number: int,
        count: int,
    ) -> list[dict[str, Any]]:
        assert number == len(before) + 1 == len(self.ran) + 1
        self.together.append(len(trials))
        return [self._run_trials(trial, count) for trial in trials]

    def _run_trials(self, trial: Trial, count: int) -> dict[str, Any]:
        cell = trial.cell
        self.ran.append((cell.benchmark, cell.backend, trial.index, trial.seed))
        self.counts.append(count)
        self.clock[0] += self.trial_s
        metrics = self.metrics(trial)
        status = metrics.pop("status", "ok")
        test_count = metrics.pop("test_count", 1000)
        target = metrics.pop("target_top1", None)
        return record(
            cell.benchmark,
            cell.backend,
            trial=trial.index,
            metrics=metrics,
            status=status,
            test_count=test_count,
            settings={"batch_size": 50, "target_top1": target},
            reason="" if status == "ok" else "it broke",
        )


def lineup_of(folder: Path, text: str = SUITE, a: Side = A, b: Side = B) -> ComparisonPlan:
    """Return two sides of a suite in one plan."""
    plan = resolve(suite_of(folder, text), profile=None)
    return plan_comparison(plan, a, b, pairs=6, is_extracting=False)


def pair_up(
    folder: Path,
    metrics: Metrics,
    *,
    limits: Limits | None = None,
    criteria: Criteria = SPEED,
    first: dict[str, int] | None = None,
    is_by_epoch: bool = False,
) -> tuple[list[Series], FakeRunner]:
    """Return the pairs of both benchmarks, and who carried them out."""
    lineup = lineup_of(folder)
    clock = [0.0]
    runner = FakeRunner(plan=lineup.plan, metrics=metrics, clock=clock)
    every = Sampler(
        runner=runner,  # type: ignore[arg-type]
        couples=lineup.couples,
        criteria=criteria,
        limits=limits or Limits(),
        observe=unobserved,
        first=first or {},
        is_by_epoch=is_by_epoch,
        now=lambda: clock[0],
    ).run()
    return every, runner


def steady(trial: Trial) -> dict[str, Any]:
    """Return always the same."""
    return {"train_images_per_s": 100.0}


def undecided(trial: Trial) -> dict[str, Any]:
    """Benchmark two is now faster, now slower on B, by more than the threshold."""
    is_b = trial.cell.benchmark == "two" and trial.cell.backend.endswith("B")
    return {"train_images_per_s": 100.0 * (1.2 if trial.index % 3 else 0.8) ** is_b}


def test_sides_take_turns_and_every_other_pair_is_reversed(tmp_path: Path):
    """A B, B A, ...: drift hits both alike. Cells take turns too, and a pair has one seed."""
    _, runner = pair_up(tmp_path, steady)

    assert runner.ran[:8] == [
        ("one", "torch A", 1, 7),
        ("one", "torch B", 1, 7),
        ("two", "torch A", 1, 7),
        ("two", "torch B", 1, 7),
        ("one", "torch B", 2, 8),
        ("one", "torch A", 2, 8),
        ("two", "torch B", 2, 8),
        ("two", "torch A", 2, 8),
    ]


@pytest.mark.parametrize(("is_by_epoch", "together"), [(False, 1), (True, 2)])
def test_the_trials_of_a_pair_live_side_by_side_or_one_after_the_other(
    tmp_path: Path, is_by_epoch: bool, together: int
):
    """Either way in the same order, and each counted once."""
    _, runner = pair_up(tmp_path, steady, is_by_epoch=is_by_epoch)

    assert set(runner.together) == {together}
    assert [side for _, side, *_ in runner.ran[::2]] == [
        "torch A",
        "torch A",
        "torch B",
        "torch B",
    ] * 3
    assert len(runner.ran) == 2 * 2 * 6


def test_clear_cells_end_at_the_fewest_pairs(tmp_path: Path):
    """Six of each, and no more."""
    every, runner = pair_up(tmp_path, steady)

    assert [series.pairs for series in every] == [6, 6]
    assert [series.verdicts[0].word for series in every] == ["same", "same"]
    assert len(runner.ran) == 2 * 2 * 6
    assert set(runner.counts) == {24}
    assert spent_minutes(every) == pytest.approx(4)


def test_an_undecided_cell_gets_more_pairs_and_a_decided_one_none(tmp_path: Path):
    """Up to the most, two at a time, so that both orders stay even."""
    every, _ = pair_up(tmp_path, undecided, limits=Limits(most=12))

    assert [series.pairs for series in every] == [6, 12]
    assert every[1].verdicts[0].word == "undecidable"


def test_no_pair_is_added_that_would_not_end_in_time(tmp_path: Path):
    """Each cell gets the fewest; what is undecided then gets more while the budget lasts.

    Two cells take 4 minutes for six pairs each; a pair takes 20 s, so that four more end within
    5.5 minutes.
    """
    every, _ = pair_up(tmp_path, undecided, limits=Limits(minutes=5.5))

    assert [series.pairs for series in every] == [6, 10]
    assert every[1].verdicts[0].word == "undecidable"


def test_a_budget_shorter_than_the_fewest_pairs_cuts_none_of_them(tmp_path: Path):
    """Fewer would decide nothing, and the time would be lost."""
    every, _ = pair_up(tmp_path, steady, limits=Limits(minutes=0.5))

    assert [series.pairs for series in every] == [6, 6]
    assert every[0].verdicts[0].word == "same"


def test_a_trial_that_fails_ends_its_cell_and_no_other(tmp_path: Path):
    """Its pair is completed, so that both sides' reasons are known."""

    def breaking(trial: Trial) -> dict[str, Any]:
        is_broken = trial.cell.benchmark == "one" and trial.index == 2
        return {"status": "failed"} if is_broken else steady(trial)

    every, _ = pair_up(tmp_path, breaking)

    assert [series.pairs for series in every] == [2, 6]
    assert every[0].trials.failure() == "A, trial 2: failed: it broke"
    assert every[0].verdicts == ()


def test_a_known_noisy_cell_is_not_judged_before_it_should_be(tmp_path: Path):
    """What the machine has shown before says when to look first."""
    every, _ = pair_up(tmp_path, steady, first={"two torch": 10})

    assert [series.pairs for series in every] == [6, 10]


def test_accuracy_is_watched_without_costing_pairs(tmp_path: Path):
    """It raises an alarm when it is clearly worse, and holds up nobody otherwise."""

    def scores(trial: Trial) -> dict[str, Any]:
        is_b = trial.cell.backend.endswith("B")
        worse = {"one": 0.3, "two": 0.1 * (-1) ** trial.index}[trial.cell.benchmark]
        return steady(trial) | {"test_top1": 0.8 - worse * is_b}

    every, _ = pair_up(
        tmp_path, scores, criteria=Criteria(columns=("train_images_per_s", "test_top1"))
    )
    asked, _ = pair_up(
        tmp_path,
        scores,
        criteria=Criteria(columns=("test_top1",), is_chosen=True),
        limits=Limits(most=8),
    )

    assert [series.verdicts[1].word for series in every] == ["worse", "undecidable"]
    assert [series.pairs for series in every] == [6, 6]
    assert [series.pairs for series in asked] == [6, 8]


@pytest.mark.parametrize(
    ("noisy", "still"),
    [("train_images_per_s", "best_epoch_s"), ("best_epoch_s", "train_images_per_s")],
)
def test_best_epoch_and_throughput_are_alternatives(tmp_path: Path, noisy: str, still: str):
    """Noise in one does not cost pairs where the other has decided; alone it has to decide."""

    def scattered(trial: Trial) -> dict[str, Any]:
        is_b = trial.cell.backend.endswith("B")
        factor = (1.2 if trial.index % 3 else 0.8) if is_b else 1.0
        known = {} if trial.cell.benchmark == "one" else {still: 2.0}
        return {noisy: 100.0 * factor, **known}

    every, _ = pair_up(
        tmp_path,
        scattered,
        criteria=Criteria(columns=(still, noisy)),
        limits=Limits(most=8),
    )
    named, _ = pair_up(
        tmp_path,
        scattered,
        criteria=Criteria(columns=(still, noisy), is_chosen=True),
        limits=Limits(most=8),
    )

    assert [series.pairs for series in every] == [8, 6]
    assert every[0].verdicts[0].is_open
    assert [v.word for v in every[1].verdicts] == ["same", "undecidable"]
    assert [v.is_open for v in every[1].verdicts] == [False, False]
    # Whoever names a column has it decided.
    assert [series.pairs for series in named] == [8, 8]


def test_the_best_epoch_does_not_speak_for_a_throughput_that_points_to_a_regression(
    tmp_path: Path,
):
    """Every tenth epoch takes double: the best one does not know, so that the search goes on."""

    def tenth(trial: Trial) -> dict[str, Any]:
        is_slow = trial.cell.backend.endswith("B") and trial.cell.benchmark == "one"
        # Ten per cent slower, with noise that six pairs cannot see through.
        factor = 1.1 * (1.0, 1.08, 0.93)[trial.index % 3] if is_slow else 1.0
        return {"best_epoch_s": 2.0, "train_images_per_s": 100.0 / factor}

    every, _ = pair_up(
        tmp_path,
        tenth,
        criteria=Criteria(columns=("best_epoch_s", "train_images_per_s")),
    )

    assert [v.word for v in every[0].verdicts] == ["same", "slower"]
    assert every[0].pairs > 6
    assert every[1].pairs == 6


@pytest.mark.parametrize("is_chosen", [True, False])
def test_a_target_that_b_never_reaches_is_a_regression(tmp_path: Path, is_chosen: bool):
    """An infinite time, whether anybody asks for it or not; A and B of the other cell reach it."""

    def reaching(trial: Trial) -> dict[str, Any]:
        is_missed = trial.cell.backend.endswith("B") and trial.cell.benchmark == "one"
        return steady(trial) | {"target_top1": 0.9, "time_to_top1_s": None if is_missed else 3.0}

    columns = ("time_to_top1_s",) if is_chosen else ("train_images_per_s",)
    every, _ = pair_up(tmp_path, reaching, criteria=Criteria(columns=columns, is_chosen=is_chosen))

    missed = every[0].verdicts[-1]
    assert (missed.column, missed.word, missed.is_worse) == ("target_misses", "missed", True)
    assert missed.misses == ((0, 10), (10, 10))
    assert missed.level == level_of_misses(40) == 1 / 1024
    assert [verdict.word for verdict in every[1].verdicts] == ["same"]
    # Whoever asks for the time wants to know that B does not miss half: ten pairs exclude it.
    assert [series.pairs for series in every] == [10, 10 if is_chosen else 6]


def test_a_target_missed_in_every_other_trial_is_a_regression_of_its_own(tmp_path: Path):
    """Twenty pairs, ten of which B never ends: more than chance. The time itself stays open."""

    def reaching(trial: Trial) -> dict[str, Any]:
        is_missed = (
            trial.cell.backend.endswith("B")
            and trial.cell.benchmark == "one"
            and trial.index % 2 == 0
        )
        return {"target_top1": 0.9, "time_to_top1_s": None if is_missed else 3.0}

    every, _ = pair_up(
        tmp_path, reaching, criteria=Criteria(columns=("time_to_top1_s",), is_chosen=True)
    )

    assert [verdict.word for verdict in every[0].verdicts] == ["undecidable", "missed"]
    assert not any(verdict.is_open for verdict in every[0].verdicts)
    assert every[0].pairs == 20


@pytest.mark.parametrize(("missing", "word", "pairs"), [(2, "missed", 18), (10, "undecidable", 10)])
def test_pairs_beyond_the_most_tell_of_misses_alone(
    tmp_path: Path, missing: int, word: str, pairs: int
):
    """Of ten at most there may be twenty where B seems to miss; speeds keep their last look.

    B misses every other trial, or every tenth, which looks no worse.
    """

    def reaching(trial: Trial) -> dict[str, Any]:
        is_missed = trial.cell.backend.endswith("B") and trial.index % missing == 0
        metrics = undecided(trial) | {"target_top1": 0.9}
        return metrics | {"time_to_top1_s": None if is_missed else 3.0}

    every, _ = pair_up(tmp_path, reaching, limits=Limits(most=10))

    speed, misses = every[1].verdicts
    assert (speed.column, speed.pairs) == ("train_images_per_s", 10)
    assert (misses.word, misses.pairs, every[1].pairs) == (word, pairs, pairs)
    assert misses.misses == ((0, pairs), (pairs // missing, pairs))


def test_a_target_that_neither_side_reaches_decides_nothing(tmp_path: Path):
    """Named, it has to be decided, and cannot be; a benchmark without a target has none to miss."""

    def never(trial: Trial) -> dict[str, Any]:
        target = 0.9 if trial.cell.benchmark == "one" else None
        return {"target_top1": target, "time_to_top1_s": None}

    every, _ = pair_up(
        tmp_path,
        never,
        criteria=Criteria(columns=("time_to_top1_s",), is_chosen=True),
        limits=Limits(most=8),
    )

    assert [verdict.word for verdict in every[0].verdicts] == ["undecidable"] * 2
    assert every[0].verdicts[0].is_open
    # Nothing to decide takes no more pairs.
    assert every[1].verdicts == ()
    assert [series.pairs for series in every] == [8, 6]


def test_an_end_that_nobody_planned_is_no_further_look(tmp_path: Path):
    """Time is up after seven pairs: what six have shown is said, and at their level."""
    every, _ = pair_up(tmp_path, undecided, limits=Limits(minutes=4.4))

    (verdict,) = every[1].verdicts
    assert (every[1].pairs, verdict.pairs) == (7, 6)
    assert verdict.level == level_of(planned(6, 20))


def test_a_few_test_images_are_no_loss_of_accuracy(tmp_path: Path):
    """Five of a hundred may be chance, every pair having met the same images; eight are not."""

    def scores(trial: Trial) -> dict[str, Any]:
        is_b = trial.cell.backend.endswith("B")
        fewer = {"one": 0.05, "two": 0.08}[trial.cell.benchmark]
        return {"test_top1": 0.8 - fewer * is_b, "test_count": 100}

    every, _ = pair_up(tmp_path, scores, criteria=Criteria(columns=("test_top1",)))

    assert [series.verdicts[0].word for series in every] == ["same", "worse"]
    assert every[0].verdicts[0].threshold == pytest.approx(0.06)


def test_features_that_were_stored_say_nothing_of_extraction(tmp_path: Path):
    """Their seconds are those of an earlier trial."""

    def reused(trial: Trial) -> dict[str, Any]:
        return {"extract_images_per_s": 10.0, "extract_reused": trial.cell.benchmark == "two"}

    every, _ = pair_up(tmp_path, reused, criteria=Criteria(columns=("extract_images_per_s",)))

    assert [[v.column for v in series.verdicts] for series in every] == [
        ["extract_images_per_s"],
        [],
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [(None, (None, None)), ("20", (None, 20)), ("8..30", (8, 30)), ("6..6", (6, 6))],
)
def test_pairs_are_read_as_most_or_fewest_to_most(text, found):
    """No word leaves both to the suite."""
    assert read_pairs(text) == found


@pytest.mark.parametrize("text", ["5", "x", "8..", "10..8", "3..20", "-1"])
def test_pairs_that_decide_nothing_are_refused(text: str):
    """Fewer than six, or no numbers at all."""
    with pytest.raises(SuiteError, match=r"--pairs: expected N or FEWEST\.\.MOST, at least 6"):
        read_pairs(text)
