"""Statistics: ratios of speeds, rank-based confidence bounds, exact tests of counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ratio of two speeds, ours over theirs, kept as a logarithm: there chance is symmetric.

    Attributes:
        log: Mean logarithm of ours / theirs.
        error: Standard error of it; infinite with one trial.
        freedom: Degrees of freedom of the error.
        trials: How many there are; of several samples, of the smallest.
        confidence: Nominal level of the interval.
    """

    log: float
    error: float
    freedom: float
    trials: int
    confidence: float = CONFIDENCE

    @property
    def times(self) -> float:
        """The ratio: the geometric mean over trials."""
        return math.exp(self.log)

    @property
    def low(self) -> float:
        """Lower end of the interval; 0 with one trial."""
        return math.exp(self.log - self._reach)

    @property
    def high(self) -> float:
        """Upper end of the interval; infinite with one trial."""
        return math.inf if math.isinf(self._reach) else math.exp(self.log + self._reach)

    @property
    def inverse(self) -> Ratio:
        """The ratio seen from the other side."""
        return replace(self, log=-self.log)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a true ratio of 1."""
        return 2 * self._tail(abs(self.log))

    def p_value_outside(self, margin: float) -> float:
        """Return how probable a ratio so near to 1 is where the truth is 1 + ``margin`` or more.

        Twice the one-sided probability: on the scale of ``p_value``.
        """
        return 2 * self._tail(math.log1p(margin) - abs(self.log))

    @property
    def _reach(self) -> float:
        from scipy.special import stdtrit

        if math.isinf(self.error):
            return math.inf
        return self.error * float(stdtrit(self.freedom, (1 + self.confidence) / 2))

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        if math.isinf(self.error):
            return 0.5
        if not self.error:
            return 0.0 if distance > 0 else 0.5
        return float(stdtr(self.freedom, -distance / self.error))


def paired_ratio(logs: Sequence[float]) -> Ratio:
    """Return the ratio of trials that ran in pairs, by Student's t.

    Args:
        logs: Logarithm of ours / theirs, one per pair.

    Raises:
        ValueError: There is no pair.

    Source:
        Student, "The probable error of a mean" (1908).
    """
    if not logs:
        raise ValueError("expected at least one pair of trials, found none")
    error = stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return Ratio(log=fmean(logs), error=error, freedom=len(logs) - 1, trials=len(logs))


def unpaired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return the ratio of trials that did not run in pairs, by Welch's t.

    Args:
        ours: Logarithms of our speeds, one per trial.
        theirs: Likewise, in any number.

    Raises:
        ValueError: A side has no trial.

    Source:
        Welch, "The generalization of Student's problem when several different population
        variances are involved" (1947).
    """
    both = (paired_ratio(ours), paired_ratio(theirs))
    return _combined(both, fmean(ours) - fmean(theirs), weight=1.0)


def mean_ratio(ratios: Sequence[Ratio]) -> Ratio:
    """Return the geometric mean of independent ratios, each with the same weight.

    Args:
        ratios: At least one.

    Source:
        Fleming and Wallace, "How not to lie with statistics" (1986): normalised numbers are
        averaged geometrically. Degrees of freedom: Satterthwaite, "An approximate distribution of
        estimates of variance components" (1946).
    """
    return _combined(ratios, fmean(ratio.log for ratio in ratios), weight=1 / len(ratios))


def excessive_scatter(values: Sequence[float], *, limit: float, level: float) -> float | None:
    """Return the relative standard deviation of positive numbers where it is surely too large.

    Args:
        values: Of logarithms that are about normal.
        limit: The largest relative standard deviation that is not too large.
        level: Probability that numbers of just this scatter are found to scatter more.

    Returns:
        None where chance explains what exceeds the limit, or with fewer than two numbers.

    Source:
        One-sided chi-square test of a variance: Snedecor and Cochran, "Statistical Methods"
        (1989), 5.10.
    """
    from scipy.special import chdtrc

    if len(values) < 2:
        return None
    scatter = stdev(math.log(value) for value in values)
    freedom = len(values) - 1
    is_excessive = chdtrc(freedom, freedom * (scatter / limit) ** 2) <= level
    return scatter if is_excessive else None


def _combined(ratios: Sequence[Ratio], log: float, *, weight: float) -> Ratio:
    """Return a ratio whose variance is the sum of those of independent ones, each weighted."""
    trials = min(ratio.trials for ratio in ratios)
    variances = [(weight * ratio.error) ** 2 for ratio in ratios]
    total = sum(variances)
    if math.isinf(total):
        return Ratio(log=log, error=math.inf, freedom=0, trials=trials)
    shares = [variance / total if total else 1.0 for variance in variances]
    uncertain = sum(share**2 / ratio.freedom for share, ratio in zip(shares, ratios, strict=True))
    return Ratio(log=log, error=math.sqrt(total), freedom=1 / uncertain, trials=trials)


def centre(values: Sequence[float]) -> float:
    """Return the median of the means of all pairs of values, each with itself too.

    Nearly as precise as the mean where noise is normal, and robust: a quarter of the values may be
    anything, infinite too. NaN where half of the means are infinite in one direction and half in
    the other.

    Raises:
        ValueError: There is no value.

    Source:
        Hodges and Lehmann, "Estimates of location based on rank tests" (1963).
    """
    import numpy as np

    if not len(values):
        raise ValueError("expected at least one value, found none")
    means = _pair_means(np.asarray([values], np.float64))
    # In Python: NumPy warns of the mean of two opposite infinities. NaN are left out.
    return float(median(means[~np.isnan(means)].tolist()))


def lower_bound(values: Sequence[float], level: float) -> float:
    """Return the lower confidence bound of the centre; minus infinity for too few values.

    Exact where the noise is symmetric about the centre, however heavy its tails: as that of the
    logarithm of a quotient of two like measurements is.

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
    """Return the upper confidence bound of the centre, likewise."""
    return -lower_bound([-value for value in values], level)


def lower_bounds(samples: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return the ``lower_bound`` of each row.

    Args:
        samples: Shape (samples, values).
        level: Probability of error, 0-0.5.
    """
    import numpy as np

    rank = int(np.searchsorted(tail(samples.shape[1]), level, side="right"))
    if not rank:
        return np.full(len(samples), -np.inf)
    means = _pair_means(samples)
    # Between plus and minus infinity lies anything.
    means[np.isnan(means)] = -np.inf
    bounds: NDArray[np.float64] = np.partition(means, rank - 1, axis=1)[:, rank - 1]
    return bounds


def _pair_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of all pairs of values of each row, each value with itself too."""
    import numpy as np

    first, second = np.triu_indices(samples.shape[1])
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (samples[:, first] + samples[:, second]) / 2
    return means


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


@cache
def smallest_rank(ours: int, theirs: int, *, level: float) -> int:
    """Return which of the ascending differences is the lower bound of the shift, from 1.

    Args:
        ours: Size of one sample.
        theirs: Of the other.
        level: Probability of error, 0-0.5.

    Returns:
        0 where the samples are too small for this level.

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


def paired_p_value(more: int, fewer: int) -> float:
    """Return the one-sided p-value of so many pairs in one direction.

    Args:
        more: Pairs in which only the second has the property.
        fewer: Pairs in which only the first has it.

    Source:
        The exact test of McNemar, "Note on the sampling error of the difference between correlated
        proportions or percentages" (1947): pairs that agree are ignored. One-sided.
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
