"""Exact tests of two proportions, in pairs and in two samples."""

from __future__ import annotations


def paired_p_value(more: int, fewer: int) -> float:
    """Return the one-sided p-value of so many pairs in one direction.

    Args:
        more: Pairs in which only the second has the property.
        fewer: Pairs in which only the first has it.

    Source:
        The exact test of McNemar, "Note on the sampling error of the difference between correlated
        proportions or percentages" (1947): pairs that agree tell nothing. One-sided.
    """
    from scipy.stats import binom

    return float(binom.sf(more - 1, more + fewer, 0.5))


def unpaired_p_value(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the one-sided p-value of a second count as high or higher.

    Args:
        first: How many of one sample have the property, and its size.
        second: Of the other sample.

    Source:
        Fisher's exact test, one-sided: Fisher, "The logic of inductive inference" (1935).
    """
    from scipy.stats import hypergeom

    (ours, of_ours), (theirs, of_theirs) = first, second
    return float(hypergeom.sf(theirs - 1, of_ours + of_theirs, ours + theirs, of_theirs))
