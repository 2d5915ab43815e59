"""Comparison of two sides: the verdicts of every cell, the exit code and the notes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchharness.compare.sampling import Scatter
from benchharness.compare.verdict import Verdict
from benchharness.model.cell import CellName

OK, FAILED, REGRESSION, UNDECIDABLE = 0, 1, 3, 4
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class CellComparison:
    """One cell of A against its counterpart of B.

    Attributes:
        identity: As JSON knows it.
        proof: Of equal work, ``proven`` or what is not; empty if not requested.
        failure: Why it cannot be compared; empty if it can.
        scatter: Of its epochs; None if unknown.
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
            "scatter": asdict(self.scatter) if self.scatter else None,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        how: ``interleaved``, ``same run`` or ``recorded``.
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
        verdicts = [verdict for _, verdict in self.verdicts()]
        if any(verdict.is_worse for verdict in verdicts):
            return REGRESSION
        if any(cell.failure and not cell.is_skipped for cell in self.cells):
            return FAILED
        is_all_skipped = all(cell.is_skipped for cell in self.cells)
        is_nothing_measured = not verdicts and not is_all_skipped
        is_undecided = any(verdict.is_undecided for verdict in verdicts)
        return UNDECIDABLE if is_undecided or is_nothing_measured else OK

    def verdicts(self) -> Iterator[tuple[CellComparison, Verdict]]:
        """Yield every verdict with its cell."""
        for cell in self.cells:
            for verdict in cell.verdicts:
                yield cell, verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the contents of comparison.json."""
        described = asdict(self)
        del described["cells"]
        cells = [cell.as_dict() for cell in self.cells]
        return {"format": 1, **described, "exit_code": self.exit_code, "cells": cells}


def identity_of(label: str, cell: CellName, *, rival: str) -> dict[str, Any]:
    """Return what identifies a cell of A and its rival, the backend of B, as JSON knows it."""
    return {
        "cell": label,
        "benchmark": cell.benchmark,
        "matrix": dict(cell.matrix),
        "track": cell.track,
        "backends": [cell.backend, rival],
    }


def proof_notes(cells: Sequence[CellComparison], *, overridden: str = "") -> Iterator[str]:
    """Yield where the sides do other work than proven, or differ in what the user overrides."""
    unproven = defaultdict(list)
    for cell in cells:
        if cell.proof not in ("", "proven"):
            unproven[cell.proof].append(cell.label)
    for proof, labels in unproven.items():
        if overridden:
            yield f"not the same work, required by {overridden}: {', '.join(labels)}"
        else:
            is_short = len(proof) <= _LONGEST_REASON
            why = proof if is_short else f"{proof[: _LONGEST_REASON - 3]}..."
            yield f"not proven to be the same work: {', '.join(labels)}: {why}"
