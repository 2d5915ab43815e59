"""Sampling of pairs: their order and number, the looks at them, and their scatter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from results_records import record
from suite_files import suite_of

from benchharness.compare.overrides import Overrides
from benchharness.compare.plan import ComparisonPlan, plan_comparison
from benchharness.compare.sampling import (
    ERROR,
    ERROR_OF_MISSES,
    PairSeries,
    Sampler,
    level_of,
    level_of_misses,
    planned_looks,
    read_pairs,
    scatter_of,
)
from benchharness.compare.targets import Side
from benchharness.compare.verdict import Criteria
from benchharness.errors import SuiteError
from benchharness.measure.statistics import lower_bounds, paired_p_value
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
A, B = Side(label="A", overrides=Overrides()), Side(label="B", overrides=Overrides())
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


def planned(folder: Path, text: str = SUITE, a: Side = A, b: Side = B) -> ComparisonPlan:
    """Return two sides of a suite in one plan."""
    plan = resolve(suite_of(folder, text), profile=None)
    return plan_comparison(plan, a, b, pairs=6, is_extracting=False)


def pair_up(
    folder: Path,
    metrics: Metrics,
    *,
    limits: Mapping[str, Any] = MappingProxyType({}),
    criteria: Criteria = SPEED,
    first: dict[str, int] | None = None,
    is_by_epoch: bool = False,
) -> tuple[list[PairSeries], FakeRunner]:
    """Return the pairs of both benchmarks, and who carried them out."""
    both = planned(folder)
    clock = [0.0]
    runner = FakeRunner(plan=both.plan, metrics=metrics, clock=clock)
    every = Sampler(
        runner=runner,  # type: ignore[arg-type]
        criteria=criteria,
        **limits,
        observe=unobserved,
        first_looks=first or {},
        is_by_epoch=is_by_epoch,
        now=lambda: clock[0],
    ).run(both.cells)
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
    assert sum(sum(series.seconds) for series in every) == pytest.approx(4 * 60)


@pytest.mark.parametrize(
    ("metrics", "limits", "first", "pairs", "word"),
    [
        # Two at a time, so that both orders stay even.
        (undecided, {"most": 12}, {}, [6, 12], "undecidable"),
        # Two cells take 4 minutes for six pairs each; a pair takes 20 s, so that four more end
        # within 5.5 minutes.
        (undecided, {"minutes": 5.5}, {}, [6, 10], "undecidable"),
        # Fewer than six would decide nothing, and the time would be lost.
        (steady, {"minutes": 0.5}, {}, [6, 6], "same"),
        # What the machine has shown before says when to look first.
        (steady, {}, {"two torch": 10}, [6, 10], "same"),
    ],
)
def test_a_cell_gets_pairs_until_it_is_decided_or_a_limit_is_reached(
    tmp_path: Path,
    metrics: Metrics,
    limits: dict[str, Any],
    first: dict[str, int],
    pairs: list[int],
    word: str,
):
    """An undecided cell gets more while number and time last, and a decided one none."""
    every, _ = pair_up(tmp_path, metrics, limits=limits, first=first)

    assert [series.pairs for series in every] == pairs
    assert every[1].verdicts[0].word == word


def test_a_trial_that_fails_ends_its_cell_and_no_other(tmp_path: Path):
    """Its pair is completed, so that both sides' reasons are known."""

    def breaking(trial: Trial) -> dict[str, Any]:
        is_broken = trial.cell.benchmark == "one" and trial.index == 2
        return {"status": "failed"} if is_broken else steady(trial)

    every, _ = pair_up(tmp_path, breaking)

    assert [series.pairs for series in every] == [2, 6]
    assert every[0].trials.failure() == "A, trial 2: failed: it broke"
    assert every[0].verdicts == ()


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
        limits={"most": 8},
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
        limits={"most": 8},
    )
    named, _ = pair_up(
        tmp_path,
        scattered,
        criteria=Criteria(columns=(still, noisy), is_chosen=True),
        limits={"most": 8},
    )

    assert [series.pairs for series in every] == [8, 6]
    assert every[0].verdicts[0].is_undecided
    assert [v.word for v in every[1].verdicts] == ["same", "undecidable"]
    assert [v.is_undecided for v in every[1].verdicts] == [False, False]
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
    assert not any(verdict.is_undecided for verdict in every[0].verdicts)
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

    every, _ = pair_up(tmp_path, reaching, limits={"most": 10})

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
        limits={"most": 8},
    )

    assert [verdict.word for verdict in every[0].verdicts] == ["undecidable"] * 2
    assert every[0].verdicts[0].is_undecided
    # Nothing to decide takes no more pairs.
    assert every[1].verdicts == ()
    assert [series.pairs for series in every] == [8, 6]


def test_an_end_that_nobody_planned_is_no_further_look(tmp_path: Path):
    """Time is up after seven pairs: what six have shown is said, and at their level."""
    every, _ = pair_up(tmp_path, undecided, limits={"minutes": 4.4})

    (verdict,) = every[1].verdicts
    assert (every[1].pairs, verdict.pairs) == (7, 6)
    assert verdict.level == level_of(planned_looks(6, 20))


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


