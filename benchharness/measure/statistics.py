"""Statistics: ratios of speeds, rank-based confidence bounds, exact tests of counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat
from statistics import fmean, harmonic_mean, median, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ratio of two speeds, A over B, kept as a logarithm: there chance is symmetric.

    Attributes:
        log: Mean logarithm of A / B.
        error: Standard error of it; infinite with one trial. ``freedom`` are its degrees.
        trials: Of several samples, those of the smallest.
        confidence: Nominal level of the interval.
        hosts: How many hosts ran the trials.
        host_error: Standard error by the scatter of the hosts' means; 0 with one host. It widens
            the interval, not the p-values: equal code is equal on every host.
    """

    log: float
    error: float
    freedom: float
    trials: int
    confidence: float = CONFIDENCE
    hosts: int = 1
    host_error: float = 0.0

    @property
    def times(self) -> float:
        """The geometric mean over trials."""
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

    def is_within(self, margin: float) -> bool:
        """Return whether the whole interval is within a factor of 1 + ``margin`` of 1."""
        return abs(self.log) + self._reach <= math.log1p(margin)

    @property
    def _reach(self) -> float:
        from scipy.special import stdtrit

        if math.isinf(self.error):
            return math.inf
        share = (1 + self.confidence) / 2
        reach = self.error * float(stdtrit(self.freedom, share))
        if self.hosts == 1:
            return reach
        return max(reach, self.host_error * float(stdtrit(self.hosts - 1, share)))

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        if math.isinf(self.error):
            return 0.5
        if not self.error:
            return 0.0 if distance > 0 else 0.5
        return float(stdtr(self.freedom, -distance / self.error))


def paired_ratio(logs: Sequence[float], hosts: Sequence[str] = ()) -> Ratio:
    """Return the ratio of trials that ran in pairs, by Student's t (1908).

    Hosts are strata: the ratio is the mean over hosts, each with the same weight.

    Args:
        logs: Logarithms of A / B.
        hosts: Host of each pair; empty where all ran on one.

    Raises:
        ValueError: There is no pair.

    Source:
        Student's t of the hosts' means holds its level although their variances differ: Ibragimov
        and Müller, "t-statistic based correlation and heterogeneity robust inference" (2010).
    """
    if not logs:
        raise ValueError("expected at least one pair of trials, found none")
    strata: dict[str, list[float]] = {}
    for log, host in zip(logs, hosts or repeat(""), strict=bool(hosts)):
        strata.setdefault(host, []).append(log)
    means = list(map(fmean, strata.values()))
    # As many pairs, evenly spread over the hosts, would make a mean as precise.
    even = len(strata) * harmonic_mean(map(len, strata.values()))
    return Ratio(
        log=fmean(means),
        error=stdev(logs) / math.sqrt(even) if len(logs) > 1 else math.inf,
        freedom=len(logs) - 1,
        trials=len(logs),
        hosts=len(means),
        host_error=stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0,
    )


