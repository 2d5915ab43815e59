"""The noise of a machine: what equal code differs by, and what differences that lets show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

from benchharness.compare.criteria import Criteria
from benchharness.compare.floors import MOST_PAIRS, NoiseFloor, now
from benchharness.compare.overrides import Changes
from benchharness.compare.run import ComparisonOptions, ComparisonRun, run_comparison
from benchharness.compare.sampling import Series
from benchharness.compare.scatter import Scatter
from benchharness.compare.targets import Side
from benchharness.files import ANOTHER_CACHE, writable
from benchharness.run.events import Observer
from benchharness.run.options import RunOptions

DIFFERENCES = (0.02, 0.05, 0.10, 0.20)
PAIRS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredPairs:
    """What it takes to decide on a difference.

    Attributes:
        difference: A share.
        pairs: None for more than anyone would run.
        minutes: For so many pairs of the one cell.
    """

    difference: float
    pairs: int | None
    minutes: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What a machine shows of one column of one cell.

    Attributes:
        cell: For people.
        pairs: That were run.
        word: What the rule says of A against A; ``same``, or a false alarm.
        reach: Smallest threshold that so many pairs decide on, a share; infinite where every one
            drowns.
        pair_s: Seconds of a pair of trials.
    """

    cell: str
    column: str
    pairs: int
    word: str
    reach: float
    pair_s: float
    needs: tuple[RequiredPairs, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it; an infinite reach is null."""
        return {**asdict(self), "reach": self.reach if math.isfinite(self.reach) else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReport:
    """The noise of all cells.

    Attributes:
        scatters: Of the epochs of each cell within and between trials, by its label.
        failures: Why a cell could not be measured, by its label.
        folder: Of the run.
    """

    machine: str
    minutes: float
    found: tuple[Noise, ...]
    failures: Mapping[str, str]
    folder: str
    scatters: Mapping[str, Scatter] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            "format": 1,
            "machine": self.machine,
            "minutes": self.minutes,
            "folder": self.folder,
            "failures": dict(self.failures),
            "scatters": {label: scatter.as_dict() for label, scatter in self.scatters.items()},
            "cells": [noise.as_dict() for noise in self.found],
        }


def measure_noise(
    request: RunOptions, *, pairs: int, columns: tuple[str, ...], observe: Observer
) -> NoiseReport:
    """Run every cell against itself, and keep what it showed for later comparisons.

    Args:
        request: As for a run of the suite.
        pairs: Of trials of each cell.
        columns: To look at; empty for the suite's.
        observe: Told of all that happens, but for the end.

    Raises:
        BenchError: Data, weights, the results folder or the cache are not to be had.
    """
    side = Side(label="itself", changes=Changes())
    order = ComparisonOptions(
        request=replace(request, proof="no"),
        a=side,
        b=side,
        columns=columns,
        fewest=pairs,
        most=pairs,
        command="noise",
    )
    meeting = run_comparison(order, observe)
    failures = {
        series.couple.label: reason
        for series in meeting.series
        if (reason := series.trials.failure())
    }
    sound = [series for series in meeting.series if series.couple.label not in failures]
    return NoiseReport(
        machine=meeting.comparison.machine,
        minutes=meeting.comparison.minutes or 0.0,
        found=tuple(noise for series in sound for noise in _noise(series, meeting)),
        failures=failures,
        folder=meeting.comparison.folder,
        scatters={
            series.couple.label: scatter
            for series in sound
            if (scatter := series.scatter) is not None
        },
    )


def floor_of(series: Series, criteria: Criteria) -> NoiseFloor:
    """Return what some pairs of equal code differed by."""
    samples = {
        quantity.name: series.trials.sample(quantity)
        for quantity in criteria.quantities
        if quantity.kind != "accuracy"
    }
    # Targets that are missed are no noise of the machine.
    costs = {
        name: sample.costs
        for name, sample in samples.items()
        if sample is not None and sample.costs and all(map(math.isfinite, sample.costs))
    }
    return NoiseFloor(costs=costs, pair_s=median(series.seconds), measured=now())


def _noise(series: Series, meeting: ComparisonRun) -> list[Noise]:
    """Return the noise of a cell, and keep it."""
    floor = floor_of(series, meeting.criteria)
    with writable(meeting.floors.folder, elsewhere=ANOTHER_CACHE):
        meeting.floors.keep(meeting.lineup.plan, series.couple.ours, floor)
    words = {verdict.column: verdict.word for verdict in series.verdicts}
    return [
        Noise(
            cell=series.couple.label,
            column=column,
            pairs=len(costs),
            word=words[column],
            reach=floor.reach(column, len(costs)),
            pair_s=floor.pair_s,
            needs=tuple(_need(floor, column, difference) for difference in DIFFERENCES),
        )
        for column, costs in floor.costs.items()
    ]


def _need(floor: NoiseFloor, column: str, difference: float) -> RequiredPairs:
    pairs = floor.pairs_needed(column, difference)
    if pairs >= MOST_PAIRS:
        return RequiredPairs(difference=difference, pairs=None, minutes=None)
    return RequiredPairs(difference=difference, pairs=pairs, minutes=pairs * floor.pair_s / 60)
