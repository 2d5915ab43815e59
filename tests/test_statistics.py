"""Intervals that name a winner seldom without cause, and differences that can be trusted."""

from __future__ import annotations

import math

import pytest

from benchharness.measure.statistics import (
    excessive_scatter,
    mean_ratio,
    paired_ratio,
    unpaired_ratio,
)

OURS = [120.0, 118.0, 125.0, 119.0, 121.0]
THEIRS = [100.0, 101.0, 99.0, 100.0, 102.0]


def logs(ours: list[float], theirs: list[float]) -> list[float]:
    """Return the logarithms of paired ratios."""
    return [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]


def test_the_ratio_is_the_geometric_mean_of_the_pairs():
    """Worked by hand: of 2 and 8 it is 4, of 1, 2 and 4 it is 2."""
    assert paired_ratio(logs([2.0, 8.0], [1.0, 1.0])).times == pytest.approx(4)
    assert paired_ratio(logs([1.0, 6.0, 4.0], [1.0, 3.0, 1.0])).times == pytest.approx(2)


def test_the_interval_is_students():
    """Worked by hand: logs -0.1, 0, 0.1 have mean 0, error 0.1 / sqrt(3), and t is 4.3027."""
    ratio = paired_ratio([-0.1, 0.0, 0.1])

    assert ratio.high == pytest.approx(math.exp(4.302653 * 0.1 / math.sqrt(3)), rel=1e-6)
    assert ratio.low == pytest.approx(1 / ratio.high)
    assert ratio.p_value == pytest.approx(1)


def test_swapping_the_sides_gives_reciprocals():
    """Ratio and interval turn over; how surely they differ stays."""
    ratio, swapped = paired_ratio(logs(OURS, THEIRS)), paired_ratio(logs(THEIRS, OURS))

    for field in ("times", "low", "high", "p_value"):
        assert getattr(swapped, field) == pytest.approx(getattr(ratio.inverse, field))
    assert swapped.p_value == pytest.approx(ratio.p_value)


def test_scaling_a_side_scales_the_ratio():
    """A clock that runs twice as fast on one side doubles everything but the error."""
    ratio = paired_ratio(logs(OURS, THEIRS))

    doubled = paired_ratio(logs([2 * value for value in OURS], THEIRS))

    for field in ("times", "low", "high"):
        assert getattr(doubled, field) == pytest.approx(2 * getattr(ratio, field))
    assert doubled.error == pytest.approx(ratio.error)


def test_one_pair_has_a_ratio_and_no_interval():
    """Nothing is known of chance."""
    ratio = paired_ratio([math.log(1.18)])

    assert (ratio.times, ratio.trials) == (pytest.approx(1.18), 1)
    assert (ratio.low, ratio.high, ratio.p_value) == (0, math.inf, 1)


def test_no_pair_is_refused():
    """There is nothing to average."""
    with pytest.raises(ValueError, match="at least one pair"):
        paired_ratio([])


def test_unpaired_sides_have_the_degrees_of_freedom_of_welch():
    """Worked by hand: variances 1 and 9 of three each make (10 / 3)^2 / (1 / 18 + 81 / 18)."""
    ratio = unpaired_ratio([4.0, 5.0, 6.0], [0.0, 3.0, 6.0])

    assert ratio.log == pytest.approx(2)
    assert ratio.error == pytest.approx(math.sqrt(10 / 3))
    assert ratio.freedom == pytest.approx((10 / 3) ** 2 / (1 / 18 + 81 / 18))


def test_the_mean_of_ratios_has_the_degrees_of_freedom_of_satterthwaite():
    """Two ratios of equal error count with twice their degrees of freedom; their errors shrink."""
    one, other = paired_ratio([0.0, 0.1, 0.2]), paired_ratio([0.3, 0.4, 0.5])

    mean = mean_ratio([one, other])

    assert mean.log == pytest.approx(0.25)
    assert mean.error == pytest.approx(one.error / math.sqrt(2))
    assert mean.freedom == pytest.approx(4)
    assert mean.trials == 3


def test_the_degrees_of_freedom_of_a_nested_mean_are_those_of_all_its_ratios():
    """Averaging the points of a matrix first changes weights, not the method."""
    ratios = [paired_ratio([0.0, 0.1 * scale, 0.3]) for scale in (1, 2, 3, 4)]

    nested = mean_ratio([mean_ratio(ratios[:2]), mean_ratio(ratios[2:])])

    flat = mean_ratio(ratios)
    assert (nested.log, nested.error) == (pytest.approx(flat.log), pytest.approx(flat.error))
    assert nested.freedom == pytest.approx(flat.freedom)


def test_scatter_beyond_chance_is_told_from_chance():
    """Of three values chance explains 10 % where 5 % is the limit (chi-square 8 below 9.2)."""
    values = [math.exp(0.1 * part) for part in (-1, 0, 1)]

    assert excessive_scatter(values, limit=0.05, level=0.01) is None
    assert excessive_scatter(values, limit=0.05, level=0.02) == pytest.approx(0.1)
    assert excessive_scatter(values[:1], limit=0.05, level=0.02) is None
