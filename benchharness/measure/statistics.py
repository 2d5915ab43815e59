"""Ratios of speed and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

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
