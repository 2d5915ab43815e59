"""Looks at a comparison keep their level, and say what they know."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.special import stdtr

from benchharness.measure.sequential import (
    LEVEL,
    MARGIN,
    MAX_TRIALS,
    InterimLook,
    confidence,
    error_of_looks,
    looks,
    nominal_level,
    rule_for,
)
from benchharness.measure.statistics import paired_ratio


def look(logs: list[float], *, comparisons: int, **limits: float) -> InterimLook:
    """Return the result of one comparison of a family."""
    return looks([logs], comparisons=comparisons, **limits)[0]


def spread(mean: float, scatter: float, trials: int) -> list[float]:
    """Return logarithms of this very mean, about so scattered."""
    draw = random.Random(5)
    noise = [draw.gauss(0, scatter) for _ in range(trials)]
    return [mean + value - sum(noise) / trials for value in noise]


def test_one_look_is_students_test():
    """With three values as first and last look, nothing is to be paid for looking."""
    for level in (0.05, 0.01, 1e-4):
        assert error_of_looks(level, 3) == pytest.approx(level, rel=1e-3)
        assert nominal_level(level, 3) == pytest.approx(level, rel=2e-3)


def test_the_error_over_looks_is_that_of_simulation():
    """200,000 series of ten values without any difference: 5 %, give or take 0.15 %."""
    nominal = nominal_level(0.05, MAX_TRIALS)
    values = np.random.default_rng(3).standard_normal((200_000, MAX_TRIALS))
    is_found = np.zeros(len(values), dtype=bool)
    for trials in range(3, MAX_TRIALS + 1):
        own = values[:, :trials]
        t = own.mean(axis=1) / own.std(axis=1, ddof=1) * math.sqrt(trials)
        is_found |= 2 * stdtr(trials - 1, -np.abs(t)) <= nominal * trials / MAX_TRIALS

    assert is_found.mean() == pytest.approx(0.05, abs=0.0015)


def test_levels_stay_between_bonferroni_and_a_single_look():
    """Eight looks cost something, but less than eight tests that have nothing in common."""
    for level in (0.05, 0.01, 1e-3, 1e-5):
        shares = sum(range(3, MAX_TRIALS + 1)) / MAX_TRIALS

        assert level / shares < nominal_level(level, MAX_TRIALS) < level


def test_a_clear_difference_is_decided_after_three_trials():
    """Ours is 20 % faster, give or take half a percent."""
    seen = look([0.182, 0.187, 0.178], comparisons=1)

    assert (seen.verdict, seen.trials, seen.more) == ("faster", 3, None)
    assert seen.low < seen.ratio < seen.high
    assert seen.ratio == pytest.approx(1.2, rel=0.01)
    assert look([-0.182, -0.187, -0.178], comparisons=1).verdict == "slower"


@pytest.mark.parametrize("logs", [[0.182], [0.182, 0.1821], [0.182, 0.182], [0.0, 0.0]])
def test_below_three_trials_nothing_is_decided(logs):
    """However well they agree."""
    assert look(logs, comparisons=1).verdict == "open"


def test_one_trial_has_no_interval():
    """And nothing to foresee more trials by."""
    seen = look([0.18], comparisons=1)

    assert (seen.low, seen.high, seen.more) == (0, math.inf, None)


def test_equal_speeds_are_equal_within_the_margin():
    """A winner by 1 % is no winner to a user, however certain."""
    assert look(spread(0.0, 0.005, 6), comparisons=1).verdict == "equal"
    assert look(spread(0.01, 0.002, 10), comparisons=1).verdict == "equal"
    assert look(spread(math.log1p(MARGIN), 0.005, 6), comparisons=1).verdict == "faster"


def test_more_trials_are_foreseen_where_they_would_decide():
    """With the same mean and scatter; none where ten would not."""
    seen = look(spread(0.08, 0.03, 4), comparisons=1)
    assert seen.verdict == "open"
    assert seen.more

    same = spread(0.08, 0.03, 4)
    error = paired_ratio(same).error * 2
    longer = spread(0.08, 1.0, 4 + seen.more)
    factor = error / (paired_ratio(longer).error * math.sqrt(4 + seen.more))
    assert look([0.08 + factor * (log - 0.08) for log in longer], comparisons=1).verdict == "faster"

    assert look(spread(0.01, 0.1, 4), comparisons=1).more is None
    assert look(spread(0.08, 0.03, 4), comparisons=1, max_trials=4).more is None


def test_what_is_decided_leaves_its_share_to_the_others():
    """Holm: alone among five it is open; beside four that are decided it is not."""
    clear, close = [0.5, 0.501, 0.499, 0.5], [0.10, 0.14, 0.12, 0.09]
    assert look(close, comparisons=5).verdict == "open"

    family = looks([clear, clear, close, clear, clear], comparisons=5)

    assert [seen.verdict for seen in family] == ["faster"] * 5


def test_a_longer_run_pays_for_its_looks():
    """Twenty looks find more by chance than ten."""
    assert nominal_level(LEVEL, 20) < nominal_level(LEVEL, 10)


def test_the_detectable_difference_is_detected_four_times_in_five():
    """400 pairs of series, the second with the difference that the first calls detectable."""
    draw = random.Random(20)
    rule = rule_for([], comparisons=5)
    found = 0
    for _ in range(400):
        first = paired_ratio([draw.gauss(0, 0.03) for _ in range(5)])
        effect = math.log(rule.detectable(first))
        second = paired_ratio([draw.gauss(effect, 0.03) for _ in range(5)])
        found += rule.verdict(second) == "faster"

    assert 0.74 < found / 400 < 0.86


def test_intervals_are_wider_where_looks_decide_when_to_stop():
    """A fixed number of trials has Student's 95 %."""
    assert confidence(5, max_trials=None) == 0.95
    assert all(confidence(trials, max_trials=10) > 0.95 for trials in range(3, 11))


def test_reports_of_many_trials_have_a_level():
    """More pairs than a run looks at, as after forty stated trials: the level falls slowly."""
    levels = [nominal_level(0.05, trials) for trials in (MAX_TRIALS, 39, 40, 80)]

    assert levels == sorted(levels, reverse=True)
    assert 0.012 < levels[-1] < levels[0] < 0.02
