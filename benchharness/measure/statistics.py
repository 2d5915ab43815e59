"""How sure a comparison is: ratios of speed and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

CONFIDENCE = 0.95
POWER = 0.80
RESAMPLES = 9999
SEED = 0

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times one side is the other.

    Attributes:
        median: Of the paired ratios, ours / theirs; the geometric mean of the middle two where
            their number is even, so that swapping the sides gives the reciprocal.
        low: Lower end of the 95 % interval; None with one pair.
        high: Its upper end.
        pairs: How many ratios there are.
        detectable: The smallest true ratio above 1 that so many pairs with this spread would show
            at 95 % confidence in 80 % of cases; None with one pair.
    """

    median: float
    low: float | None
    high: float | None
    pairs: int
    detectable: float | None

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes 1."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    @property
    def inverse(self) -> Ratio:
        """The ratio seen from the other side."""
        return Ratio(
            median=1 / self.median,
            low=None if self.high is None else 1 / self.high,
            high=None if self.low is None else 1 / self.low,
            pairs=self.pairs,
            detectable=self.detectable,
        )


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return how many times ours is theirs, pair by pair.

    The interval holds both the bootstrap's (percentiles of the median log ratio) and Student's
    (of the mean log ratio). With few pairs the bootstrap alone is far too narrow: it cannot reach
    beyond the pairs it saw, and three equal pairs exclude 1 whenever all fall on one side of it,
    a quarter of the time.

    Args:
        ours: Positive numbers, one per pair.
        theirs: Positive numbers, in the same order; measured next to ours.

    Raises:
        ValueError: There is no pair, or the sides differ in length.

    Source:
        Percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), 13.
    """
    return _ratio([math.log(one / other) for one, other in zip(ours, theirs, strict=True)])


def geometric_mean_ratio(benchmarks: Sequence[Mapping[int, float]]) -> Ratio | None:
    """Return the ratio over several benchmarks, each counting alike.

    For each trial index the geometric mean over the benchmarks is taken, and the interval is that
    of ``paired_ratio`` over those means: chance acts on trials; the benchmarks were chosen.

    Args:
        benchmarks: For each the paired ratios by trial index. Only trials that all have count.

    Returns:
        None where no trial is common to all.

    Source:
        Fleming and Wallace, "How not to lie with statistics" (1986): normalised numbers are
        averaged geometrically.
    """
    common = set.intersection(*(set(ratios) for ratios in benchmarks))
    if not common:
        return None
    return _ratio(
        [fmean(math.log(ratios[index]) for ratios in benchmarks) for index in sorted(common)]
    )


def bootstrap_interval(logs: Sequence[float]) -> Interval:
    """Return the percentile bootstrap's 95 % interval of the median, the same at each call."""
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (logs,),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _ratio(logs: Sequence[float]) -> Ratio:
    middle, pairs = math.exp(median(logs)), len(logs)
    if pairs < 2:
        return Ratio(median=middle, low=None, high=None, pairs=pairs, detectable=None)
    low, high = _hull(bootstrap_interval(logs), _student(logs, CONFIDENCE))
    return Ratio(
        median=middle,
        low=math.exp(low),
        high=math.exp(high),
        pairs=pairs,
        detectable=math.exp(_detectable(stdev(logs), pairs)),
    )


def _hull(one: Interval, other: Interval) -> Interval:
    return min(one[0], other[0]), max(one[1], other[1])


def _student(values: Sequence[float], confidence: float) -> Interval:
    from scipy.stats import t

    error = stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return fmean(values) - reach, fmean(values) + reach


def _detectable(spread: float, pairs: int) -> float:
    """Return the mean that Student's test of so many values tells from 0 with enough power.

    Source:
        Power of the t test by the noncentral t: Cohen, "Statistical Power Analysis" (1988), 2.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    limit = t.ppf((1 + CONFIDENCE) / 2, pairs - 1)
    shift = brentq(lambda shift: nct.sf(limit, pairs - 1, shift) - POWER, 0, 10 * limit)
    return float(shift) * spread / math.sqrt(pairs)
