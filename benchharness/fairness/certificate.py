"""Certificate that two backends do the same work on one cell, or where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchharness.fairness.probe import Array, Probe
from benchharness.fairness.tolerances import STAGES, Measure, Stage
from benchharness.model.cell import cell_label

PROVEN = "proven"
REFERENCE = "reference"
# Stages whose words say how far they are off.
_COUNTED = ("counts", "coverage")
# Distances that are more alike than this are distinguished by their direction.
_VISIBLE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDistance:
    """How far apart two sides are at one stage.

    Attributes:
        between: Two backends, or a backend and ``reference``.
        array: The array that is farthest off; empty where a stage has only one.
        off: In the stage's measure; infinite where names or shapes differ or a value is not finite.
        found: The same in words, for people.
    """

    stage: str
    between: tuple[str, str]
    array: str
    off: float
    tolerance: float
    found: str = ""

    @property
    def is_within(self) -> bool:
        """Whether this is still the same work."""
        return self.off <= self.tolerance

    def __str__(self) -> str:
        """Return the stage and how far it is off, for people."""
        far = self.found or "of another kind"
        if np.isfinite(self.off) and self.stage not in _COUNTED:
            far = f"{self.found}, " if self.found else ""
            far += f"{self.off:.1e} over {self.tolerance:g}"
        # Coverage says in words what it counts.
        if self.array and self.stage != "coverage":
            far += f", {self.array}"
        if REFERENCE in self.between and f" {self.between[0]}" not in f" {self.found}":
            far += f", {self.between[0]} against {self.between[1]}"
        return f"{self.stage} ({far})"

    def as_dict(self) -> dict[str, Any]:
        """Return the distance as JSON knows it; ``off`` is null where it is infinite."""
        return {
            "stage": self.stage,
            "between": list(self.between),
            "array": self.array,
            "off": None if np.isinf(self.off) else self.off,
            "tolerance": self.tolerance,
            "within": self.is_within,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One pair of cells that differ only in their backend.

    Attributes:
        findings: All comparisons, in the order of the stages; empty when there was nothing to
            compare.
        deviations: What a backend says of itself that is not what the core had stated.
        obstacle: Why there was nothing to compare; empty when there was.
    """

    benchmark: str
    matrix: Mapping[str, Any]
    backends: tuple[str, str]
    findings: tuple[StageDistance, ...] = ()
    deviations: tuple[str, ...] = ()
    obstacle: str = ""

    @property
    def verdict(self) -> str:
        """``proven``, ``partial: WHAT (how far)`` or ``not comparable: WHY``."""
        if self.obstacle:
            return f"not comparable: {self.obstacle}"
        worst: dict[str, StageDistance] = {}
        for finding in self.findings:
            if not finding.is_within:
                known = worst.setdefault(finding.stage, finding)
                # One against the reference says which side strays.
                worst[finding.stage] = max(
                    known, finding, key=lambda side: (REFERENCE in side.between, side.off)
                )
        if "counts" in worst:
            return f"not comparable: {next(iter(worst.values()))}"
        # Causes first: a setting decides what every stage after it gives.
        settings = (f"settings ({text})" for text in self.deviations)
        return amended(PROVEN, [*settings, *map(str, worst.values())])

    @property
    def is_proven(self) -> bool:
        """Whether every stage is within its tolerance."""
        return self.verdict == PROVEN

    @property
    def name(self) -> str:
        """Benchmark, point of its matrix and the two backends, for people."""
        point = cell_label(self.benchmark, self.matrix, "equal")
        return f"{point}, {' and '.join(self.backends)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON knows it."""
        return {
            "benchmark": self.benchmark,
            "matrix": dict(self.matrix),
            "backends": list(self.backends),
            "verdict": self.verdict,
            "stages": [finding.as_dict() for finding in self.findings],
            "deviations": list(self.deviations),
        }


def amended(verdict: str, deviations: Sequence[str]) -> str:
    """Return a verdict after what a timed trial, or a backend of itself, has shown otherwise."""
    # What the proof has found already, of one backend or the other, is said once.
    deviations = [
        deviation
        for deviation in deviations
        if deviation.removeprefix("settings (").removesuffix(")") not in verdict
    ]
    if not deviations or verdict.startswith("not comparable"):
        return verdict
    before = "" if verdict == PROVEN else f"{verdict.removeprefix('partial: ')}, "
    return f"partial: {before}{', '.join(deviations)}"


def overall(verdicts: Mapping[str, str], *, anchor: str) -> str:
    """Return one verdict for a cell that is in several pairs.

    With the anchor, the first backend of a comparison, where that is another; the anchor's own is
    the best of its pairs, since one backend that strays says nothing against it. Verdicts are by
    the other backend.
    """

    def rank(verdict: str) -> int:
        return 0 if verdict == PROVEN else 1 if verdict.startswith("partial") else 2

    return verdicts.get(anchor) or min(verdicts.values(), key=rank, default="")


