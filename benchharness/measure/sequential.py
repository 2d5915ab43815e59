"""Looks at a comparison while its trials arrive: decided, equal within a margin, or still open.

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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from benchharness.measure.statistics import LogRatio, paired

# Fewer trials than this name no winner.
FEWEST = 3
MAX_TRIALS = 10
# No more apart than this share, two speeds are the same to a user.
MARGIN = 0.03
# Probability of a false claim, over all looks and all comparisons of a report.
LEVEL = 0.05

Verdict = Literal["faster", "slower", "equal", "open"]
Curve = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a comparison says after some trials.

    Attributes:
        verdict: ``faster`` or ``slower``, of ours against theirs; ``equal`` where they are no more
            than the margin apart; else ``open``.
        ratio: How many times as fast ours is, the geometric mean of the paired ratios.
        low: Lower end of its 95 % interval; 0 with fewer than two trials.
        high: Upper end; infinite with fewer than two trials.
        trials: How many there are.
        more: So many more trials would probably decide it; None where it is decided, or where no
            number within ``max_trials`` would.
    """

    verdict: Verdict
    ratio: float
    low: float
    high: float
    trials: int
    more: int | None


def look(
    logs: Sequence[float],
    *,
    comparisons: int,
    max_trials: int = MAX_TRIALS,
    margin: float = MARGIN,
) -> Look:
    """Return what a comparison says so far, whatever the others of its family say.

    Args:
        logs: Logarithms of the ratios ours / theirs of paired trials, in order.
        comparisons: Size of the family of claims that this one is part of.
        max_trials: Looks are taken after ``FEWEST``, ... up to so many trials.
        margin: Share by which two equal speeds may differ.

    Raises:
        ValueError: There is no trial.
    """
    return looks([logs], comparisons=comparisons, max_trials=max_trials, margin=margin)[0]


def looks(
    family: Sequence[Sequence[float]],
    *,
    comparisons: int,
    max_trials: int = MAX_TRIALS,
    margin: float = MARGIN,
) -> list[Look]:
    """Return what the comparisons of a family say so far, by Holm's procedure.

    Args:
        family: For each comparison what ``look`` takes; at least one trial each.
        comparisons: Size of the whole family, those counted too that have no trial yet.
        max_trials: As in ``look``.
        margin: As in ``look``.

    Raises:
        ValueError: A comparison has no trial.
    """
    ratios = [paired(logs) for logs in family]

    def judge(ratios: Sequence[LogRatio]) -> list[Verdict]:
        return verdicts(ratios, comparisons=comparisons, max_trials=max_trials, margin=margin)

    found = []
    for index, (ratio, verdict) in enumerate(zip(ratios, judge(ratios), strict=True)):
        later = (
            trials
            for trials in range(max(ratio.trials + 1, FEWEST), max_trials + 1)
            if ratio.trials > 1
            and judge([*ratios[:index], ratio.after(trials), *ratios[index + 1 :]])[index] != "open"
        )
        needed = next(later, None) if verdict == "open" else None
        found.append(
            Look(
                verdict=verdict,
                ratio=ratio.times,
                low=ratio.low,
                high=ratio.high,
                trials=ratio.trials,
                more=None if needed is None else needed - ratio.trials,
            )
        )
    return found


def verdicts(
    ratios: Sequence[LogRatio],
    *,
    comparisons: int,
    max_trials: int = MAX_TRIALS,
    margin: float = MARGIN,
) -> list[Verdict]:
    """Return the verdict of each ratio of a family.

    Two families are kept below ``LEVEL`` each, by Holm's procedure: the winners that a report
    names, and the comparisons that it calls equal. What is equal within the margin is called so
    even where chance alone is excluded.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure" (1979). Two one-sided
        tests: Schuirmann (1987).
    """
    most = max([MAX_TRIALS, max_trials, *(ratio.trials for ratio in ratios)])
    reach = math.log1p(margin)

    def decided(p_values: Sequence[float]) -> list[bool]:
        # Levels are proportional to the number of trials, so p-values are put on one scale.
        scaled = [
            p * most / ratio.trials if ratio.trials >= FEWEST else math.inf
            for p, ratio in zip(p_values, ratios, strict=True)
        ]
        return _holm(scaled, comparisons=comparisons, max_trials=most)

    is_other = decided([ratio.p_value() for ratio in ratios])
    is_equal = decided([ratio.p_value_beyond(reach) for ratio in ratios])
    return [
        "equal" if equal else "open" if not other else "faster" if ratio.log > 0 else "slower"
        for ratio, other, equal in zip(ratios, is_other, is_equal, strict=True)
    ]