@pytest.mark.parametrize(
    ("fewest", "most", "looks"),
    [
        (6, 6, (6,)),
        (6, 12, (6, 8, 10, 12)),
        (7, 11, (8, 10, 11)),
        (38, 52, (38, 40, 42, 44, 46, 48, 50, 52)),
        (80, 100, (80, 84, 88, 92, 96, 100)),
    ],
)
def test_looks_follow_whole_turns_and_the_last_is_after_all_pairs(fewest, most, looks):
    """Every other pair, of many pairs every twentieth."""
    assert planned_looks(fewest, most) == looks


def test_the_more_looks_the_surer_each_has_to_be():
    """One may err as often as all of them may together."""
    levels = [level_of(planned_looks(6, most)) for most in (6, 8, 12, 20, 40, 100)]

    assert levels[0] == ERROR
    assert levels == sorted(levels, reverse=True)
    # Of two looks at six and eight pairs it is that of all six on one side, and one more case.
    assert levels[1] == 8 / 256
    assert 0.016 < level_of(planned_looks(6, 20)) < 0.018


@pytest.mark.parametrize(
    "looks", [planned_looks(6, 12), planned_looks(6, 20), planned_looks(10, 30)]
)
@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_all_looks_together_err_as_often_as_one_may(looks: tuple[int, ...], tails: str):
    """Five in a hundred, whatever the tails, with room for chance in 10,000 samples."""
    random = np.random.default_rng(7)
    shape = (10_000, looks[-1])
    values = random.standard_t(2, shape) if tails == "heavy" else random.standard_normal(shape)
    level = level_of(looks)

    above = [lower_bounds(values[:, :look], level) > 0 for look in looks]

    assert 0.044 < np.mean(np.any(above, axis=0)) < 0.056


def test_sides_that_miss_alike_are_hardly_ever_told_apart():
    """Both miss half of forty trials at random: looks after every pair err as promised."""
    level, comparisons = level_of_misses(40), 2000
    random = np.random.default_rng(11)
    ours, theirs = random.random((2, comparisons, 40)) < 0.5
    more, fewer = ((one & ~other).cumsum(axis=1) for one, other in ((theirs, ours), (ours, theirs)))

    is_told = np.vectorize(paired_p_value)(more, fewer) <= level

    assert level == 1 / 1024
    assert np.mean(is_told.any(axis=1)) <= ERROR_OF_MISSES
    assert level_of_misses(12) == 1 / 512


def trials(*epochs: list[float]) -> list[dict[str, Any]]:
    """Return trials whose epochs took so many seconds."""
    return [{"epochs": [{"train_s": seconds} for seconds in one]} for one in epochs]


def test_variances_are_those_of_both_levels():
    """By hand, in logarithms: pairs at 0.1, 0.2 and 0.3, the two epochs 0.01 to either side.

    Within: 2 x 0.01**2. Of the means 0.01, less half of the former: between.
    """
    ours = trials([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    theirs = trials(*([math.exp(m - 0.01), math.exp(m + 0.01)] for m in (0.1, 0.2, 0.3)))

    found = scatter_of(ours, theirs, pair_s=10.0)

    assert found is not None
    assert found.within == pytest.approx(math.sqrt(2e-4))
    assert found.between == pytest.approx(math.sqrt(0.01 - 1e-4))
    assert found.of_means == pytest.approx(0.01)
    assert found.epochs == 2
    # An epoch of both sides takes 2.2 s, and 5.5 s of a pair's ten are for something else:
    # the root of 5.5 / 2.2 x 2e-4 / 0.0099 is 0.22.
    assert found.best_epochs == 1
    assert not found.are_longer_trials_better


def test_pairs_that_scatter_no_more_than_their_epochs_ask_for_longer_trials():
    """All pairs alike: the more epochs the better."""
    theirs = trials(*[[math.exp(0.05), math.exp(-0.05)]] * 4)

    found = scatter_of(trials(*[[1.0, 1.0]] * 4), theirs, pair_s=10.0)

    assert found is not None
    assert (found.between, found.best_epochs) == (0.0, None)
    assert found.are_longer_trials_better


def test_the_best_length_grows_with_what_starting_a_pair_costs():
    """With the square root of it: four times the cost, twice the epochs."""
    random = np.random.default_rng(4)
    ours = trials(*[[0.5] * 40] * 40)
    theirs = trials(
        *(0.5 * np.exp(random.normal(cost, 0.1, 40)) for cost in random.normal(0, 0.02, 40))
    )

    cheap, dear = (scatter_of(ours, theirs, pair_s=40.2 + other) for other in (10, 40))

    assert cheap is not None and dear is not None
    assert cheap.best_epochs is not None and dear.best_epochs is not None
    assert dear.best_epochs == pytest.approx(2 * cheap.best_epochs, rel=0.15)
    assert cheap.within == pytest.approx(0.1, rel=0.05)
    assert cheap.between == pytest.approx(0.02, rel=0.4)


@pytest.mark.parametrize("epochs", [[], [1.0]])
def test_one_epoch_cannot_be_told_from_its_trial(epochs: list[float]):
    """Nor can two trials be told from chance."""
    assert scatter_of(trials(*[epochs] * 6), trials(*[epochs] * 6), pair_s=1.0) is None
    assert scatter_of(trials(*[[1.0] * 6] * 2), trials(*[[1.0] * 6] * 2), pair_s=1.0) is None