def compare(
    probes: Mapping[str, Probe], *, reference: Probe | None
) -> tuple[tuple[StageDistance, ...], tuple[str, ...]]:
    """Return how far two backends are from each other and the reference, and what they admit.

    The float64 reference has the stages that it could afford.
    """
    first, second = probes
    sides = dict(probes) | ({} if reference is None else {REFERENCE: reference})
    is_deep = any(probe.is_deep for probe in probes.values())
    distances = [
        _distance(stage, (one, other), sides, tolerance=stage.limit(is_deep=is_deep))
        for stage in STAGES
        for one, other in ((first, second), (first, REFERENCE), (second, REFERENCE))
        if (other != REFERENCE or (reference is not None and stage.name in reference.arrays))
        and (stage.name in sides[one].arrays or stage.name in sides[other].arrays)
    ]
    deviations = tuple(
        f"{name}: {text}" for name, probe in probes.items() for text in probe.deviations
    )
    return tuple(distances), deviations


def _distance(
    stage: Stage, between: tuple[str, str], sides: Mapping[str, Probe], *, tolerance: float
) -> StageDistance:
    """Return how far two sides are apart in the array of a stage that is farthest off."""
    a, b = (sides[name].arrays.get(stage.name, {}) for name in between)
    if between[1] == REFERENCE:
        # It leaves out what takes it too long, of a stage as well.
        a = {name: array for name, array in a.items() if name in b}
    lone = sorted(set(a) ^ set(b))
    distances = dict.fromkeys(lone[:1], np.inf) or {
        name: _off(stage.measure, a[name], b[name]) for name in a
    }
    array = max(distances, key=lambda name: distances[name])
    if lone:
        words = "on one side only"
    elif stage.is_movement and _are_alike(a[array], b[array]):
        words = _movements(a[array], b[array], between=between)
    else:
        words = _words(stage, a[array], b[array], what=array, is_planned=between[1] == REFERENCE)
    return StageDistance(
        stage=stage.name,
        between=between,
        array=array if lone or len(distances) > 1 else "",
        off=distances[array],
        tolerance=tolerance,
        found=words,
    )


def _words(stage: Stage, array: Array, other: Array, *, what: str, is_planned: bool) -> str:
    """Return how two arrays differ, in words; empty where the distance says it all.

    ``is_planned`` says whether the other array is what the first ought to be.
    """
    if not (np.isfinite(array).all() and np.isfinite(other).all()):
        return "not finite"
    if array.shape != other.shape:
        kind = "batches" if stage.name in ("labels", "order") else "values"
        fewer, more = sorted((len(array), len(other)))
        if fewer == more:
            return "of another shape"
        is_more = is_planned and len(array) == more
        return f"{more} {kind} instead of {fewer}" if is_more else f"{fewer} of {more} {kind}"
    if stage.name == "counts":
        # Shape (2,): how many values there are, and how many of them learn.
        place = 0 if array[0] != other[0] else 1
        fewer, more = sorted((int(array[place]), int(other[place])))
        return f"{fewer} of {more} values" + (" learn" if place else "")
    if stage.name == "coverage":
        fewer = int(-min(array.min(), other.min()))
        return f"{fewer} fewer {what} than planned" if fewer > 0 else f"more {what} than planned"
    is_permuted = stage.name == "pixels" and (
        _off(stage.measure, np.sort(array), np.sort(other)) <= stage.tolerance
    )
    return "the same values in another order" if is_permuted else ""


def _movements(one: Array, other: Array, *, between: tuple[str, str]) -> str:
    """Return how far the second backend has moved beside the first, or one beside the reference."""
    first, second = between
    # The last value is no movement but what rounding may do.
    moved, other_moved = (float(np.linalg.norm(array[:-1])) for array in (one, other))
    if second != REFERENCE:
        first, second, moved, other_moved = second, first, other_moved, moved
    if not other_moved:
        return f"{first} moved, {second} did not"
    if abs(moved / other_moved - 1) < _VISIBLE:
        return f"{first} moved another way than {second}"
    return f"{first} moved {moved / other_moved:.3g} times as far as {second}"


def _are_alike(array: Array, other: Array) -> bool:
    return array.shape == other.shape and bool(
        np.isfinite(array).all() and np.isfinite(other).all()
    )


def _off(measure: Measure, array: Array, other: Array) -> float:
    """Return the distance of two arrays; infinite where shapes differ or a value is not finite."""
    if not _are_alike(array, other):
        return np.inf
    if not array.size:
        return 0.0
    a, b = array.astype(np.float64), other.astype(np.float64)
    match measure:
        case "equal":
            return float(np.mean(a != b))
        case "zero":
            return float(max(np.abs(a).max(), np.abs(b).max()))
        case "absolute":
            return float(np.abs(a - b).max())
        case "largest":
            difference, size = np.abs(a - b).max(), np.abs(b).max()
        case "norm":
            difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
        case "relative":
            difference, size = np.abs(a - b), np.abs(b)
    # Two arrays of nothing but zeros are no distance apart.
    with np.errstate(all="ignore"):
        return float(np.where(difference == 0, 0.0, difference / size).max())
