"""Interval of the mean of a single cell, by the method that ratios have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchharness.measure.statistics import paired_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def interval_of(values: Sequence[float]) -> Interval | None:
    """Return the interval of the geometric mean of positive numbers; None with fewer than two."""
    if len(values) < 2:
        return None
    mean = paired_ratio([math.log(value) for value in values])
    return Interval(low=mean.low, high=mean.high)
