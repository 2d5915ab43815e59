"""Noise of a machine: kept, read again for the same cell, and used to say what can be shown."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from results_records import record
from suite_files import suite_of

from benchharness.compare.noise import MOST_PAIRS, NoiseFloor, NoiseStore, PowerEstimate
from benchharness.compare.overrides import Overrides
from benchharness.compare.plan import plan_comparison
from benchharness.compare.sampling import FEWEST_PAIRS, PairSeries, level_of, planned_looks
from benchharness.compare.targets import Side
from benchharness.compare.verdict import Criteria, Sample, decide
from benchharness.model.quantities import QUANTITIES
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import resolve

SUITE = """
name = "pets"
trials = 1
backends = ["torch"]

[dataset]
source = "drawn"

[[benchmark]]
name = "one"
strategy = "simple_cnn"
matrix = { batch_size = [8, 16] }
"""
COLUMN = "train_images_per_s"


def floor_of(spread: float, *, pairs: int = 20) -> NoiseFloor:
    """Return the floor of a machine with normal noise."""
    costs = np.random.default_rng(3).normal(0, spread, pairs)
    return NoiseFloor(
        log_ratios={COLUMN: tuple(costs.tolist())}, pair_s=6.0, measured="2026-11-24T12:00:00"
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan of two cells."""
    return resolve(suite_of(tmp_path, SUITE), profile=None)


def test_a_floor_is_found_again_for_its_cell_and_device_alone(tmp_path: Path, plan: Plan):
    """Another point of the matrix, another device or other settings are other cells."""
    store = NoiseStore(folder=tmp_path / "noise", device="a processor")
    one, other = plan.cells
    kept = floor_of(0.01)

    store.keep(plan, one, kept)

    assert store.find(plan, one) == kept
    assert store.find(plan, replace(one, backend="torch", trials=7)) == kept
    assert store.find(plan, other) is None
    assert replace(store, device="another").find(plan, one) is None


def test_a_damaged_floor_is_as_good_as_none(tmp_path: Path, plan: Plan):
    """It is only a cache."""
    store = NoiseStore(folder=tmp_path / "noise", device="a processor")
    store.keep(plan, plan.cells[0], floor_of(0.01))
    for file in (tmp_path / "noise").iterdir():
        file.write_text('{"costs": []}')

    assert store.find(plan, plan.cells[0]) is None


def test_more_pairs_and_less_noise_show_smaller_differences():
    """As they do everywhere."""
    quiet, noisy = floor_of(0.01), floor_of(0.04)

    assert (
        quiet.smallest_detectable(COLUMN, 20)
        < quiet.smallest_detectable(COLUMN, 6)
        < noisy.smallest_detectable(COLUMN, 6)
    )
    needs = [noisy.pairs_needed(COLUMN, threshold) for threshold in (0.2, 0.1, 0.05, 0.02, 0.001)]
    assert needs == sorted(needs)
    assert needs[0] == 6
    assert 8 <= needs[2] <= 36
    assert needs[-1] == MOST_PAIRS
    assert all(need % 2 == 0 for need in needs)


def test_of_alternatives_the_one_that_scatters_least_says_how_many_pairs_it_takes(
    tmp_path: Path, plan: Plan
):
    """A noisy best epoch keeps nobody waiting where the throughput is steady; named, it does."""
    side = Side(label="itself", overrides=Overrides())
    both = plan_comparison(plan, side, side, pairs=6, is_extracting=False)
    store = NoiseStore(folder=tmp_path / "noise", device="a processor")
    noisy, steady = floor_of(0.08).log_ratios[COLUMN], floor_of(0.001).log_ratios[COLUMN]
    costs = {"best_epoch_s": noisy, COLUMN: steady}
    for pair in both.cells:
        store.keep(both.plan, pair.a, replace(floor_of(0.0), log_ratios=costs))
    usual = PowerEstimate.of(both, store, Criteria())
    named = PowerEstimate.of(both, store, Criteria(columns=tuple(costs), is_chosen=True))

    warned = [line for line in named.warnings(most=20) if "best_epoch_s" in line]
    refused = [str(problem) for problem in named.problems(most=20)]
    assert set(usual.first_looks(most=20).values()) == {2}
    assert not [line for line in usual.warnings(most=20) if "best_epoch_s" in line]
    assert not [*usual.problems(most=20)]
    assert len(warned) == 2
    assert len(refused) == len(both.cells) == 2
    assert "best_epoch_s: expected a threshold that 20 pairs can decide on here" in refused[0]
    assert "(measured 2026-11-24), found 0.05 (--threshold best_epoch_s=" in refused[0]
    assert set(named.first_looks(most=20).values()) == {10}


