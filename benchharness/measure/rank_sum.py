"""Which of the differences between two samples bounds their shift: the rank-sum test's way."""

from __future__ import annotations

from functools import cache


@cache
def smallest_rank(ours: int, theirs: int, *, level: float) -> int:
    """Return which of the ascending differences is the lower bound of the shift, from 1.

    Args:
        ours: Size of one sample.
        theirs: Of the other.
        level: Probability of error, 0-0.5.

    Returns:
        0 where the samples are too small to be so sure.

    Source:
        The null distribution of the rank-sum statistic counts the subsets of the ranks by their
        sum: Mann and Whitney, "On a test of whether one of two random variables is stochastically
        larger than the other" (1947).
    """
    import numpy as np

    most = ours * theirs
    # ways[k, s]: how many choices of k of the ranks so far exceed the smallest possible sum by s.
    ways = np.zeros((ours + 1, most + 1))
    ways[0, 0] = 1
    for rank in range(ours + theirs):
        for taken in range(min(ours, rank + 1), 0, -1):
            shift = rank - (taken - 1)
            if shift <= most:
                ways[taken, shift:] += ways[taken - 1, : most + 1 - shift]
    below = np.cumsum(ways[ours]) / ways[ours].sum()
    return int(np.searchsorted(below, level, side="right"))
