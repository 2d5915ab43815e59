"""How sure the median of a single cell is, by the method that ratios have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchharness.measure.statistics import paired_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def interval_of(values: Sequence[float]) -> Interval | None:
    """Return the interval of the median of positive numbers; None with fewer than two."""
    if len(values) < 2:
        return None
    ratio = paired_ratio(values, [1.0] * len(values))
    return (
        None
        if ratio.low is None or ratio.high is None
        else Interval(low=ratio.low, high=ratio.high)
    )