def unpaired_ratio(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Return the ratio of logarithms of speeds that did not run in pairs, by Welch's t (1947).

    ValueError where a side has none.
    """
    both = (paired_ratio(a), paired_ratio(b))
    return _combined(both, fmean(a) - fmean(b), weight=1.0)


def mean_ratio(ratios: Sequence[Ratio]) -> Ratio:
    """Return the geometric mean of at least one independent ratio, each with the same weight.

    Source:
        Fleming and Wallace, "How not to lie with statistics" (1986). Degrees of freedom:
        Satterthwaite, "An approximate distribution of estimates of variance components" (1946).
    """
    return _combined(ratios, fmean(ratio.log for ratio in ratios), weight=1 / len(ratios))


def _combined(ratios: Sequence[Ratio], log: float, *, weight: float) -> Ratio:
    """Return a ratio whose variance is the sum of those of independent ones, each weighted.

    Errors by host are added instead: a host may favour the same side in all of them.
    """
    trials = min(ratio.trials for ratio in ratios)
    variances = [(weight * ratio.error) ** 2 for ratio in ratios]
    total = sum(variances)
    if math.isinf(total):
        return Ratio(log=log, error=math.inf, freedom=0, trials=trials)
    shares = [variance / total if total else 1.0 for variance in variances]
    uncertain = sum(share**2 / ratio.freedom for share, ratio in zip(shares, ratios, strict=True))
    return Ratio(
        log=log,
        error=math.sqrt(total),
        freedom=1 / uncertain,
        trials=trials,
        hosts=min((ratio.hosts for ratio in ratios if ratio.hosts > 1), default=1),
        host_error=weight * sum(ratio.host_error for ratio in ratios),
    )


def excessive_scatter(values: Sequence[float], *, limit: float, level: float) -> float | None:
    """Return the relative standard deviation of log-normal numbers where it is surely too large.

    None where chance explains what exceeds the limit, or with fewer than two numbers. ``level`` is
    the probability that numbers of just the limit's scatter are found to scatter more.

    Source:
        One-sided chi-square test: Snedecor and Cochran, "Statistical Methods" (1989), 5.10.
    """
    from scipy.special import chdtrc

    if len(values) < 2:
        return None
    scatter, freedom = stdev(math.log(value) for value in values), len(values) - 1
    is_excessive = chdtrc(freedom, freedom * (scatter / limit) ** 2) <= level
    return scatter if is_excessive else None


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
    # In Python: NumPy warns of the mean of two opposite infinities.
    return float(median(means[~np.isnan(means)].tolist()))


def lower_bound(values: Sequence[float], level: float) -> float:
    """Return the lower confidence bound of the centre; minus infinity for too few values.

    Exact where the noise is symmetric about the centre, however heavy its tails: as that of the
    logarithm of a quotient of two like measurements is.

    Infinite values count as beyond all others; ``level`` is the probability of error, 0-0.5.

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
    """Return the ``lower_bound`` of each row of samples, shape (samples, values)."""
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
    import numpy as np

    first, second = np.triu_indices(samples.shape[1])
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = (samples[:, first] + samples[:, second]) / 2
    return means


@cache
def tail(count: int) -> NDArray[np.float64]:
    """Return the distribution of the signed-rank statistic of so many values symmetric about 0.

    The probability that at most 0, 1, 2, ... of the means of two values are below 0; shape
    (count * (count + 1) / 2 + 1,).
    """
    import numpy as np

    # How many subsets of the ranks 1..count have each sum.
    ways = np.ones(1)
    for rank in range(1, count + 1):
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    below: NDArray[np.float64] = np.cumsum(ways / 2.0**count)
    return below


@cache
def smallest_rank(size_a: int, size_b: int, *, level: float) -> int:
    """Return which of the ascending differences is the lower bound of the shift, from 1.

    Of samples of two sizes; 0 where they are too small for the probability of error, 0-0.5.

    Source:
        Mann and Whitney, "On a test of whether one of two random variables is stochastically
        larger than the other" (1947): subsets of the ranks, counted by their sum.
    """
    import numpy as np

    most = size_a * size_b
    # ways[k, s]: how many choices of k of the ranks so far exceed the smallest possible sum by s.
    ways = np.zeros((size_a + 1, most + 1))
    ways[0, 0] = 1
    for rank in range(size_a + size_b):
        for taken in range(min(size_a, rank + 1), 0, -1):
            shift = rank - (taken - 1)
            if shift <= most:
                ways[taken, shift:] += ways[taken - 1, : most + 1 - shift]
    below = np.cumsum(ways[size_a]) / ways[size_a].sum()
    return int(np.searchsorted(below, level, side="right"))


def paired_p_value(more: int, fewer: int) -> float:
    """Return the one-sided p-value of McNemar's exact test (1947) that B has more.

    Of pairs in which only B, and in which only A, has a property.
    """
    from scipy.stats import binom

    return float(binom.sf(more - 1, more + fewer, 0.5))


def unpaired_p_value(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Return the one-sided p-value of a count in B as high or higher, by Fisher's exact test.

    Each sample is a count of those that have the property, and its size.
    """
    from scipy.stats import hypergeom

    (count_a, size_a), (count_b, size_b) = a, b
    return float(hypergeom.sf(count_b - 1, size_a + size_b, count_a + count_b, size_b))
