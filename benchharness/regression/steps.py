"""Where a series of measurements moves to another level and stays there.

The levels are medians: one run that stands out moves none of them, and two do not either. A step
is believed when it is larger than the noise between neighbouring runs and around the levels lets
expect of so few runs, and large enough to matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

# Runs that have to agree on a level.
FEWEST = 3
# Of less nobody can say that it was not the machine; a share, as all sizes here are logarithms.
SMALLEST = 0.03
# Chosen by simulation: of 250 series of noise of 3 %, normal, heavy-tailed or with outliers, two at
# most have a step; one of 15 % is found after five runs in nine of ten.
_PENALTY, _CERTAIN = 2.0, 5.0
_LEAST_NOISE = 0.002
# From the median of absolute deviations to the standard deviation of a normal law.
_NORMAL = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A stretch of runs about one value.

    Attributes:
        first: Index of its first run.
        last: Of its last.
        value: Median of the stretch.
    """

    first: int
    last: int
    value: float

    @property
    def runs(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


def levels_of(values: Sequence[float], *, smallest: float = SMALLEST) -> list[Level]:
    """Return the levels of a series, at least one; between two of them lies a step.

    Args:
        values: In order of time, at least one; logarithms, or shares of 0-1.
        smallest: Steps below it do not matter.
    """
    ends = _breaks(values) if len(values) >= 2 * FEWEST else [len(values)]
    while True:
        levels = _levels(values, ends)
        weights = [_weight(values, one, other, smallest) for one, other in pairwise(levels)]
        if not weights or min(weights) >= 1:
            return levels
        # One at a time, the faintest first: without it, its neighbours may be beyond doubt.
        ends.pop(weights.index(min(weights)))


def _breaks(values: Sequence[float]) -> list[int]:
    """Return where levels end, more of them than can be believed.

    Source:
        PELT with the cost of absolute deviations: Killick, Fearnhead and Eckley, "Optimal
        Detection of Changepoints With a Linear Computational Cost" (2012).
    """
    import numpy as np
    import ruptures

    penalty = _PENALTY * _noise(values) * math.log(len(values))
    search = ruptures.Pelt(model="l1", min_size=FEWEST, jump=1)
    return [int(end) for end in search.fit(np.asarray(values)[:, None]).predict(pen=penalty)]


def _levels(values: Sequence[float], ends: Sequence[int]) -> list[Level]:
    return [
        Level(first=first, last=end - 1, value=median(values[first:end]))
        for first, end in pairwise([0, *ends])
    ]


def _weight(values: Sequence[float], one: Level, other: Level, smallest: float) -> float:
    """Return how far a step is beyond doubt: 1 where it just is."""
    size = abs(other.value - one.value)
    around: list[float] = []
    for level in (one, other):
        moves = [abs(value - level.value) for value in values[level.first : level.last + 1]]
        if sum(2 * move < size for move in moves) < FEWEST:
            # Two runs that stand out, and one that belongs to the other level.
            return 0.0
        around += moves
    noise = max(_noise(values), _NORMAL * median(around))
    doubt = _CERTAIN * noise * math.sqrt(1 / one.runs + 1 / other.runs)
    return size / max(smallest, doubt)


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation between neighbouring runs, which few steps cannot inflate."""
    moves = [abs(later - earlier) for earlier, later in pairwise(values)]
    return max(_LEAST_NOISE, _NORMAL * median(moves) / math.sqrt(2))
