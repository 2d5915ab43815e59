"""Intervals for a centre without assumptions on the noise but its symmetry: Wilcoxon's way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]


def centre(values: Sequence[float]) -> float:
    """Return the median of all means of two values (Hodges and Lehmann), each with itself too.

    Nearly as precise as the mean where noise is normal, and as hard to disturb as a median should
    be: a quarter of the values may be anything, infinite too. NaN where half of the means are
    infinite in one direction and half in the other.

    Raises:
        ValueError: There is no value.

    Source:
        Hodges and Lehmann, "Estimates of location based on rank tests" (1963).
    """
    import numpy as np

    if not len(values):
        raise ValueError("expected at least one value, found none")
    means = _means(np.asarray([values], np.float64))
    # In Python: NumPy warns of the mean of two opposite infinities. NaN are left out.
    return float(median(means[~np.isnan(means)].tolist()))


def lower_bound(values: Sequence[float], level: float) -> float:
    """Return what the centre is not below, but for one time in ``1 / level`` at most.

    Exact where the noise is symmetric about the centre, however heavy its tails: as that of the
    logarithm of a quotient of two like measurements is. Minus infinity where there are too few
    values to be so sure.

    Args:
        values: Infinite ones count as beyond all others.
        level: Probability of error, 0-0.5.

    Source:
        Tukey's interval of the signed-rank test: Hollander, Wolfe and Chicken, "Nonparametric
        Statistical Methods" (2014), 3.3.
    """
    import numpy as np

    return float(lower_bounds(np.asarray([values], np.float64), level)[0])


def upper_bound(values: Sequence[float], level: float) -> float:
    """Return what the centre is not above, likewise."""
    return -lower_bound([-value for value in values], level)


def lower_bounds(samples: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return the ``lower_bound`` of each row.

    Args:
        samples: Shape (samples, values).
        level: Probability of error, 0-0.5.
    """
    import numpy as np

    rank = _rank(samples.shape[1], level)
    if not rank:
        return np.full(len(samples), -np.inf)
    means = _means(samples)
    # Between plus and minus infinity lies anything.
    means[np.isnan(means)] = -np.inf
    bounds: NDArray[np.float64] = np.partition(means, rank - 1, axis=1)[:, rank - 1]
    return bounds


def _means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all pairs of values of each row, each value with itself too."""
    import numpy as np

    ours, theirs = np.triu_indices(samples.shape[1])
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (samples[:, ours] + samples[:, theirs]) / 2
    return means


def _rank(count: int, level: float) -> int:
    """Return which of the ascending means is the bound, from 1; 0 for none."""
    import numpy as np

    return int(np.searchsorted(tail(count), level, side="right"))


@cache
def tail(count: int) -> NDArray[np.float64]:
    """Return the distribution of the signed-rank statistic under symmetry about 0.

    Args:
        count: Of values.

    Returns:
        The probability that at most 0, 1, 2, ... of the means of two values are below 0; shape
        (count * (count + 1) / 2 + 1,).
    """
    import numpy as np

    # How many subsets of the ranks 1..count have each sum.
    ways = np.ones(1)
    for rank in range(1, count + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer
    below: NDArray[np.float64] = np.cumsum(ways / 2.0**count)
    return below
