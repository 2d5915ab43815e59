"""One cell over time: runs that can be joined to a line, and where that line has a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from benchharness.history.changepoints import FEWEST, SMALLEST, Level, TwoSpeeds, split
from benchharness.model.quantities import Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one run says of a cell.

    Attributes:
        run: Its name.
        when: With a time zone.
        value: The median of its trials or rounds.
        low: Their least, or the lower quartile of rounds; equal to the value where there is one.
        high: Their most, or the upper quartile.
        samples: How many trials or rounds there were.
        commit: Full hash; empty where unknown.
        is_dirty: Whether tracked files differed from it.
        versions: Of whatever could make a difference: frameworks, packages, Python, driver.
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
    """What has to be equal for two points to be joined.

    Attributes:
        machine: What decides how fast it is, on one line.
        device: Where the work was done; empty where unknown.
        data: Digest; empty where unknown.
        weights: Digest; empty where there are none.
        settings: Of the work, options of the backend among them.
    """

    machine: str
    device: str = ""
    data: str = ""
    weights: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def mismatch(self, other: Conditions) -> str:
        """Return why points on these terms cannot be joined to points on others; empty if not.

        A setting that only one of them knows has come with a later version, whose default is what
        the earlier one did.
        """
        if self.machine != other.machine:
            return f"another machine ({other.machine})"
        if self.device != other.device:
            return f"another device ({other.device})"
        if self.data != other.data:
            return "other data"
        if self.weights != other.weights:
            return "other weights"
        common = self.settings.keys() & other.settings.keys()
        differing = sorted(key for key in common if self.settings[key] != other.settings[key])
        return f"other settings ({', '.join(differing)})" if differing else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One point of one cell, and the terms on which it was taken."""

    cell: str
    quantity: Quantity
    terms: Conditions
    point: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a series moves to another level.

    Attributes:
        before: Last point of the old level.
        after: First point of the new one.
        was: The old level, as it was measured.
        became: The new one.
        is_worse: Which way it goes.
        differences: What was another thing in the two runs beside the step, each in words.
    """

    before: Point
    after: Point
    was: float
    became: float
    is_worse: bool
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of a cell that can be joined.

    Attributes:
        points: In order of time, at least one.
        levels: At least one.
        two_speeds: Between which the series keeps changing, as it was measured; None if it
            does not.
    """

    cell: str
    quantity: Quantity
    terms: Conditions
    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    two_speeds: TwoSpeeds | None = None

    @property
    def steps(self) -> list[Step]:
        """Where levels meet, in order of time."""
        return [self._step(one, other) for one, other in pairwise(self.levels)]

    @property
    def is_short(self) -> bool:
        """Whether there are too few runs to see a step."""
        return len(self.points) < 2 * FEWEST

    def value_of(self, level: Level) -> float:
        """Return a level as its points are measured."""
        return median(point.value for point in self.points[level.first : level.last + 1])

    def _step(self, one: Level, other: Level) -> Step:
        before, after = self.points[one.last], self.points[other.first]
        was, became = self.value_of(one), self.value_of(other)
        return Step(
            before=before,
            after=after,
            was=was,
            became=became,
            is_worse=(became < was) == self.quantity.is_rate,
            differences=tuple(differences(before, after)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the series as JSON knows it, unrounded."""
        return {
            "cell": self.cell,
            "column": self.quantity.name,
            "machine": self.terms.machine,
            "device": self.terms.device,
            "points": [asdict(point) | {"when": point.when.isoformat()} for point in self.points],
            "steps": [
                {
                    "before": step.before.run,
                    "after": step.after.run,
                    "when": step.after.when.isoformat(),
                    "was": step.was,
                    "became": step.became,
                    "is_worse": step.is_worse,
                    "differences": list(step.differences),
                }
                for step in self.steps
            ],
            "two_speeds": asdict(self.two_speeds) if self.two_speeds else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Every series that was asked for.

    Attributes:
        source: Where the runs lie.
        excluded: Why runs were left out, to how many.
        damages: What could not be read, a line each.
    """

    source: str
    series: tuple[Series, ...]
    excluded: Mapping[str, int]
    damages: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it, unrounded."""
        aside = [{"reason": reason, "runs": runs} for reason, runs in self.excluded.items()]
        return {
            "source": self.source,
            "series": [series.as_dict() for series in self.series],
            "set_aside": aside,
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
    """Join readings that were taken on equal terms.

    The newest reading of a cell sets the terms; what was taken on others is counted.

    Args:
        every_machine: The newest of each machine sets them, in a series of its own.
        smallest: Steps below it do not matter; a share, of accuracies a difference.
    """
    series: list[Series] = []
    aside: dict[str, set[str]] = {}
    for group in _cells(readings):
        for joined, others in _joined(group, every_machine=every_machine):
            series.append(_series(joined, smallest))
            for reason, run in others:
                aside.setdefault(reason, set()).add(run)
    return History(
        source=source,
        series=tuple(series),
        excluded={reason: len(runs) for reason, runs in aside.items()},
        damages=tuple(damages),
    )


def differences(before: Point, after: Point) -> Iterator[str]:
    """Yield what was another thing in two runs."""
    if before.commit and after.commit and before.commit != after.commit:
        yield f"commit {before.commit[:9]} -> {after.commit[:9]}"
    elif before.commit and after.is_dirty:
        yield f"uncommitted changes on {after.commit[:9]}"
    for name in sorted(before.versions.keys() | after.versions.keys()):
        was, became = (point.versions.get(name, "none") for point in (before, after))
        if was != became:
            yield f"{name} {was} -> {became}"


def _cells(readings: Iterable[Observation]) -> list[list[Observation]]:
    """Return the readings of each cell in order of time; cells as they first come."""
    cells: dict[tuple[str, str], list[Observation]] = {}
    for reading in readings:
        cells.setdefault((reading.cell, reading.quantity.name), []).append(reading)
    return [sorted(group, key=lambda reading: reading.point.when) for group in cells.values()]


def _joined(
    group: Sequence[Observation], *, every_machine: bool
) -> Iterator[tuple[list[Observation], list[tuple[str, str]]]]:
    """Yield readings on equal terms, and for each left out the reason and its run."""
    parts = _machines(group) if every_machine else [list(group)]
    for part in parts:
        terms = part[-1].terms
        reasons = [(terms.mismatch(reading.terms), reading) for reading in part]
        joined = [reading for reason, reading in reasons if not reason]
        yield joined, [(reason, reading.point.run) for reason, reading in reasons if reason]


def _machines(group: Sequence[Observation]) -> list[list[Observation]]:
    ordered = sorted(group, key=lambda reading: (reading.terms.machine, reading.terms.device))
    parts = groupby(ordered, key=lambda reading: (reading.terms.machine, reading.terms.device))
    return [list(part) for _, part in parts]


def _series(readings: Sequence[Observation], smallest: float) -> Series:
    newest, points = readings[-1], tuple(reading.point for reading in readings)
    is_accuracy = newest.quantity.kind == "accuracy"
    values = [point.value if is_accuracy else math.log(point.value) for point in points]
    found = split(values, smallest=smallest if is_accuracy else math.log1p(smallest))
    speeds = found.two_speeds
    if speeds is not None and not is_accuracy:
        speeds = replace(speeds, low=math.exp(speeds.low), high=math.exp(speeds.high))
    return Series(
        cell=newest.cell,
        quantity=newest.quantity,
        terms=newest.terms,
        points=points,
        levels=tuple(found.levels),
        two_speeds=speeds,
    )
