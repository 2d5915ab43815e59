"""When pairs are looked at, and that all looks together err as rarely as promised."""

from __future__ import annotations

import numpy as np
import pytest

from benchharness.compare.looks import ERROR, ERROR_OF_MISSES, level_of, level_of_misses, planned
from benchharness.measure.statistics import lower_bounds, paired_p_value


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
    assert planned(fewest, most) == looks


def test_the_more_looks_the_surer_each_has_to_be():
    """One may err as often as all of them may together."""
    levels = [level_of(planned(6, most)) for most in (6, 8, 12, 20, 40, 100)]

    assert levels[0] == ERROR
    assert levels == sorted(levels, reverse=True)
    # Of two looks at six and eight pairs it is that of all six on one side, and one more case.
    assert levels[1] == 8 / 256
    assert 0.016 < level_of(planned(6, 20)) < 0.018


@pytest.mark.parametrize("looks", [planned(6, 12), planned(6, 20), planned(10, 30)])
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
