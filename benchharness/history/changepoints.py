"""Change points: where a series of measurements moves to another level and stays there.

The levels are medians: one run that stands out moves none of them, and two do not either. A step
is believed when it is larger than the noise between neighbouring runs and around the levels lets
expect of so few runs, and large enough to matter. Neighbouring runs are often alike, which makes
them worth fewer independent ones. A machine that changes between two speeds time and again makes
no step when it does so once more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

# Runs that have to agree on a level.
FEWEST = 3
# A smaller step may always be due to the machine; a share, as all sizes here are logarithms.
SMALLEST = 0.03
# Chosen by simulation, with the figures in docs/statistics_gates.md (tools/measure_gates.py).
_PENALTY, _CERTAIN = 2.0, 4.5
# Of neighbouring runs at most: beyond it a series wanders, and has no levels.
_MOST_CORRELATED = 0.9
# A change between two levels is nothing new if there were so many already between stretches of
# two runs at least, or between runs close to either level, and one in so many runs on average.
_CHANGES_OF_STRETCHES, _CHANGES_OF_RUNS, _RUNS_OF_A_CHANGE = 3, 4, 15
_LEAST_NOISE = 0.002
# From the median of absolute deviations to the standard deviation of a normal law.
_NORMAL = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Stretch of runs about one value, their median; ``first`` and ``last`` are indices."""

    first: int
    last: int
    value: float

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSpeeds:
    """Two levels, and how often a series changed between them."""

    low: float
    high: float
    changes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Levels of a series, at least one; between two of them is a step.

    Attributes:
        two_speeds: The farthest pair of levels between which the series keeps changing; None if it
            does not.
    """

    levels: list[Level]
    two_speeds: TwoSpeeds | None = None


def find_segments(values: Sequence[float], *, smallest: float = SMALLEST) -> Segments:
    """Return the levels of a series, and the two speeds of a machine that has such.

    Args:
        values: In order of time, at least one; logarithms, or shares of 0-1.
        smallest: Steps below it do not matter.
    """
    ends = _breaks(values) if len(values) >= 2 * FEWEST else [len(values)]
    two_speeds: list[TwoSpeeds] = []
    while True:
        levels = [
            Level(first=first, last=end - 1, value=median(values[first:end]))
            for first, end in pairwise([0, *ends])
        ]
        growth = _correlation_factor(values, levels)
        weights = []
        for before, after in pairwise(levels):
            weight = _significance(values, before, after, smallest, growth)
            speeds = _two_speeds(values, before, after)
            if speeds is not None and weight >= 1:
                two_speeds.append(speeds)
                weight = 0.0
            weights.append(weight)
        if not weights or min(weights) >= 1:
            farthest = max(two_speeds, key=lambda speeds: speeds.high - speeds.low, default=None)
            return Segments(levels=levels, two_speeds=farthest)
        # One at a time, the faintest first: without it, its neighbours may be beyond doubt.
        ends.pop(weights.index(min(weights)))


def _breaks(values: Sequence[float]) -> list[int]:
    """Return where levels end, more of them than can be believed.

    Source:
        PELT with the cost of absolute deviations: Killick, Fearnhead and Eckley, "Optimal
        Detection of Changepoints With a Linear Computational Cost" (2012).
    """
    penalty = _PENALTY * _noise(values) * math.log(len(values))
    # By the end of a series' first part: the least cost of its levels, and where those end.
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    starts: list[int] = []
    for end in range(FEWEST, len(values) + 1):
        starts.append(end - FEWEST)
        costs = {}
        for start in starts:
            if start in best:
                middle = median(values[start:end])
                deviation = sum(abs(value - middle) for value in values[start:end])
                costs[start] = best[start][0] + deviation + penalty
        cheapest = min(costs, key=costs.__getitem__)
        best[end] = costs[cheapest], [*best[cheapest][1], end]
        # A start that is worse than a further level would make it never wins again.
        starts = [start for start, cost in costs.items() if cost <= best[end][0] + penalty]
    return best[len(values)][1]


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation between neighbouring runs, which few steps cannot inflate."""
    moves = [abs(later - earlier) for earlier, later in pairwise(values)]
    return max(_LEAST_NOISE, _NORMAL * median(moves) / math.sqrt(2))


def _significance(
    values: Sequence[float], before: Level, after: Level, smallest: float, growth: float
) -> float:
    """Return how far a step is beyond doubt: 1 where it just is.

    By ``growth`` correlation makes the levels less sure.
    """
    size = abs(after.value - before.value)
    around: list[float] = []
    for level in (before, after):
        moves = [abs(value - level.value) for value in values[level.first : level.last + 1]]
        if sum(2 * move < size for move in moves) < FEWEST:
            # Two runs that stand out, and one that belongs to the other level.
            return 0.0
        around += moves
    noise = max(_noise(values), _NORMAL * median(around))
    doubt = _CERTAIN * noise * growth * math.sqrt(1 / before.runs + 1 / after.runs)
    return size / max(smallest, doubt)


def _correlation_factor(values: Sequence[float], levels: Sequence[Level]) -> float:
    """Return by which factor the correlation of neighbouring runs makes a level less sure.

    The correlation is that of the distances from the levels, outliers clipped. Taken around levels
    that follow the values it is too small by one for each level, which is put back.

    Source:
        Variance of a mean under a first-order autoregression, and the bias of its estimate:
        Marriott and Pope, "Bias in the estimation of autocorrelations" (1954).
    """
    import numpy as np

    parts = [np.asarray(values[level.first : level.last + 1]) - level.value for level in levels]
    most = 3 * max(_LEAST_NOISE, _NORMAL * median(np.abs(np.concatenate(parts))))
    clipped = [part.clip(-most, most) for part in parts]
    centred = [part - part.mean() for part in clipped]
    total = sum(float(part @ part) for part in centred)
    if not total:
        return 1.0
    seen = sum(float(part[1:] @ part[:-1]) for part in centred) / total
    share = len(levels) / len(values)
    corrected = (seen + share) / max(0.25, 1 - 3 * share)
    correlation = min(_MOST_CORRELATED, max(0.0, corrected))
    return math.sqrt((1 + correlation) / (1 - correlation))


def _two_speeds(values: Sequence[float], level: Level, other: Level) -> TwoSpeeds | None:
    """Return two levels as those of a machine with two speeds; None if it has one."""
    low, high = sorted((level.value, other.value))
    near, middle = (high - low) / 8, (low + high) / 2
    stretches = [
        side for side, runs in groupby(value > middle for value in values) if len(list(runs)) > 1
    ]
    # Outliers rarely come close to a level.
    close = [value > middle for value in values if min(abs(value - low), abs(value - high)) < near]
    of_stretches, of_runs = (
        sum(a != b for a, b in pairwise(sides)) for sides in (stretches, close)
    )
    changes = max(of_stretches, of_runs)
    are_many = of_stretches >= _CHANGES_OF_STRETCHES or of_runs >= _CHANGES_OF_RUNS
    if not are_many or len(values) >= _RUNS_OF_A_CHANGE * (changes + 1):
        return None
    return TwoSpeeds(low=low, high=high, changes=changes)