@lru_cache(maxsize=4096)
def nominal_level(level: float, max_trials: int) -> float:
    """Return the two-sided level of the look after ``max_trials``, those before in proportion.

    Args:
        level: Probability that equal code passes for different at any look.
        max_trials: At least ``FEWEST``.
    """
    import numpy as np

    nominal, overall = _curve(max_trials)
    return float(np.exp(np.interp(math.log(level), overall, nominal)))


def error_of_looks(nominal: float, max_trials: int, *, nodes: int = 128) -> float:
    """Return the probability that independent normal noise around 0 is significant at any look.

    The mean over the root mean square of n values, r, tells Student's t. It is uniform on -1 to 1
    with three values, and forms a Markov chain, for the next value over the root sum of squares
    has Student's distribution whatever r was. So one integral per look, from the last to the
    first, gives the probability without simulation.

    Args:
        nominal: Two-sided level of the look after ``max_trials``; that after n is n / max_trials
            of it.
        max_trials: The last look; the first is after three.
        nodes: Of the grid over r.

    Source:
        Armitage, McPherson and Rowe, "Repeated significance tests on accumulating data" (1969),
        for a known variance; the chain makes their recursion exact for Student's t.
    """
    import numpy as np
    from scipy.interpolate import CubicSpline
    from scipy.special import stdtr, stdtrit

    places, weights = np.polynomial.legendre.leggauss(nodes // 4)
    places, weights = (places + 1) / 2, weights / 2

    def limit(trials: int) -> float:
        """Return the r from which a look is significant."""
        t = -stdtrit(trials - 1, nominal * trials / max_trials / 2)
        return float(t / np.sqrt(trials - 1 + t * t))

    later: Any = np.zeros_like
    for trials in range(max_trials - 1, FEWEST - 1, -1):
        now, soon = limit(trials), limit(trials + 1)
        r = now * (1 - np.cos(np.linspace(0, np.pi, nodes))) / 2
        # The next value over the root sum of squares is significant between two roots.
        edge = (trials + 1) * soon**2
        root = np.sqrt(edge * np.maximum(trials * r**2 - edge + 1, 0))
        ends = (np.sqrt(trials) * r + root * np.array([[-1], [1]])) / (edge - 1)
        below, above = stdtr(trials, ends * np.sqrt(trials))
        error = above - below
        for start, width in ((np.zeros(nodes), below), (above, 1 - above)):
            value = stdtrit(trials, start[:, None] + width[:, None] * places) / np.sqrt(trials)
            then = np.abs(np.sqrt(trials) * r[:, None] + value)
            then /= np.sqrt((trials + 1) * (1 + value**2))
            error = error + width * (later(np.minimum(then, soon)) @ weights)
        later = CubicSpline(r, error)
    first = limit(FEWEST)
    return float(1 - first + first * (later(first * places) @ weights))


def _holm(p_values: Sequence[float], *, comparisons: int, max_trials: int) -> list[bool]:
    """Return which hypotheses are rejected, the smallest p-value first, until one is not."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > nominal_level(LEVEL / (comparisons - rank), max_trials):
            break
        rejected[index] = True
    return rejected


@lru_cache(maxsize=64)
def _curve(max_trials: int) -> Curve:
    """Return logarithms of nominal levels and of the levels over all looks that they give."""
    import numpy as np

    nominal = np.geomspace(1e-7, 0.1, 13)
    overall = [error_of_looks(float(level), max_trials) for level in nominal]
    return tuple(np.log(nominal)), tuple(np.log(overall))
