"""Whether one proportion is larger than another: exact tests of pairs and of two samples."""

from __future__ import annotations

from math import comb


def paired_p_value(more: int, fewer: int) -> float:
    """Return how probable so many pairs in one direction are where both are equally likely.

    Args:
        more: Pairs in which only the second has the property.
        fewer: Pairs in which only the first has it.

    Source:
        The exact test of McNemar, "Note on the sampling error of the difference between correlated
        proportions or percentages" (1947): pairs that agree tell nothing. One-sided.
    """
    pairs = more + fewer
    return sum(comb(pairs, count) for count in range(more, pairs + 1)) / float(2**pairs)


def unpaired_p_value(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return how probable a second count as high or higher is where the proportions are equal.

    Args:
        first: How many of one sample have the property, and its size.
        second: Of the other sample.

    Source:
        Fisher's exact test, one-sided: Fisher, "The logic of inductive inference" (1935).
    """
    (ours, of_ours), (theirs, of_theirs) = first, second
    having, every = ours + theirs, of_ours + of_theirs
    ways = sum(
        comb(of_theirs, count) * comb(of_ours, having - count)
        for count in range(theirs, min(having, of_theirs) + 1)
    )
    return ways / comb(every, having)
