"""How sure a comparison is: ratios of speed, differences of accuracy, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev
from typing import Literal

CONFIDENCE = 0.95
POWER = 0.80
# Nearer than this, two accuracies serve a user equally well.
EQUIVALENCE_MARGIN = 0.02
RESAMPLES = 9999
SEED = 0
# Fewer differences than this have no spread worth the name.
FEWEST_PAIRS = 3

Interval = tuple[float, float]
Verdict = Literal["equivalent", "different", "undecided"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """How far apart two accuracies are.

    Attributes:
        difference: Mean of ours minus mean of theirs.
        low: Lower end of its 95 % interval.
        high: Its upper end.
        margin: Largest difference that does not matter.
        verdict: ``equivalent`` when the 90 % interval lies within the margin (two one-sided tests
            at 5 %), else ``different`` when the 95 % interval excludes 0, else ``undecided``.
    """

    difference: float
    low: float
    high: float
    margin: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRatio:
    """How many times as fast ours is as theirs, as the logarithm in which chance is symmetric.

    Attributes:
        log: Mean logarithm of ours / theirs.
        error: Standard error of it; infinite where too few trials tell.
        freedom: Degrees of freedom of the error.
        trials: Trials behind it: pairs, or those of the side that has fewer.
    """

    log: float
    error: float
    freedom: float
    trials: int

    @property
    def times(self) -> float:
        """The ratio: the geometric mean over trials."""
        return math.exp(self.log)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; 0 where too few trials tell."""
        return math.exp(self.log - self._reach())

    @property
    def high(self) -> float:
        """Its upper end; infinite where too few trials tell."""
        reach = self._reach()
        return math.inf if math.isinf(reach) else math.exp(self.log + reach)

    @property
    def inverse(self) -> LogRatio:
        """The ratio seen from the other side."""
        return replace(self, log=-self.log)

    def p_value(self) -> float:
        """Return how probable a mean at least so far from 0 is where the truth is 0."""
        return 2 * self._tail(abs(self.log))

    def p_value_beyond(self, reach: float) -> float:
        """Return how probable a mean so near to 0 is where the truth is ``reach`` from it."""
        return self._tail(reach - abs(self.log))

    def after(self, trials: int) -> LogRatio:
        """Return the ratio that so many trials would give if they went on like these."""
        return LogRatio(
            log=self.log,
            error=self.error * math.sqrt(self.trials / trials),
            freedom=trials - 1,
            trials=trials,
        )

    def _tail(self, distance: float) -> float:
        from scipy.special import stdtr

        if not self.error:
            return float(distance <= 0)
        if math.isinf(self.error):
            return 0.5
        return float(stdtr(self.freedom, -distance / self.error))

    def _reach(self) -> float:
        from scipy.special import stdtrit

        if math.isinf(self.error):
            return math.inf
        return self.error * float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2))


def paired(logs: Sequence[float]) -> LogRatio:
    """Return the ratio of paired trials by Student's t.

    Args:
        logs: Logarithm of ours / theirs, one per pair.

    Raises:
        ValueError: There is no pair.

    Source:
        Student, "The probable error of a mean" (1908).
    """
    if not logs:
        raise ValueError("expected at least one pair, found none")
    error = stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return LogRatio(log=fmean(logs), error=error, freedom=len(logs) - 1, trials=len(logs))


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


def accuracy_difference(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    count: int,
    margin: float = EQUIVALENCE_MARGIN,
) -> Equivalence:
    """Return how far two accuracies are apart, and whether that matters.

    Two kinds of chance act. Seeds and dropout make each training end elsewhere: the differences
    between paired trials show it, by Student's t. The test images are a sample too, and the same
    one in all trials, so no number of trials makes up for few images: the interval is never
    narrower than that of two proportions over ``count`` images. Both sides see the same images,
    which makes the truth somewhat narrower; how much, only answers image by image could tell, so
    the wider one stands. With fewer than three pairs the trials have no spread to speak of, and
    the interval is that of the images alone: it then tells of the models at hand, not of what
    another seed would give.

    Args:
        ours: Top-1 accuracies, 0-1, one per trial.
        theirs: Of the paired trials, in the same order.
        count: Images that each trial was scored on.
        margin: Largest difference that does not matter, 0-1.

    Raises:
        ValueError: There is no pair, or the sides differ in length.

    Source:
        Two proportions: Agresti and Caffo (2000), the Wald interval after adding a success and a
        failure to each side. Equivalence: Schuirmann (1987), two one-sided tests.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]

    def interval(confidence: float) -> Interval:
        images = _agresti_caffo(fmean(ours), fmean(theirs), count, confidence)
        if len(differences) < FEWEST_PAIRS:
            return images
        return _hull(images, _student(differences, confidence))

    low, high = interval(CONFIDENCE)
    inner_low, inner_high = interval(2 * CONFIDENCE - 1)
    verdict: Verdict = "undecided" if low <= 0 <= high else "different"
    if -margin <= inner_low and inner_high <= margin:
        verdict = "equivalent"
    return Equivalence(
        difference=fmean(differences), low=low, high=high, margin=margin, verdict=verdict
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


def _agresti_caffo(ours: float, theirs: float, count: int, confidence: float) -> Interval:
    from scipy.stats import norm

    shares = [(share * count + 1) / (count + 2) for share in (ours, theirs)]
    error = math.sqrt(sum(share * (1 - share) for share in shares) / (count + 2))
    reach = float(norm.ppf((1 + confidence) / 2)) * error
    return shares[0] - shares[1] - reach, shares[0] - shares[1] + reach
