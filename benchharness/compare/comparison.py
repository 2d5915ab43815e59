"""Comparison of two sides: the verdicts of every cell, the exit code and the notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.compare.sampling import Scatter
from benchharness.compare.verdict import Verdict

OK, FAILED, REGRESSION, UNDECIDABLE = 0, 1, 3, 4
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class CellComparison:
    """One cell of A against its counterpart of B.

    Attributes:
        label: For people.
        identity: As JSON knows it.
        verdicts: On each column that both sides have.
        proof: Of equal work, ``proven`` or what is not; empty if not requested.
        failure: Why it cannot be compared; empty if it can.
        scatter: Of its epochs within and between trials; None if unknown.
        is_skipped: Whether neither side can do it: no fault, and nothing to compare.
    """

    label: str
    identity: Mapping[str, Any]
    verdicts: tuple[Verdict, ...] = ()
    proof: str = ""
    failure: str = ""
    scatter: Scatter | None = None
    is_skipped: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            **self.identity,
            "proof": self.proof,
            "failure": self.failure,
            "skipped": self.is_skipped,
            "scatter": self.scatter.as_dict() if self.scatter else None,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        a: What A is.
        b: What B is.
        how: ``interleaved``, ``same run`` or ``recorded``.
        machine: For people.
        notes: For the reader, a sentence each.
        minutes: Of all trials; None for recorded runs.
        folder: Of the run; empty for recorded runs.
        disturbed: How many trials were timed while other processes kept the machine busy.
    """

    suite: str
    a: str
    b: str
    how: str
    machine: str
    cells: tuple[CellComparison, ...]
    notes: tuple[str, ...] = ()
    minutes: float | None = None
    folder: str = ""
    disturbed: int = 0

    @property
    def exit_code(self) -> int:
        """0 nothing worse, 1 cells that failed, 3 a regression, 4 undecidable; worst first."""
        if any(verdict.is_worse for _, verdict in self.verdicts()):
            return REGRESSION
        if any(cell.failure and not cell.is_skipped for cell in self.cells):
            return FAILED
        return UNDECIDABLE if any(v.is_undecided for _, v in self.verdicts()) else OK

    def verdicts(self) -> Iterator[tuple[CellComparison, Verdict]]:
        """Yield every verdict with its cell."""
        for cell in self.cells:
            for verdict in cell.verdicts:
                yield cell, verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the contents of comparison.json."""
        return {
            "format": 1,
            "suite": self.suite,
            "a": self.a,
            "b": self.b,
            "how": self.how,
            "machine": self.machine,
            "exit_code": self.exit_code,
            "minutes": self.minutes,
            "folder": self.folder,
            "notes": list(self.notes),
            "disturbed": self.disturbed,
            "cells": [cell.as_dict() for cell in self.cells],
        }


def proof_notes(cells: Sequence[CellComparison], *, overridden: str = "") -> Iterator[str]:
    """Yield where the sides do different work, or are not proven to do the same.

    Args:
        overridden: The settings in which they differ because the user compares them.
    """
    unproven: dict[str, list[str]] = {}
    for cell in cells:
        if cell.proof not in ("", "proven"):
            unproven.setdefault(cell.proof, []).append(cell.label)
    for verdict, labels in unproven.items():
        why = verdict
        if len(why) > _LONGEST_REASON:
            why = f"{verdict[: _LONGEST_REASON - 3]}..."
        if overridden:
            yield f"not the same work, required by {overridden}: {', '.join(labels)}"
        else:
            yield f"not proven to be the same work: {', '.join(labels)}: {why}"


def version_notes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the versions that differ between the environments of two runs."""
    for name in ("python", "system"):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: A {ours.get(name)}, B {theirs.get(name)}"
    a, b = ours.get("packages", {}), theirs.get("packages", {})
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            yield f"{name}: A {a.get(name, 'absent')}, B {b.get(name, 'absent')}"
