"""Certificate that two backends do the same work on one cell, or where they do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchharness.fairness.probe import Array, Probe
from benchharness.fairness.tolerances import STAGES, Measure, Stage

PROVEN = "proven"
REFERENCE = "reference"
# Stages whose words say how far they are off.
_COUNTED = ("counts", "coverage")
# Distances that are more alike than this are distinguished by their direction.
_VISIBLE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
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
        # Coverage says in words what it counts.
        place = f", {self.array}" if self.array and self.stage != "coverage" else ""
        is_told = f" {self.between[0]}" in f" {self.found}"
        has_side = self._has_reference and not is_told
        side = f", {self.between[0]} against {self.between[1]}" if has_side else ""
        far = self.found or "of another kind"
        if np.isfinite(self.off) and self.stage not in _COUNTED:
            far = f"{self.found}, " if self.found else ""
            far += f"{self.off:.1e} over {self.tolerance:g}"
        return f"{self.stage} ({far}{place}{side})"

    @property
    def _has_reference(self) -> bool:
        return REFERENCE in self.between

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON knows it; ``off`` is null where it is infinite."""
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
        benchmark: With its point of the matrix.
        backends: The two.
        findings: All comparisons, in the order of the stages; empty when there was nothing to
            compare.
        deviations: What a backend says of itself that is not what the core had stated.
        obstacle: Why there was nothing to compare; empty when there was.
    """

    benchmark: str
    matrix: Mapping[str, Any]
    backends: tuple[str, str]
    findings: tuple[Finding, ...] = ()
    deviations: tuple[str, ...] = ()
    obstacle: str = ""

    @property
    def verdict(self) -> str:
        """``proven``, ``partial: WHAT (how far)`` or ``not comparable: WHY``."""
        if self.obstacle:
            return f"not comparable: {self.obstacle}"
        failed = _worst_by_stage(self.findings)
        if any(finding.stage == "counts" for finding in failed):
            return f"not comparable: {failed[0]}"
        # Causes first: a setting decides what every stage after it gives.
        deviations = [*(f"settings ({text})" for text in self.deviations), *map(str, failed)]
        return f"partial: {', '.join(deviations)}" if deviations else PROVEN

    @property
    def is_proven(self) -> bool:
        """Whether every stage is within its tolerance."""
        return self.verdict == PROVEN

    @property
    def name(self) -> str:
        """Benchmark, point of its matrix and the two backends, for people."""
        point = "".join(f" {setting}={value}" for setting, value in self.matrix.items())
        return f"{self.benchmark}{point}, {self.backends[0]} and {self.backends[1]}"

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
    """Return a verdict after what a timed trial itself has shown.

    Args:
        verdict: Of the certificate.
        deviations: What the trial did otherwise than planned; none leaves the verdict as it is.
    """
    # What the proof has found already, of one backend or the other, is said once.
    deviations = [deviation for deviation in deviations if _core_of(deviation) not in verdict]
    if not deviations or verdict.startswith("not comparable"):
        return verdict
    before = "" if verdict == PROVEN else f"{verdict.removeprefix('partial: ')}, "
    return f"partial: {before}{', '.join(deviations)}"


def _core_of(deviation: str) -> str:
    return deviation.removeprefix("settings (").removesuffix(")")


def overall(verdicts: Mapping[str, str], *, anchor: str) -> str:
    """Return one verdict for a cell that is in several pairs.

    With the anchor, the first backend of a comparison, where that is another; the anchor's own is
    the best of its pairs, since one backend that strays says nothing against it.

    Args:
        verdicts: By the other backend; empty gives the empty text.
        anchor: A backend's name.
    """
    if anchor in verdicts:
        return verdicts[anchor]
    return min(verdicts.values(), key=_rank, default="")


def compare(
    probes: Mapping[str, Probe], *, reference: Probe | None
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Return how far two backends are from each other, and each from the reference.

    Args:
        probes: Of exactly two backends, by name.
        reference: Arrays of the float64 reference, for the stages that it could afford; None for
            none.
    """
    (first, ours), (second, theirs) = probes.items()
    is_deep = ours.is_deep or theirs.is_deep
    findings = []
    for stage in STAGES:
        limit = stage.limit(is_deep=is_deep)
        pairs = {(first, second): (ours, theirs)}
        if reference is not None and stage.name in reference.arrays:
            pairs |= {
                (first, REFERENCE): (ours, reference),
                (second, REFERENCE): (theirs, reference),
            }
        findings += [
            _finding(stage, *sides, between=between, tolerance=limit)
            for between, sides in pairs.items()
            if any(stage.name in side.arrays for side in sides)
        ]
    deviations = tuple(
        f"{name}: {text}" for name, probe in probes.items() for text in probe.deviations
    )
    return tuple(findings), deviations


