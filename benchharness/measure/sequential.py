"""Sequential test of a comparison while its trials arrive: decided, equal, or still open.

Repeated looks at the same data find more false winners than one look does. The levels here are
those of a group-sequential Student's t test: the nominal level of a look is proportional to its
number of trials, and is such that equal code passes for different at any look with the stated
probability at most.

Source:
    Jennison and Turnbull, "Group Sequential Methods with Applications to Clinical Trials" (2000),
    4.4 (significance levels applied to Student's t) and 9 (repeated confidence intervals).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from benchharness.measure.statistics import CONFIDENCE, Ratio, paired_ratio

# Fewer trials than this name no winner.
FEWEST = 3
MAX_TRIALS = 10
# No more apart than this share, two speeds are the same to a user.
MARGIN = 0.03
# Probability of a false claim, over all looks and all comparisons of a report.
LEVEL = 0.05
# Of the smallest difference that a report calls detectable.
POWER = 0.80
# Beyond it a ratio is no number that anyone reads, and further beyond none that a float holds.
LARGEST_LOG = 100.0
# Of the grid on which the error of looks is integrated.
_ANGLES = 64
# In place of an infinite value there, far beyond all others.
_FAR = 1e12

SpeedVerdict = Literal["faster", "slower", "equal", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterimLook:
    """Interim look at a comparison: its result after some trials, and what is still needed.

    Attributes:
        verdict: Of A against B; ``equal`` where they are no more than the margin apart.
        ratio: How many times as fast A is, the geometric mean of the paired ratios; ``low`` and
            ``high`` end its 95 % interval, and are 0 and infinite with fewer than two trials.
        more: So many more trials would probably decide it; None where it is decided, or where no
            number within ``max_trials`` would.
    """

    verdict: SpeedVerdict
    ratio: float
    low: float
    high: float
    trials: int
    more: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """When the comparisons of a family are decided.

    Attributes:
        difference: Two-sided level at which a difference counts, of the look after ``max_trials``;
            the level of an earlier look is in proportion to its trials.
        equality: Likewise, at which two speeds count as equal within the margin.
    """

    difference: float
    equality: float
    max_trials: int

    def verdict(self, ratio: Ratio) -> SpeedVerdict:
        """Return what a ratio shows; what is equal within the margin has no winner.

        Its interval must show it too: with several hosts that is more than the tests ask for.
        """
        share = min(ratio.trials / self.max_trials, 1.0)
        if ratio.trials < FEWEST:
            return "open"
        is_equal = ratio.p_value_outside(MARGIN) <= share * self.equality
        if is_equal and ratio.is_within(MARGIN):
            return "equal"
        if ratio.p_value > share * self.difference or ratio.low <= 1 <= ratio.high:
            return "open"
        return "faster" if ratio.log > 0 else "slower"

    def more(self, ratio: Ratio) -> int | None:
        """Return how many more trials like those of a ratio would decide it.

        None where it is decided, has one trial, or no number within ``max_trials`` would.
        """
        if self.verdict(ratio) != "open" or ratio.trials < 2:
            return None
        for trials in range(max(ratio.trials + 1, FEWEST), self.max_trials + 1):
            error = ratio.error * math.sqrt(ratio.trials / trials)
            freedom = ratio.freedom * (trials - 1) / (ratio.trials - 1)
            if self.verdict(replace(ratio, error=error, freedom=freedom, trials=trials)) != "open":
                return trials - ratio.trials
        return None

    def detectable(self, ratio: Ratio) -> float:
        """Return the ratio above 1 that trials so many and scattered show with ``POWER``.

        At a single look. The scatter that a new series of trials will have is as uncertain as
        that of these, which the figure allows for. Infinite below ``FEWEST`` trials.
        """
        if ratio.trials < FEWEST:
            return math.inf
        level = self.difference * min(ratio.trials / self.max_trials, 1.0)
        reach = ratio.error * _detectable_errors(round(ratio.freedom, 1), level)
        if ratio.host_error:
            errors = _detectable_errors(ratio.hosts - 1, 1 - ratio.confidence)
            reach = max(reach, ratio.host_error * errors)
        return math.exp(min(reach, LARGEST_LOG))


def looks(
    family: Sequence[Sequence[float]],
    *,
    hosts: Sequence[Sequence[str]] = (),
    comparisons: int,
    max_trials: int = MAX_TRIALS,
) -> list[InterimLook]:
    """Return the results so far of the comparisons of a family.

    Args:
        family: For each comparison the logarithms of the ratios A / B of paired trials, in
            order; at least one trial each.
        hosts: For each comparison the host of each pair; empty where each ran on one host.
        comparisons: Size of the whole family, including those that have no trial yet.
        max_trials: Looks are taken after ``FEWEST``, ... up to so many trials.
    """
    ratios = list(map(paired_ratio, family, hosts or [()] * len(family)))
    rule = rule_for(ratios, comparisons=comparisons, max_trials=max_trials)
    results = []
    for ratio in ratios:
        level = confidence(ratio.trials, max_trials=max_trials, comparisons=comparisons)
        shown, more = replace(ratio, confidence=level), rule.more(ratio)
        results.append(
            InterimLook(
                verdict=rule.verdict(shown),
                ratio=shown.times,
                low=shown.low,
                high=shown.high,
                trials=ratio.trials,
                more=more if more and ratio.trials + more <= max_trials else None,
            )
        )
    return results


def rule_for(
    ratios: Sequence[Ratio], *, comparisons: int, max_trials: int = MAX_TRIALS
) -> DecisionRule:
    """Return the rule that keeps false claims of a family below ``LEVEL``, by Holm's procedure.

    Twice: for the winners that a report names, and for the ratios that it calls equal. The levels
    are those of ``MAX_TRIALS`` looks at least, so that a run and its report agree whatever a run
    was allowed.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure" (1979). Two one-sided
        tests: Schuirmann, "A comparison of the two one-sided tests procedure and the power
        approach" (1987).
    """
    known = [ratio for ratio in ratios if ratio.trials >= FEWEST]
    most = max([MAX_TRIALS, max_trials, *(ratio.trials for ratio in known)])

    def limit(p_values: Iterable[float]) -> float:
        """Return the level that is left once Holm's procedure has stopped."""
        scaled = sorted(p * most / ratio.trials for p, ratio in zip(p_values, known, strict=True))
        for rejected, p_value in enumerate(scaled):
            level = nominal_level(LEVEL / (comparisons - rejected), most)
            if p_value > level:
                return level
        return nominal_level(LEVEL / max(comparisons - len(scaled), 1), most)

    return DecisionRule(
        difference=limit(ratio.p_value for ratio in known),
        equality=limit(ratio.p_value_outside(MARGIN) for ratio in known),
        max_trials=most,
    )


