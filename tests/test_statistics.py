"""Intervals that name a winner seldom without cause, and differences that can be trusted."""

from __future__ import annotations

import math
import random

import pytest

from benchharness.measure.statistics import (
    bootstrap_interval,
    geometric_mean_ratio,
    paired_ratio,
)

OURS = [120.0, 118.0, 125.0, 119.0, 121.0]
THEIRS = [100.0, 101.0, 99.0, 100.0, 102.0]


def test_the_ratio_is_the_median_of_the_pairs():
    """Worked by hand: of 2, 3 and 4 it is 3; of 2 and 8 the geometric middle, 4."""
    assert paired_ratio([2.0, 6.0, 4.0], [1.0, 2.0, 1.0]).median == pytest.approx(3)
    assert paired_ratio([2.0, 8.0], [1.0, 1.0]).median == pytest.approx(4)


def test_the_interval_holds_students():
    """Worked by hand: logs -0.1, 0, 0.1 have mean 0, error 0.1 / sqrt(3), and t is 4.3027."""
    ratio = paired_ratio([math.exp(log) for log in (-0.1, 0.0, 0.1)], [1.0] * 3)

    assert ratio.high == pytest.approx(math.exp(4.302653 * 0.1 / math.sqrt(3)), rel=1e-6)
    assert ratio.low == pytest.approx(1 / ratio.high)
    assert not ratio.is_decided


def test_swapping_the_sides_gives_reciprocals():
    """Median and interval turn over; what could be detected stays."""
    ratio, swapped = paired_ratio(OURS, THEIRS), paired_ratio(THEIRS, OURS)

    for field in ("median", "low", "high"):
        assert getattr(swapped, field) == pytest.approx(getattr(ratio.inverse, field))
    assert swapped.detectable == pytest.approx(ratio.detectable)
    assert ratio.is_decided
    assert swapped.is_decided


def test_scaling_a_side_scales_the_ratio():
    """A clock that runs twice as fast on one side doubles everything but the spread."""
    ratio = paired_ratio(OURS, THEIRS)

    doubled = paired_ratio([2 * value for value in OURS], THEIRS)

    for field in ("median", "low", "high"):
        assert getattr(doubled, field) == pytest.approx(2 * getattr(ratio, field))
    assert doubled.detectable == pytest.approx(ratio.detectable)


def test_one_pair_decides_nothing():
    """There is a ratio, and no word on chance."""
    ratio = paired_ratio([118.0], [100.0])

    assert (ratio.median, ratio.pairs) == (pytest.approx(1.18), 1)
    assert (ratio.low, ratio.high, ratio.detectable) == (None, None, None)
    assert not ratio.is_decided


def test_sides_of_unequal_length_are_refused():
    """A trial without its partner cannot be paired."""
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("pairs", "bare_at_least"), [(3, 0.15), (5, 0.0)])
def test_equal_sides_seldom_have_a_winner(pairs, bare_at_least):
    """400 times A against A with 5 % noise: at most 7 %, where three bootstrapped pairs fail."""
    draw = random.Random(20)
    named = named_by_bootstrap = 0
    for _ in range(400):
        logs = [draw.gauss(0, 0.05) - draw.gauss(0, 0.05) for _ in range(pairs)]
        named += paired_ratio([math.exp(log) for log in logs], [1.0] * pairs).is_decided
        low, high = bootstrap_interval(logs)
        named_by_bootstrap += not low <= 0 <= high

    assert named <= 0.07 * 400
    assert named_by_bootstrap > bare_at_least * 400


def test_a_detectable_difference_is_found_four_times_in_five():
    """400 experiments of five pairs whose true ratio is the one said to be detectable."""
    draw = random.Random(20)
    # Worked by hand: these logs have a standard deviation of 0.03.
    logs = [0.03 * math.sqrt(2) * part for part in (-1, 0, 0, 0, 1)]
    detectable = paired_ratio([math.exp(log) for log in logs], [1.0] * 5).detectable
    found = 0
    for _ in range(400):
        ours = [detectable * math.exp(draw.gauss(0, 0.03)) for _ in range(5)]
        found += paired_ratio(ours, [1.0] * 5).is_decided

    assert 0.7 < found / 400 < 0.86


def test_benchmarks_count_alike_in_their_mean():
    """Worked by hand: 2 and 8 make 4 in each common trial; a trial of only one is left out."""
    ratio = geometric_mean_ratio([{1: 2.0, 2: 2.0}, {1: 8.0, 2: 8.0, 3: 99.0}])

    assert (ratio.median, ratio.pairs) == (pytest.approx(4), 2)
    assert geometric_mean_ratio([{1: 2.0}, {2: 2.0}]) is None
