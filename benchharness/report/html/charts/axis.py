"""Where an axis ends, and what is said of that which lies beyond."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# With two trials an interval may reach a million times as far as the bar; it is cut then.
FARTHEST = 1.6
# Beside the outermost marks.
ROOM = 1.15
# Beyond this factor between the least and the most, a linear axis would crowd all but a few.
LINEAR_UP_TO = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An axis of positive values: linear from 0, or logarithmic where they lie far apart."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> Span:
        """Return the axis that shows all values; at least one."""
        least, most = min(values), max(values)
        if 0 < LINEAR_UP_TO * least < most:
            return cls(low=least / ROOM, high=most * ROOM, is_log=True)
        return cls(low=0.0, high=most * ROOM or 1.0, is_log=False)

    def position(self, value: float) -> float:
        """Return where a value lies, from 0 at the lower end to 1 at the upper."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def upper_end(shown: Iterable[float], reaching: Iterable[float | None]) -> float:
    """Return the end of an axis from 0: all values, and intervals as far as they help.

    Args:
        shown: Values that must be seen.
        reaching: Upper ends of intervals, None where there is none.
    """
    largest = max(shown)
    farthest = max((end for end in reaching if end is not None), default=largest)
    return min(max(largest, farthest), FARTHEST * largest)


def spread_out(values: Sequence[float], *, gap: float) -> list[float]:
    """Return values in their places, moved so that ``gap`` is left between any two."""
    order = sorted(range(len(values)), key=values.__getitem__)
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], values, gap):
            last = groups.pop()
            groups[-1] += last
    moved = list(values)
    for group in groups:
        start = _start(group, values, gap)
        for position, index in enumerate(group):
            moved[index] = start + position * gap
    return moved


def _overlap(below: list[int], above: list[int], values: Sequence[float], gap: float) -> bool:
    return _start(below, values, gap) + len(below) * gap > _start(above, values, gap)


def _start(group: list[int], values: Sequence[float], gap: float) -> float:
    """Return where the lowest of a group goes when the group is centred on its values."""
    centre = sum(values[index] for index in group) / len(group)
    return centre - gap * (len(group) - 1) / 2
