"""How small a difference a machine can show: what equal code differed by, kept and asked again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from benchharness.compare.looks import FEWEST_PAIRS, level_of, planned
from benchharness.files import atomic_write_text
from benchharness.measure.machine import fingerprint, recorded_variables
from benchharness.measure.statistics import lower_bounds
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Cell, Plan

# Part of the key: raise it when what is kept, or how, changes.
_FORMAT = 2
# How often out of so many a comparison shall come to a decision.
POWER = 0.9
_DRAWS = 300
# How far off a pair is taken to be that has not been seen, in the farthest of those that have.
_UNSEEN = 2.0
# Beyond so many pairs the reach is taken to shrink with the root of their number.
_MOST_DRAWN = 40
MOST_PAIRS = 2000
# Settings that change nothing of what is measured.
_INDIFFERENT = ("reuse_features",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """What a machine showed of one cell when A and B were the same.

    Attributes:
        costs: Logarithms of the quotients B / A, pair by pair, by column.
        pair_s: Seconds of a pair of trials.
        measured: UTC, ISO 8601.
    """

    costs: Mapping[str, tuple[float, ...]]
    pair_s: float
    measured: str

    def reach(self, column: str, pairs: int) -> float:
        """Return the smallest threshold that so many pairs decide on, nine times out of ten.

        Equal code is then called the same, and what is worse by twice the threshold is called
        worse; a share.
        """
        return _threshold(_half_width(self.costs[column], pairs))

    def pairs_needed(self, column: str, threshold: float) -> int:
        """Return how many pairs it takes to decide on a threshold; ``MOST_PAIRS`` for too many."""
        target = _target(threshold)
        for pairs in range(FEWEST_PAIRS, _MOST_DRAWN + 1, 2):
            if _half_width(self.costs[column], pairs) <= target:
                return pairs
        excess = _half_width(self.costs[column], _MOST_DRAWN) / target
        return min(MOST_PAIRS, 2 * math.ceil(_MOST_DRAWN * excess**2 / 2))

    def is_hopeless(self, column: str, threshold: float, pairs: int) -> bool:
        """Return whether so many pairs would more often not decide on a threshold than do so.

        Of noise as it was seen: who refuses a threshold has to be surer than who promises one.
        """
        pairs = min(pairs, _MOST_DRAWN)
        return _half_width(self.costs[column], pairs, power=0.5, unseen=()) > _target(threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseStore:
    """What has been measured on this machine, in a folder.

    Attributes:
        device: What computes, by name.
    """

    folder: Path
    device: str

    def find(self, plan: Plan, cell: Cell) -> NoiseFloor | None:
        """Return what is known of a cell; None where nothing is, or its file is damaged."""
        try:
            kept = json.loads(self._file(plan, cell).read_text(encoding="utf-8"))
            costs = {name: tuple(map(float, values)) for name, values in kept["costs"].items()}
            return NoiseFloor(costs=costs, pair_s=float(kept["pair_s"]), measured=kept["measured"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, plan: Plan, cell: Cell, floor: NoiseFloor) -> None:
        """Keep what has been measured of a cell, in place of what was known.

        Raises:
            OSError: The folder cannot be written.
        """
        file = self._file(plan, cell)
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "machine": fingerprint(),
            "cell": self._identity(plan, cell),
            "costs": {name: list(values) for name, values in floor.costs.items()},
            "pair_s": floor.pair_s,
            "measured": floor.measured,
        }
        atomic_write_text(file, json.dumps(kept, indent=1) + "\n")

    def _file(self, plan: Plan, cell: Cell) -> Path:
        facts = {"format": _FORMAT, "machine": fingerprint(), "cell": self._identity(plan, cell)}
        text = json.dumps(facts, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

    def _identity(self, plan: Plan, cell: Cell) -> dict[str, Any]:
        plugin, options = backend_plugin(plan, cell.backend)
        settings = cell.settings.model_dump(mode="json")
        return {
            "plugin": plugin,
            "options": dict(options),
            "track": cell.track,
            "device": self.device,
            "settings": {key: settings[key] for key in settings if key not in _INDIFFERENT}
            | recorded_variables(os.environ),
        }


def now() -> str:
    """Return the time, UTC, as floors are dated."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _half_width(
    costs: tuple[float, ...],
    pairs: int,
    *,
    power: float = POWER,
    unseen: tuple[float, ...] = (_UNSEEN,),
) -> float:
    """Return what half of an interval does not exceed in so many comparisons.

    Pairs are drawn from those that were seen; each may as well have come out the other way round,
    for A and B were the same. One more is drawn from than was seen, farther off than all of those:
    of noise with heavy tails or bursts a few pairs show too little.

    Args:
        costs: That were seen.
        pairs: Of a comparison.
        power: The share of comparisons.
        unseen: How far off pairs are that were not seen, in the farthest of those that were.

    Source:
        The next value is farther off than n others once in n + 1 times (the rule of succession);
        how far was chosen by simulation, see docs/statistics.md.
    """
    import numpy as np

    if not any(costs):
        return 0.0
    random = np.random.default_rng(0)
    sizes = np.abs(costs)
    every = [*sizes, *(times * sizes.max() for times in unseen)]
    drawn = random.choice(every, size=(_DRAWS, pairs))
    drawn *= random.choice((-1.0, 1.0), size=drawn.shape)
    level = level_of(planned(FEWEST_PAIRS, pairs))
    low, high = lower_bounds(drawn, level), -lower_bounds(-drawn, level)
    return float(np.quantile(np.maximum(high, -low), power))


def _target(threshold: float) -> float:
    """Return the half width of an interval that lets twice the threshold be called worse."""
    return math.log((1 + 2 * threshold) / (1 + threshold))


def _threshold(half_width: float) -> float:
    """Return the threshold that lies as far from no change as from twice itself."""
    grown = math.exp(half_width)
    return math.inf if grown >= 2 else (grown - 1) / (2 - grown)