def _rank(verdict: str) -> int:
    return 0 if verdict == PROVEN else 1 if verdict.startswith("partial") else 2


def _worst_by_stage(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return for each stage that failed the finding that is farthest off.

    One against the reference comes before one of two backends: it says which of them strays.
    """
    failed = (finding for finding in findings if not finding.is_within)
    return [
        max(group, key=lambda finding: (REFERENCE in finding.between, finding.off))
        for _, group in itertools.groupby(failed, key=lambda finding: finding.stage)
    ]


def _finding(
    stage: Stage, ours: Probe, theirs: Probe, *, between: tuple[str, str], tolerance: float
) -> Finding:
    """Return how far two sides are apart in the array of a stage that is farthest off."""

    def finding(array: str, off: float, words: str) -> Finding:
        return Finding(
            stage=stage.name,
            between=between,
            array=array,
            off=off,
            tolerance=tolerance,
            found=words,
        )

    a, b = ours.arrays.get(stage.name, {}), theirs.arrays.get(stage.name, {})
    has_reference = between[1] == REFERENCE
    if has_reference:
        # It leaves out what takes it too long, of a stage as well.
        a = {name: array for name, array in a.items() if name in b}
    lone = sorted(set(a) ^ set(b))
    if lone:
        return finding(lone[0], np.inf, "on one side only")
    distances = {
        name: _off(stage.measure, a[name], b[name]) if _alike(a[name], b[name]) else np.inf
        for name in a
    }
    name = max(distances, key=lambda name: distances[name])
    if stage.is_movement and _alike(a[name], b[name]):
        words = _movements(a[name], b[name], between=between)
    else:
        words = _words(stage, a[name], b[name], what=name, is_planned=has_reference)
    return finding(name if len(distances) > 1 else "", distances[name], words)


def _words(stage: Stage, array: Array, other: Array, *, what: str, is_planned: bool) -> str:
    """Return how two arrays differ, in words; empty where the distance says it all.

    Args:
        what: The array's name.
        is_planned: Whether the other array is what the first ought to be.
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
    if stage.name == "pixels" and (
        _off(stage.measure, np.sort(array), np.sort(other)) <= stage.tolerance
    ):
        return "the same values in another order"
    if stage.name == "coverage":
        fewer = int(-min(array.min(), other.min()))
        return f"{fewer} fewer {what} than planned" if fewer > 0 else f"more {what} than planned"
    return ""


def _movements(one: Array, other: Array, *, between: tuple[str, str]) -> str:
    """Return how far the second backend has moved beside the first, or one beside the reference."""
    # The last value is no movement but what rounding may do.
    moved = zip(between, (float(np.linalg.norm(array[:-1])) for array in (one, other)), strict=True)
    (first, ours), (second, theirs) = moved
    if second != REFERENCE:
        first, ours, second, theirs = second, theirs, first, ours
    if not theirs:
        return f"{first} moved, {second} did not"
    if abs(ours / theirs - 1) < _VISIBLE:
        return f"{first} moved another way than {second}"
    return f"{first} moved {ours / theirs:.3g} times as far as {second}"


def _alike(array: Array, other: Array) -> bool:
    return array.shape == other.shape and bool(
        np.isfinite(array).all() and np.isfinite(other).all()
    )


def _off(measure: Measure, array: Array, other: Array) -> float:
    if not array.size:
        return 0.0
    return float(MEASURES[measure](array.astype(np.float64), other.astype(np.float64)))


def _over(difference: float, size: float) -> float:
    """Return a quotient; two arrays of nothing but zeros are no distance apart."""
    if size == 0:
        return 0.0 if difference == 0 else np.inf
    return difference / size


MEASURES: Mapping[Measure, Callable[[Array, Array], float]] = {
    "equal": lambda a, b: float(np.mean(a != b)),
    "zero": lambda a, b: float(max(np.abs(a).max(), np.abs(b).max())),
    "largest": lambda a, b: _over(float(np.abs(a - b).max()), float(np.abs(b).max())),
    "norm": lambda a, b: _over(float(np.linalg.norm(a - b)), float(np.linalg.norm(b))),
    "relative": lambda a, b: max(_over(abs(x - y), abs(y)) for x, y in _values(a, b)),
    "absolute": lambda a, b: float(np.abs(a - b).max()),
}


def _values(array: Array, other: Array) -> Iterator[tuple[float, float]]:
    return zip(array.ravel().tolist(), other.ravel().tolist(), strict=True)
