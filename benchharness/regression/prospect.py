"""What a comparison can expect of this machine, from what it has shown before."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchharness.errors import Problem
from benchharness.regression.criteria import Criteria
from benchharness.regression.floors import MOST_PAIRS, Floor, Floors
from benchharness.regression.lineup import Couple, Lineup


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What is known of the cells to compare.

    Attributes:
        floors: By the couple's label, where this machine was asked.
    """

    lineup: Lineup
    criteria: Criteria
    floors: Mapping[str, Floor]

    @classmethod
    def of(cls, lineup: Lineup, floors: Floors, criteria: Criteria) -> Prospect:
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
        """Yield the thresholds on which so many pairs would hardly ever decide."""
        for couple in self.lineup.couples:
            floor = self.floors.get(couple.label)
            for column, needed in self._needed(couple).items():
                if floor is None or needed <= most:
                    continue
                threshold = self.criteria.threshold(couple.ours.benchmark, column)
                shown = floor.reach(column, most)
                pairs = f"--pairs {needed}, " if needed < MOST_PAIRS else ""
                # Rounded up, or it would be refused again.
                enough = f"--threshold {column}={math.ceil(1000 * shown) / 10:g}%, "
                yield Problem(
                    where=f"{couple.label}: {column}",
                    expected=f"a threshold of {shown:.1%} or more, which {most} pairs decide on "
                    f"here (measured {floor.measured[:10]})",
                    found=f"{threshold:.3g}",
                    hint=f"{enough if math.isfinite(shown) else ''}{pairs}longer trials, a quieter "
                    "machine (then measure it again: benchharness noise)",
                )

    def _needed(self, couple: Couple) -> dict[str, int]:
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