def test_a_machine_too_noisy_for_any_threshold_is_told_none(tmp_path: Path, plan: Plan):
    """No threshold to try is named, for none is large enough."""
    side = Side(label="itself", overrides=Overrides())
    both = plan_comparison(plan, side, side, pairs=6, is_extracting=False)
    store = NoiseStore(folder=tmp_path / "noise", device="a processor")
    store.keep(both.plan, both.cells[0].a, floor_of(5.0))
    named = PowerEstimate.of(both, store, Criteria(columns=(COLUMN,), is_chosen=True))

    (refused,) = map(str, named.problems(most=20))

    assert "can decide on here (measured 2026-11-24), found 0.05 (longer trials or a" in refused


def test_a_threshold_is_refused_only_where_it_is_more_often_undecided_than_not():
    """At four per cent of noise 20 pairs do decide on 5 %, if not nine times in ten."""
    floor = floor_of(0.04)

    assert floor.pairs_needed(COLUMN, 0.05) > 20
    assert not floor.is_hopeless(COLUMN, 0.05, 20)
    assert floor.is_hopeless(COLUMN, 0.02, 20)
    assert floor.is_hopeless(COLUMN, 0.05, 6)


def test_a_machine_without_noise_shows_everything():
    """Memory is often equal to the byte."""
    still = NoiseFloor(log_ratios={"peak_host_bytes": (0.0,) * 6}, pair_s=1.0, measured="")

    assert still.smallest_detectable("peak_host_bytes", 6) == 0
    assert still.pairs_needed("peak_host_bytes", 0.001) == 6


@pytest.mark.parametrize("tails", ["normal", "heavy", "bursts"])
def test_a_threshold_that_can_be_shown_is_decided_nine_times_in_ten(tails: str):
    """Equal code is the same and twice the threshold is slower, on machines measured once."""
    random = np.random.default_rng(9)
    level = level_of(planned_looks(FEWEST_PAIRS, 12))

    def costs() -> np.ndarray:
        if tails == "heavy":
            return 0.02 * random.standard_t(2, 12)
        drawn = random.normal(0, 0.02, (2, 12))
        if tails == "bursts":
            drawn += (random.random((2, 12)) < 0.12) * random.exponential(0.15, (2, 12))
        return drawn[0] - drawn[1]

    same, slower = [], []
    for _ in range(60):
        floor = NoiseFloor(log_ratios={COLUMN: tuple(costs().tolist())}, pair_s=1.0, measured="")
        threshold = min(100.0, floor.smallest_detectable(COLUMN, 12))
        for worse, hits, word in ((0.0, same, "same"), (2 * threshold, slower, "slower")):
            for _ in range(5):
                drawn = tuple((costs() + math.log1p(worse)).tolist())
                sample = Sample(quantity=QUANTITIES["wall_s"], log_ratios=drawn, trials=(12, 12))
                hits.append(decide(sample, threshold=threshold, level=level).word == word)

    # 300 each, with room for chance.
    assert np.mean(same) > 0.87
    assert np.mean(slower) > 0.87


def test_missed_targets_are_no_noise_of_the_machine():
    """A column in which a side never got there has no floor; the others have theirs."""

    def trial(number: int, to_target_s: float | None) -> dict[str, Any]:
        return record(
            "one",
            trial=number,
            settings={"target_top1": 0.9},
            metrics={"time_to_top1_s": to_target_s, "wall_s": 2.0},
        )

    pair = SimpleNamespace(label="one", is_compared=True)
    series = PairSeries(cells=pair, looks=(6,), seconds=[1.0] * 6)  # type: ignore[arg-type]
    series.a += [trial(number, 1.0) for number in range(1, 7)]
    series.b += [trial(number, None if number == 3 else 1.0) for number in range(1, 7)]

    floor = NoiseFloor.of(series, Criteria(columns=("time_to_top1_s", "wall_s")))

    assert floor.log_ratios == {"wall_s": (0.0,) * 6}
