"""Noise of a machine: how much equal code differs, and which differences that lets show."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchharness.compare.plan import CellPair, ComparisonPlan
from benchharness.compare.sampling import (
    FEWEST_PAIRS,
    PairSeries,
    Scatter,
    level_of,
    planned_looks,
)
from benchharness.compare.verdict import Criteria
from benchharness.errors import Problem
from benchharness.files import ANOTHER_CACHE, atomic_write_text, json_digest, writable
from benchharness.measure.machine import fingerprint, recorded_variables, usable_cores
from benchharness.measure.statistics import lower_bounds
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Plan, PlannedCell

if TYPE_CHECKING:
    from benchharness.compare.comparison import Comparison
    from benchharness.compare.run import ComparisonSession

DIFFERENCES = (0.02, 0.05, 0.10, 0.20)
MOST_PAIRS = 2000
# Part of the key: raise it when the contents of a file, or their meaning, change.
_FORMAT = 2
# How often out of so many a comparison shall come to a decision.
_POWER = 0.9
_DRAWS = 300
# How far off a pair is taken to be that has not been seen, in the farthest of those that have.
_UNSEEN = 2.0
# Beyond so many pairs the detectable difference is taken to shrink with the root of their number.
_MOST_DRAWN = 40
# Settings that change nothing of what is measured.
_IGNORED_SETTINGS = ("reuse_features",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """Differences of one cell when A and B were the same.

    Attributes:
        log_ratios: Logarithms of B / A, pair by pair, by column.
        pair_s: Seconds of a pair of trials.
        measured: UTC, ISO 8601.
    """

    log_ratios: Mapping[str, tuple[float, ...]]
    pair_s: float
    measured: str

    @classmethod
    def of(cls, series: PairSeries, criteria: Criteria) -> NoiseFloor:
        """Return the floor that some pairs of equal code show."""
        return cls(
            log_ratios={
                quantity.name: sample.log_ratios
                for quantity in criteria.quantities
                if quantity.kind != "accuracy"
                and (sample := series.trials.sample(quantity))
                and sample.log_ratios
                # Targets that are missed are no noise of the machine.
                and all(map(math.isfinite, sample.log_ratios))
            },
            pair_s=median(series.seconds),
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def smallest_detectable(self, column: str, pairs: int) -> float:
        """Return the smallest threshold that so many pairs decide on, nine times out of ten.

        Equal code is then called the same, and code that is worse by twice the threshold is called
        worse; a share.
        """
        grown = math.exp(_half_width(self.log_ratios[column], pairs))
        # The threshold that lies as far from no change as from twice itself.
        return math.inf if grown >= 2 else (grown - 1) / (2 - grown)

    def pairs_needed(self, column: str, threshold: float) -> int:
        """Return how many pairs it takes to decide on a threshold; at most ``MOST_PAIRS``."""
        target = _target_half_width(threshold)
        for pairs in range(FEWEST_PAIRS, _MOST_DRAWN + 1, 2):
            if _half_width(self.log_ratios[column], pairs) <= target:
                return pairs
        excess = _half_width(self.log_ratios[column], _MOST_DRAWN) / target
        return min(MOST_PAIRS, 2 * math.ceil(_MOST_DRAWN * excess**2 / 2))

    def is_hopeless(self, column: str, threshold: float, pairs: int) -> bool:
        """Return whether so many pairs would more often not decide on a threshold than do so.

        Computed of the noise as it was seen: refusing a threshold takes more certainty than
        promising one.
        """
        pairs = min(pairs, _MOST_DRAWN)
        half_width = _half_width(self.log_ratios[column], pairs, power=0.5, unseen=())
        return half_width > _target_half_width(threshold)


def _target_half_width(threshold: float) -> float:
    """Return the half width of an interval that lets twice the threshold be called worse."""
    return math.log((1 + 2 * threshold) / (1 + threshold))


@cache
def _half_width(
    log_ratios: tuple[float, ...],
    pairs: int,
    *,
    power: float = _POWER,
    unseen: tuple[float, ...] = (_UNSEEN,),
) -> float:
    """Return the half width of an interval that is not exceeded in a share ``power`` of cases.

    Pairs are drawn from those that were seen; each may as well have come out the other way round,
    for A and B were the same. One more is drawn from than was seen, farther off than all of those:
    of noise with heavy tails or bursts a few pairs show too little.

    Args:
        unseen: How far off pairs are that were not seen, in the farthest of those that were.

    Source:
        The next value is farther off than n others once in n + 1 times (the rule of succession);
        how far was chosen by simulation, see docs/statistics_gates.md.
    """
    import numpy as np

    if not any(log_ratios):
        return 0.0
    random = np.random.default_rng(0)
    sizes = np.abs(log_ratios)
    every = [*sizes, *(times * sizes.max() for times in unseen)]
    drawn = random.choice(every, size=(_DRAWS, pairs))
    drawn *= random.choice((-1.0, 1.0), size=drawn.shape)
    level = level_of(planned_looks(FEWEST_PAIRS, pairs))
    low, high = lower_bounds(drawn, level), -lower_bounds(-drawn, level)
    return float(np.quantile(np.maximum(high, -low), power))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseStore:
    """Noise floors that were measured on this machine and device, in a folder."""

    folder: Path
    device: str

    def find(self, plan: Plan, cell: PlannedCell) -> NoiseFloor | None:
        """Return the floor of a cell; None if there is none, or its file is damaged."""
        try:
            kept = json.loads(self._file(self._key(plan, cell)).read_text(encoding="utf-8"))
            ratios = {name: tuple(map(float, values)) for name, values in kept["costs"].items()}
            return NoiseFloor(
                log_ratios=ratios, pair_s=float(kept["pair_s"]), measured=kept["measured"]
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, plan: Plan, cell: PlannedCell, floor: NoiseFloor) -> None:
        """Store the floor of a cell, in place of an earlier one."""
        key = self._key(plan, cell)
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"machine": key["machine"], "cell": key["cell"], "costs": floor.log_ratios}
        kept |= {"pair_s": floor.pair_s, "measured": floor.measured}
        atomic_write_text(self._file(key), json.dumps(kept, indent=1) + "\n")

    def _file(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{json_digest(key, length=24)}.json"

    def _key(self, plan: Plan, cell: PlannedCell) -> dict[str, Any]:
        plugin, options = backend_plugin(plan, cell.backend)
        settings = cell.settings.model_dump(mode="json", exclude=set(_IGNORED_SETTINGS))
        identity = {
            "plugin": plugin,
            "options": dict(options),
            "track": cell.track,
            "device": self.device,
            "settings": settings | recorded_variables(os.environ),
        }
        return {"format": _FORMAT, "machine": fingerprint(), "cell": identity}


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEstimate:
    """Power of a planned comparison: its cells whose noise was measured, and pairs by column."""

    criteria: Criteria
    cells: tuple[tuple[CellPair, NoiseFloor, Mapping[str, int]], ...]

    @classmethod
    def of(cls, plan: ComparisonPlan, store: NoiseStore, criteria: Criteria) -> PowerEstimate:
        """Return the estimate of a plan; the floor of a pair is that of its A."""
        cells = tuple(
            (pair, floor, _pairs_needed(floor, criteria, pair.a.benchmark))
            for pair in plan.cells
            if (floor := store.find(plan.plan, pair.a)) is not None
        )
        return cls(criteria=criteria, cells=cells)

    def first_looks(self, *, most: int) -> dict[str, int]:
        """Return when to look first: at half of the pairs that it should take, or may."""
        return {
            pair.label: min(most, max(needed.values())) // 4 * 2
            for pair, _, needed in self.cells
            if needed
        }

    def problems(self, *, most: int) -> Iterator[Problem]:
        """Yield the stated thresholds on which so many pairs would more often not decide than do.

        Thresholds that are not stated cause a warning instead.
        """
        for pair, floor, column, threshold, needed in self._beyond(most):
            stated = self.criteria.stated_threshold(pair.a.benchmark, column)
            is_asked = self.criteria.is_chosen or stated
            if not is_asked or not floor.is_hopeless(column, threshold, most):
                continue
            detectable, example, remedies = floor.smallest_detectable(column, most), "", []
            if math.isfinite(detectable):
                example = f", such as {detectable:.1%}"
                # Rounded up, or it would be refused again.
                remedies.append(f"--threshold {column}={math.ceil(1000 * detectable) / 10:g}%")
            remedies += [f"--pairs {needed}"] * (needed < MOST_PAIRS)
            remedies += ["longer trials or a quieter machine; then measure it again"]
            yield Problem(
                where=f"{pair.label}: {column}",
                expected=f"a threshold that {most} pairs can decide on here{example} "
                f"(measured {floor.measured[:10]})",
                found=f"{threshold:.3g}",
                hint=f"{', '.join(remedies)}: benchharness noise",
            )

    def warnings(self, *, most: int) -> Iterator[str]:
        """Yield what may prevent a decision with so many pairs at most."""
        load, cores = os.getloadavg()[0], usable_cores()
        if load > cores / 2:
            yield f"WARNING: load average is {load:.1f} on {cores} cores; timings will be noisy"
        for pair, floor, column, threshold, needed in self._beyond(most):
            detectable = floor.smallest_detectable(column, most)
            detect = f"detect {detectable:.1%}" if math.isfinite(detectable) else "detect nothing"
            yield (
                f"WARNING: {pair.label}: {column}: a threshold of {threshold:.3g} needs "
                f"{needed} pairs here, and there will be at most {most}, which {detect} "
                f"(measured {floor.measured[:10]})"
            )

    def _beyond(self, most: int) -> Iterator[tuple[CellPair, NoiseFloor, str, float, int]]:
        """Yield cells, floors, columns and thresholds that need more pairs, and how many."""
        for pair, floor, needed in self.cells:
            for column, pairs in needed.items():
                if pairs > most:
                    threshold = self.criteria.threshold(pair.a.benchmark, column)
                    yield pair, floor, column, threshold, pairs


def _pairs_needed(floor: NoiseFloor, criteria: Criteria, benchmark: str) -> dict[str, int]:
    """Return how many pairs each column needs that has to be decided and has a floor."""
    required = [
        quantity
        for quantity in criteria.quantities
        if quantity.name in floor.log_ratios and criteria.is_required(quantity)
    ]
    needed = {
        q.name: floor.pairs_needed(q.name, criteria.threshold(benchmark, q.name)) for q in required
    }
    if not criteria.is_chosen:
        # One of the alternatives decides: the one that scatters least.
        names = (q.name for q in required if q.is_alternative)
        for name in sorted(names, key=needed.__getitem__)[1:]:
            del needed[name]
    return needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Noise of one column of one cell.

    Attributes:
        word: Verdict on A against A; ``same``, or a false alarm.
        reach: Smallest threshold that so many pairs decide on, a share; infinite if none is.
        needs: By difference, the pairs to decide on it; None for more than anyone would run.
    """

    cell: str
    column: str
    pairs: int
    word: str
    reach: float
    pair_s: float
    needs: Mapping[float, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReport:
    """Noise of all cells of a suite; by label why some failed, and how their epochs scatter."""

    machine: str
    minutes: float
    found: tuple[Noise, ...]
    failures: Mapping[str, str]
    folder: str
    scatters: Mapping[str, Scatter] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it; an infinite reach is null."""
        described = asdict(self)
        cells = described.pop("found")
        for cell in cells:
            cell["reach"] = cell["reach"] if math.isfinite(cell["reach"]) else None
            cell["needs"] = [
                {
                    "difference": each,
                    "pairs": pairs,
                    "minutes": pairs and pairs * cell["pair_s"] / 60,
                }
                for each, pairs in cell["needs"].items()
            ]
        return {"format": 1, **described, "cells": cells}


def report_noise(
    comparison: Comparison, session: ComparisonSession, every: Sequence[PairSeries]
) -> NoiseReport:
    """Return the noise that a comparison of equal sides shows, and store it for later ones.

    Raises:
        RunError: The cache cannot be written.
    """
    found: list[Noise] = []
    failures: dict[str, str] = {}
    scatters: dict[str, Scatter] = {}
    for series in every:
        if not series.cells.is_compared:
            continue
        label = series.cells.label
        if reason := series.trials.failure():
            failures[label] = reason
            continue
        if scatter := series.scatter:
            scatters[label] = scatter
        floor = NoiseFloor.of(series, session.sampler.criteria)
        with writable(session.noise.folder, elsewhere=ANOTHER_CACHE):
            session.noise.keep(session.plan.plan, series.cells.a, floor)
        words = {verdict.column: verdict.word for verdict in series.verdicts}
        for column, ratios in floor.log_ratios.items():
            needs = {each: floor.pairs_needed(column, each) for each in DIFFERENCES}
            found.append(
                Noise(
                    cell=label,
                    column=column,
                    pairs=len(ratios),
                    word=words[column],
                    reach=floor.smallest_detectable(column, len(ratios)),
                    pair_s=floor.pair_s,
                    needs={
                        each: pairs if pairs < MOST_PAIRS else None for each, pairs in needs.items()
                    },
                )
            )
    return NoiseReport(
        machine=comparison.machine,
        minutes=comparison.minutes or 0.0,
        found=tuple(found),
        failures=failures,
        folder=comparison.folder,
        scatters=scatters,
    )