def confidence(trials: int, *, max_trials: int | None, comparisons: int = 2) -> float:
    """Return the nominal level at which Student's interval covers the truth 95 times of 100.

    Where looks decide when to stop, an interval of nominally 95 % covers less (91 to 95 of 100,
    by the true difference and the scatter): trials end when they happen to agree. The levels here
    bring it to 94 to 96, measured by ``tools/measure_claims.py``.

    Args:
        max_trials: Looks were taken up to so many; None where the number was fixed.
        comparisons: Size of the family: alone, a comparison stops more often.
    """
    if max_trials is None:
        return CONFIDENCE
    if trials <= FEWEST:
        return 0.955
    if trials < max_trials:
        return 0.97
    return 0.96 if comparisons > 1 else 0.975


@lru_cache(maxsize=4096)
def nominal_level(level: float, max_trials: int) -> float:
    """Return the two-sided level of the look after ``max_trials``, those before in proportion.

    ``level`` is the probability that equal code passes for different at any look.
    """
    return math.exp(float(_levels(max_trials)(math.log(level))))


@lru_cache(maxsize=64)
def _levels(max_trials: int) -> Any:
    """Return the function from the level over all looks to the nominal one, both in logarithms."""
    import numpy as np
    from scipy.interpolate import CubicSpline

    nominal = np.geomspace(1e-8, 0.1, 9)
    overall = [error_of_looks(level, max_trials) for level in nominal]
    return CubicSpline(np.log(overall), np.log(nominal))


