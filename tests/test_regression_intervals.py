"""Intervals of paired and of unpaired differences, against sums done by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchharness.measure.statistics import (
    centre,
    lower_bound,
    lower_bounds,
    smallest_rank,
    upper_bound,
)

NUMBERS = st.lists(st.floats(-1, 1), min_size=6, max_size=12)


def test_the_centre_is_the_median_of_all_means_of_two():
    """Of 1, 2 and 6: the means 1, 2, 6, 1.5, 3.5 and 4, whose middle is between 2 and 3.5."""
    assert centre([1, 2, 6]) == 2.75
    assert centre([4.0]) == 4.0


def test_a_quarter_of_wild_values_leaves_the_centre_where_it_was():
    """A mean would be moved by 250."""
    assert abs(centre([1.0, 1.01, 0.99, 1.0, 1.0, 0.98, 1000.0, 1.02]) - 1) < 0.02


def test_a_centre_between_opposite_infinities_is_unknown(recwarn):
    """Targets missed by A as often as by B leave a centre anywhere; NumPy has no warning of it."""
    values = [-math.inf, 0.1, math.inf]

    assert math.isnan(centre([-math.inf, math.inf]))
    # Of the means -inf, -inf, 0.1, inf, inf, without that of the two infinities.
    assert centre(values) == 0.1
    assert not recwarn.list


def test_six_values_are_bounded_by_the_smallest_at_one_in_64():
    """All six on one side happens once in 64 times, and nothing rarer can."""
    values = [5.0, 3.0, 4.0, 1.0, 6.0, 2.0]

    assert lower_bound(values, 1 / 64) == 1.0
    assert upper_bound(values, 1 / 64) == 6.0
    # One in 32 also admits the second smallest mean, of 1 and 2.
    assert lower_bound(values, 1 / 32) == 1.5


def test_too_few_values_bound_nothing():
    """Five values cannot be surer than one in 32."""
    assert lower_bound([1.0] * 5, 1 / 64) == -math.inf
    assert upper_bound([1.0] * 5, 1 / 64) == math.inf


def test_infinite_values_are_beyond_all_others_and_the_bounds_know_it():
    """By hand, of six: the smallest mean bounds below, the largest above; between them anything."""
    values = [1.0, 2.0, 3.0, 4.0, math.inf, math.inf]

    assert lower_bound(values, 1 / 64) == 1.0
    assert upper_bound(values, 1 / 64) == math.inf
    # Of 21 means eleven are infinite.
    assert centre(values) == math.inf
    assert lower_bound([-math.inf, *[1.0] * 5, math.inf], 1 / 64) == -math.inf


@pytest.mark.parametrize("count", [6, 8, 9])
@pytest.mark.parametrize("level", [1 / 64, 1 / 32, 0.05])
def test_the_bound_errs_as_often_as_it_may_over_all_signs(count: int, level: float):
    """Every choice of signs is as likely as any: those whose bound is above 0 are counted."""
    sizes = np.array([0.3, 1.1, 0.7, 2.9, 1.7, 0.2, 5.3, 3.1, 0.9])[:count]
    signs = np.array(list(itertools.product((1, -1), repeat=count)))

    errors = np.mean(lower_bounds(signs * sizes, level) > 0)

    assert level - 8 / 2**count < errors <= level


@given(NUMBERS, st.floats(-1, 1))
def test_bounds_move_with_the_values(values: list[float], shift: float):
    """A shift of all values shifts the bound; a mirror swaps the bounds."""
    moved = [value + shift for value in values]

    assert lower_bound(moved, 1 / 64) == pytest.approx(lower_bound(values, 1 / 64) + shift)
    assert upper_bound(values, 1 / 64) == -lower_bound([-value for value in values], 1 / 64)
    assert lower_bound(values, 1 / 64) <= centre(values) <= upper_bound(values, 1 / 64)


@pytest.mark.parametrize(("ours", "theirs"), [(4, 4), (3, 6), (5, 4)])
@pytest.mark.parametrize("level", [1 / 64, 0.05])
def test_the_rank_of_unpaired_differences_errs_as_often_as_it_may(
    ours: int, theirs: int, level: float
):
    """Over all ways in which equal samples can lie among each other."""
    below = []
    for chosen in itertools.combinations(range(ours + theirs), ours):
        others = set(range(ours + theirs)) - set(chosen)
        below.append(sum(other < one for one in chosen for other in others))

    rank = smallest_rank(ours, theirs, level=level)

    assert np.mean(np.array(below) < rank) <= level < np.mean(np.array(below) < rank + 1)


def test_three_trials_on_each_side_are_too_few_to_be_surer_than_one_in_20():
    """Twenty ways to lie among each other, one of which has all of ours above."""
    assert smallest_rank(3, 3, level=1 / 64) == 0
    assert smallest_rank(3, 3, level=0.05) == 1
