"""History of cells: runs that can be joined to a series, and the steps of each series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from benchharness.history.changepoints import FEWEST, SMALLEST, Level, TwoSpeeds, find_segments
from benchharness.model.quantities import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Result of one run of a cell, over so many samples: trials or rounds.

    Attributes:
        when: With a time zone.
        value: The median of its samples.
        low: Least of the trials, or lower quartile of the rounds.
        high: Most of the trials, or upper quartile.
        commit: Full hash; empty if unknown.
        is_dirty: Whether tracked files differed from it.
        versions: Of frameworks, packages, Python, driver.
    """

    run: str
    when: datetime
    value: float
    low: float
    high: float
    samples: int
    commit: str = ""
    is_dirty: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def spread(self) -> float | None:
        """From low to high, over the value; None with one sample or a value of 0."""
        if self.samples < 2 or not self.value:
            return None
        return (self.high - self.low) / self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions that have to be equal for two points to be joined.

    What is unknown is empty; data and weights are digests. Options of the backend are among the
    settings.
    """

    machine: str
    device: str = ""
    data: str = ""
    weights: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def mismatch(self, other: Conditions) -> str:
        """Return why points of two conditions cannot be joined; empty if they can.

        A setting that only one of them has came with a later version, whose default is the
        behaviour of the earlier one.
        """
        if self.machine != other.machine:
            return f"different machine ({other.machine})"
        if self.device != other.device:
            return f"different device ({other.device})"
        for name in ("data", "weights"):
            if getattr(self, name) != getattr(other, name):
                return f"different {name}"
        common = self.settings.keys() & other.settings.keys()
        differing = sorted(key for key in common if self.settings[key] != other.settings[key])
        return f"different settings ({', '.join(differing)})" if differing else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Point of a cell, with the conditions under which it was measured."""

    cell: str
    quantity: Quantity
    terms: Conditions
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Step from the last point of a level to the first of the next; levels as they were measured.

    The differences are other changes between the two runs, each in words.
    """

    before: Point
    after: Point
    was: float
    became: float
    is_worse: bool
    differences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON knows it."""
        runs = {"before": self.before.run, "after": self.after.run}
        return asdict(self) | runs | {"when": self.after.when.isoformat()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of a cell that can be joined, in order of time, and their levels; one at least.

    Attributes:
        two_speeds: Between which the series keeps changing, as it was measured; None if it
            does not.
    """

    cell: str
    quantity: Quantity
    terms: Conditions
    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    two_speeds: TwoSpeeds | None = None

    @classmethod
    def of(cls, readings: Sequence[Observation], *, smallest: float) -> Series:
        """Return observations as a series, its steps no smaller than a share or difference."""
        newest, points = readings[-1], tuple(reading.point for reading in readings)
        is_accuracy = newest.quantity.kind == "accuracy"
        values = [point.value if is_accuracy else math.log(point.value) for point in points]
        segments = find_segments(values, smallest=smallest if is_accuracy else math.log1p(smallest))
        speeds = segments.two_speeds
        if speeds is not None and not is_accuracy:
            speeds = replace(speeds, low=math.exp(speeds.low), high=math.exp(speeds.high))
        return cls(
            cell=newest.cell,
            quantity=newest.quantity,
            terms=newest.terms,
            points=points,
            levels=tuple(segments.levels),
            two_speeds=speeds,
        )

    @property
    def steps(self) -> list[Step]:
        """Steps between levels, in order of time."""
        steps = []
        for old, new in pairwise(self.levels):
            before, after = self.points[old.last], self.points[new.first]
            was, became = self.value_of(old), self.value_of(new)
            steps.append(
                Step(
                    before=before,
                    after=after,
                    was=was,
                    became=became,
                    is_worse=(became < was) == self.quantity.is_rate,
                    differences=tuple(differences(before, after)),
                )
            )
        return steps

    @property
    def is_short(self) -> bool:
        """Whether there are too few runs to detect a step."""
        return len(self.points) < 2 * FEWEST

    def value_of(self, level: Level) -> float:
        """Return a level as its points are measured."""
        return median(point.value for point in self.points[level.first : level.last + 1])

    def as_dict(self) -> dict[str, Any]:
        """Return the series as JSON knows it, unrounded."""
        return {
            "cell": self.cell,
            "column": self.quantity.name,
            "machine": self.terms.machine,
            "device": self.terms.device,
            "points": [asdict(point) | {"when": point.when.isoformat()} for point in self.points],
            "steps": [step.as_dict() for step in self.steps],
            "two_speeds": asdict(self.two_speeds) if self.two_speeds else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Series of a suite.

    Attributes:
        excluded: Number of runs by the reason for which they were left out.
        damages: Files that could not be read, a line each.
    """

    source: str
    series: tuple[Series, ...]
    excluded: Mapping[str, int]
    damages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it, unrounded."""
        excluded = [{"reason": reason, "runs": runs} for reason, runs in self.excluded.items()]
        return {
            "source": self.source,
            "series": [series.as_dict() for series in self.series],
            "set_aside": excluded,
            "damages": list(self.damages),
        }


def history_of(
    readings: Iterable[Observation],
    *,
    source: str,
    every_machine: bool = False,
    smallest: float = SMALLEST,
    damages: Sequence[str] = (),
) -> History:
    """Return observations joined to series, where their conditions are equal.

    The newest observation of a cell sets the conditions; others are excluded and counted.

    Args:
        every_machine: Whether each machine has a separate series.
        smallest: Steps below it do not matter; a share, of accuracies a difference.
    """
    groups: dict[tuple[str, ...], list[Observation]] = {}
    for reading in readings:
        machine = (reading.terms.machine, reading.terms.device) if every_machine else ()
        groups.setdefault((reading.cell, reading.quantity.name, *machine), []).append(reading)
    series: list[Series] = []
    excluded: dict[str, set[str]] = {}
    for group in groups.values():
        group.sort(key=lambda reading: reading.point.when)
        joined = []
        for reading in group:
            if reason := group[-1].terms.mismatch(reading.terms):
                excluded.setdefault(reason, set()).add(reading.point.run)
            else:
                joined.append(reading)
        series.append(Series.of(joined, smallest=smallest))
    return History(
        source=source,
        series=tuple(series),
        excluded={reason: len(runs) for reason, runs in excluded.items()},
        damages=tuple(damages),
    )


def differences(before: Point, after: Point) -> Iterator[str]:
    """Yield the commits and versions that differ between two runs."""
    if before.commit and after.commit and before.commit != after.commit:
        yield f"commit {before.commit[:9]} -> {after.commit[:9]}"
    elif before.commit and after.is_dirty:
        yield f"uncommitted changes on {after.commit[:9]}"
    for name in sorted(before.versions.keys() | after.versions.keys()):
        was, became = (point.versions.get(name, "none") for point in (before, after))
        if was != became:
            yield f"{name} {was} -> {became}"