def error_of_looks(nominal: float, max_trials: int) -> float:
    """Return the probability that independent normal noise around 0 is significant at any look.

    The angle between the vector of values and the line of equal values determines Student's t. Of
    three values its cosine is uniform on -1 to 1. The angles form a Markov chain, for the next
    value over the length of the vector has Student's distribution whatever the angle was. So one
    integral per look, from the last to the first, gives the probability without simulation.

    Args:
        nominal: Two-sided level of the look after ``max_trials``; that after n is n / max_trials
            of it.

    Source:
        Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data" (1969),
        for a known variance; the chain makes their recursion exact for Student's t.
    """
    import numpy as np
    from scipy.interpolate import CubicSpline
    from scipy.special import stdtr, stdtrit

    def limit(trials: int) -> float:
        """Return the angle below which a look is significant."""
        t = -stdtrit(trials - 1, nominal * trials / max_trials / 2)
        return math.atan2(math.sqrt(trials - 1), t)

    places, weights = np.polynomial.legendre.leggauss(_ANGLES // 4)
    # Dense where the next look is nearly significant.
    places, weights = ((places + 1) / 2) ** 2, (places + 1) / 2 * weights
    later: Any = np.zeros_like
    for trials in range(max_trials - 1, FEWEST - 1, -1):
        angles = np.geomspace(limit(trials), math.pi / 2, _ANGLES)
        soon, along = limit(trials + 1), math.sqrt(trials) * np.cos(angles)
        # The next value, over the length, makes a significant look between two roots.
        edge = (trials + 1) * math.cos(soon) ** 2
        root = np.sqrt(edge * np.maximum(along**2 - edge + 1, 0))
        roots = (along + root * np.array([[-1], [1]])) / (edge - 1)
        below, above = stdtr(trials, roots * math.sqrt(trials))
        error = above - below
        for start, width in ((below, -below), (above, 1 - above)):
            shares = start[:, None] + width[:, None] * places
            # Of no probability, and infinite, where a share is rounded to 0 or 1.
            value = np.nan_to_num(stdtrit(trials, shares), posinf=_FAR, neginf=-_FAR)
            value /= math.sqrt(trials)
            cosine = np.abs(along[:, None] + value) / np.sqrt((trials + 1) * (1 + value**2))
            angle = np.maximum(np.arccos(np.minimum(cosine, 1)), soon)
            error = error + np.abs(width) * (later(np.log(angle)) @ weights)
        later = CubicSpline(np.log(angles), error)
    first = limit(FEWEST)
    places, weights = np.polynomial.legendre.leggauss(_ANGLES)
    reach = math.log(math.pi / 2 / first) / 2
    logs = math.log(first) + reach * (places + 1)
    open_at_first = np.sin(np.exp(logs)) * np.exp(logs) * reach
    return float(1 - math.cos(first) + (later(logs) * open_at_first) @ weights)


@lru_cache(maxsize=1024)
def _detectable_errors(freedom: float, level: float) -> float:
    """Return the true difference, in standard errors as estimated, that is shown with ``POWER``.

    Source:
        Power of the t test by the noncentral t: Cohen, "Statistical Power Analysis" (1988), 2;
        its mean over the distribution that an estimated standard error has.
    """
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import chdtri, nctdtr, stdtrit

    places, weights = np.polynomial.legendre.leggauss(48)
    estimates = np.sqrt(chdtri(freedom, (1 - places) / 2) / freedom)
    critical = float(-stdtrit(freedom, level / 2))

    def lack(errors: float) -> float:
        power = 1 - nctdtr(freedom, errors * estimates, critical)
        return float(power @ weights / 2 - POWER)

    high = critical + 1
    while lack(high) < 0:
        high *= 2
    return float(brentq(lack, 0, high, rtol=1e-4))
