"""How sure a comparison is: ratios of speed, differences of accuracy, and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

CONFIDENCE = 0.95
# Nearer than this, two accuracies serve a user equally well.
EQUIVALENCE_MARGIN = 0.02
# Fewer differences than this have no spread worth the name.
FEWEST_PAIRS = 3

Interval = tuple[float, float]
Verdict = Literal["equivalent", "different", "undecided"]


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
class Ratio:
    """How many times as fast ours is as theirs, kept as a logarithm: there chance is symmetric.

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
        """How probable a ratio at least so far from 1 is where the truth is 1."""
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


def _hull(one: Interval, other: Interval) -> Interval:
    return min(one[0], other[0]), max(one[1], other[1])


def _student(values: Sequence[float], confidence: float) -> Interval:
    from scipy.stats import t

    error = stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return fmean(values) - reach, fmean(values) + reach


def _agresti_caffo(ours: float, theirs: float, count: int, confidence: float) -> Interval:
    from scipy.stats import norm

    shares = [(share * count + 1) / (count + 2) for share in (ours, theirs)]
    error = math.sqrt(sum(share * (1 - share) for share in shares) / (count + 2))
    reach = float(norm.ppf((1 + confidence) / 2)) * error
    return shares[0] - shares[1] - reach, shares[0] - shares[1] + reach
