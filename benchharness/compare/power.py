"""What a comparison can expect of this machine, from what it has shown before."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchharness.compare.criteria import Criteria
from benchharness.compare.floors import MOST_PAIRS, NoiseFloor, NoiseStore
from benchharness.compare.plan import CellPair, ComparisonPlan
from benchharness.errors import Problem
from benchharness.measure.machine import usable_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEstimate:
    """What is known of the cells to compare.

    Attributes:
        floors: By the couple's label, where this machine was asked.
    """

    lineup: ComparisonPlan
    criteria: Criteria
    floors: Mapping[str, NoiseFloor]

    @classmethod
    def of(cls, lineup: ComparisonPlan, floors: NoiseStore, criteria: Criteria) -> PowerEstimate:
        """Return what a machine's floors tell of a lineup; a couple is known by its A."""
        found = {one.label: floors.find(lineup.plan, one.ours) for one in lineup.couples}
        known = {label: floor for label, floor in found.items() if floor is not None}
        return cls(lineup=lineup, criteria=criteria, floors=known)

    def first(self, *, most: int) -> dict[str, int]:
        """Return when to look first: at half of the pairs that it should take, or may."""
        return {
            couple.label: min(most, max(needed.values())) // 4 * 2
            for couple in self.lineup.couples
            if (needed := self._needed(couple))
        }

    def problems(self, *, most: int) -> Iterator[Problem]:
        """Yield the thresholds on which so many pairs would more often not decide than do so.

        Of those that somebody has asked for; of others there are warnings.
        """
        for couple, column, needed in self._beyond(most):
            floor, benchmark = self.floors[couple.label], couple.ours.benchmark
            threshold = self.criteria.threshold(benchmark, column)
            is_asked = self.criteria.is_chosen or self.criteria.stated_threshold(benchmark, column)
            if not is_asked or not floor.is_hopeless(column, threshold, most):
                continue
            shown = floor.reach(column, most)
            # Rounded up, or it would be refused again.
            enough = f"--threshold {column}={math.ceil(1000 * shown) / 10:g}%"
            pairs = f"--pairs {needed}"
            remedies = [enough] * math.isfinite(shown) + [pairs] * (needed < MOST_PAIRS)
            yield Problem(
                where=f"{couple.label}: {column}",
                expected=f"a threshold that {most} pairs can decide on here, such as {shown:.1%} "
                f"(measured {floor.measured[:10]})",
                found=f"{threshold:.3g}",
                hint=", ".join([*remedies, "longer trials or a quieter machine; then measure it "])
                + "again: benchharness noise",
            )

    def warnings(self, *, most: int) -> Iterator[str]:
        """Yield what may stand in the way of a decision with so many pairs at most."""
        yield from busy(load_average(), usable_cores())
        for couple, column, needed in self._beyond(most):
            floor = self.floors[couple.label]
            threshold = self.criteria.threshold(couple.ours.benchmark, column)
            yield (
                f"WARNING: {couple.label}: {column}: a threshold of {threshold:.3g} needs "
                f"{needed} pairs here, and there will be {most}, which show "
                f"{floor.reach(column, most):.1%} (measured {floor.measured[:10]})"
            )

    def _beyond(self, most: int) -> Iterator[tuple[CellPair, str, int]]:
        """Yield couples and columns that need more pairs than there will be, and how many."""
        for couple in self.lineup.couples:
            for column, needed in self._needed(couple).items():
                if needed > most:
                    yield couple, column, needed

    def _needed(self, couple: CellPair) -> dict[str, int]:
        """Return how many pairs each column needs that has to be decided and is known."""
        floor = self.floors.get(couple.label)
        if floor is None:
            return {}
        required = [
            quantity
            for quantity in self.criteria.quantities
            if quantity.name in floor.costs and self.criteria.is_required(quantity)
        ]
        needed = {
            quantity.name: floor.pairs_needed(
                quantity.name, self.criteria.threshold(couple.ours.benchmark, quantity.name)
            )
            for quantity in required
        }
        if self.criteria.is_chosen:
            return needed
        # One of the alternatives decides: the one that scatters least.
        others = sorted(
            (quantity.name for quantity in required if quantity.is_alternative),
            key=needed.__getitem__,
        )[1:]
        return {name: pairs for name, pairs in needed.items() if name not in others}


def load_average() -> float:
    """Return how many processes wanted to run in the last minute; 0 where nobody knows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def busy(load: float, cores: int) -> Iterator[str]:
    """Yield that others compute here, where they do."""
    if load > cores / 2:
        yield (
            f"WARNING: {load:.1f} processes want this machine's {cores} cores as it is: what they "
            "do to the timings will cost pairs, or drown small differences"
        )
