"""Looks at the pairs of a cell, and the level of each.

Whoever looks several times errs more often than at one look. The level of a look is therefore
computed from all that are planned, so that the errors of all of them together stay at ``ERROR``.
"""

from __future__ import annotations

from functools import cache
from itertools import count

from benchharness.measure.statistics import tail
from benchharness.suite.file import MINIMUM_PAIRS

# Probability that a change of exactly the limit is called worse at any look, and that it is called
# the same: 5 % each.
ERROR = 0.05
# Probability that a side is called the one that misses its target more often when both do alike. An
# equal speed is far from its limit and errs less than ``ERROR``; equally rare misses are at it.
ERROR_OF_MISSES = 0.005
FEWEST_PAIRS = MINIMUM_PAIRS
# Only whole turns of A B, B A are judged: drift of the machine then hits both sides alike.
TURN = 2
_MOST_DRAWS, _FEWEST_DRAWS = 40_000, 2_000
# Comparisons of numbers that drawing may take: a second.
_EFFORT = 4e8


def planned(fewest: int, most: int) -> tuple[int, ...]:
    """Return after how many pairs a cell is judged.

    After every turn, beyond 40 pairs after every twentieth more, and after the last pair.
    """
    looks, pairs = [], fewest + fewest % TURN
    while pairs < most:
        looks.append(pairs)
        pairs += TURN * max(1, pairs // 40)
    return (*looks, most)


@cache
def level_of(looks: tuple[int, ...]) -> float:
    """Return the probability of error that one look may have at one end of its interval.

    The signed-rank statistics of a growing sample depend on signs and on the order of absolute
    values alone, which are the same for all symmetric noise. Drawn samples therefore give the
    distribution of the smallest p-value of all looks whatever the noise, and its ``ERROR``
    quantile is the level.

    Args:
        looks: Pairs at each look, ascending.

    Source:
        One level for all looks: Pocock, "Group sequential methods in the design and analysis of
        clinical trials" (1977).
    """
    import numpy as np

    if len(looks) == 1:
        return ERROR
    most = looks[-1]
    draws = int(np.clip(_EFFORT / most**2, _FEWEST_DRAWS, _MOST_DRAWS))
    values = np.random.default_rng(0).standard_normal((most, draws), np.float32)
    below = np.zeros(draws, np.int64)
    smallest = np.ones(draws)
    for place in range(most):
        below += (values[: place + 1] + values[place] <= 0).sum(axis=0)
        if place + 1 in looks:
            smallest = np.minimum(smallest, tail(place + 1)[below])
    levels, counts = np.unique(smallest, return_counts=True)
    within = int(np.searchsorted(np.cumsum(counts), ERROR * draws, side="right"))
    return float(levels[within - 1])


@cache
def level_of_misses(most: int) -> float:
    """Return the level of each look at who misses a target more often: 1 in 2, 4, 8, ...

    Only pairs in which one side misses count, and each of these may be the other way round. A look
    after every one of them errs at least as often as those that are planned.

    Args:
        most: Pairs at the last look.
    """
    return next(
        level
        for power in count(1)
        if _error_of_misses(level := 0.5**power, most) <= ERROR_OF_MISSES
    )


def _error_of_misses(level: float, most: int) -> float:
    """Return how often equal sides differ in misses after any of so many pairs that disagree."""
    import numpy as np
    from scipy.stats import binom

    # Shares of comparisons that are still open, by how many of the pairs speak against B.
    open_shares = np.ones(1)
    for pairs in range(1, most + 1):
        open_shares = np.convolve(open_shares, (0.5, 0.5))
        open_shares[binom.sf(np.arange(pairs + 1) - 1, pairs, 0.5) <= level] = 0
    return float(1 - open_shares.sum())
