"""What comparing two sides has found: cell by cell, and as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.regression.criteria import Criteria
from benchharness.regression.verdict import FEWEST_PAIRS, Sample, Verdict, judge
from benchharness.results.record import Record

OK, FAILED, REGRESSION, UNDECIDABLE = 0, 1, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CellComparison:
    """One cell of A against its counterpart of B.

    Attributes:
        label: For people.
        identity: As JSON knows it.
        verdicts: Of each column that both sides know.
        proof: Of equal work, ``proven`` or what is not; empty where nobody asked.
        failure: Why it cannot be compared; empty where it can.
        is_skipped: Whether neither side can do it: no fault, and nothing to compare.
    """

    label: str
    identity: Mapping[str, Any]
    verdicts: tuple[Verdict, ...] = ()
    proof: str = ""
    failure: str = ""
    is_skipped: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            **self.identity,
            "proof": self.proof,
            "failure": self.failure,
            "skipped": self.is_skipped,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that was found.

    Attributes:
        a: What A is.
        b: What B is.
        how: ``interleaved``, ``same run`` or ``recorded``.
        machine: For people.
        notes: What a reader must know of it, a sentence each.
        minutes: Of all trials; None for recorded runs.
        folder: Of the run; empty for recorded ones.
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

    @property
    def exit_code(self) -> int:
        """0 nothing worse, 1 cells that failed, 3 a regression, 4 undecidable; worst first."""
        if any(verdict.is_worse for _, verdict in self.verdicts()):
            return REGRESSION
        if any(cell.failure and not cell.is_skipped for cell in self.cells):
            return FAILED
        return UNDECIDABLE if any(v.is_open for _, v in self.verdicts()) else OK

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
            "cells": [cell.as_dict() for cell in self.cells],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The trials of a cell on both sides.

    Attributes:
        is_paired: Whether those of one index ran next to each other, with one seed.
        drift: How far equal code may differ in speed otherwise, a share.
    """

    ours: Sequence[Record]
    theirs: Sequence[Record]
    is_paired: bool = True
    drift: float = 0.0

    def sample(self, quantity: Quantity) -> Sample | None:
        """Return how much worse B is in a column; None where not both know it."""
        if not self.is_paired:
            ours, theirs = (_values(side, quantity) for side in (self.ours, self.theirs))
            return (
                Sample.unpaired(quantity, [*ours.values()], [*theirs.values()], drift=self.drift)
                if ours and theirs
                else None
            )
        ours, theirs = _values(self.ours, quantity), _values(self.theirs, quantity)
        pairs = [(ours[index], theirs[index]) for index in sorted(ours.keys() & theirs.keys())]
        return Sample.paired(quantity, pairs) if pairs else None

    def verdicts(self, criteria: Criteria, benchmark: str) -> tuple[Verdict, ...]:
        """Return what is said of each column that both sides know."""
        found = []
        for quantity in criteria.quantities:
            sample = self.sample(quantity)
            if sample is not None:
                threshold = criteria.threshold(benchmark, quantity.name)
                if quantity.kind == "accuracy":
                    threshold = max(threshold, _resolution([*self.ours, *self.theirs], quantity))
                required = criteria.is_required(quantity)
                found.append(judge(sample, threshold=threshold, is_required=required))
        return tuple(found if criteria.is_chosen else _with_one_required(found))

    def failure(self) -> str:
        """Return why the first trial that is not ok is not; empty where all are."""
        for side, records in (("A", self.ours), ("B", self.theirs)):
            for record in records:
                if record["status"] != "ok":
                    reason = record.get("reason") or record["status"]
                    return f"{side}, trial {record['trial']}: {record['status']}: {reason}"
        return ""

    @property
    def is_skipped(self) -> bool:
        """Whether neither side can do the work."""
        records = [*self.ours, *self.theirs]
        return bool(records) and all(record["status"] == "skipped" for record in records)


def _values(records: Sequence[Record], quantity: Quantity) -> dict[int, float]:
    """Return what is known of a column, by trial."""
    found = {}
    for record in records:
        value = record["metrics"].get(quantity.name)
        if value is None or record["status"] != "ok" or not math.isfinite(value):
            continue
        if quantity.kind != "accuracy" and value <= 0:
            continue
        # What an earlier trial took to extract tells nothing of this one.
        if quantity.name.startswith("extract_") and record["metrics"].get("extract_reused"):
            continue
        found[record["trial"]] = float(value)
    return found


def _with_one_required(verdicts: Sequence[Verdict]) -> Iterator[Verdict]:
    """Yield verdicts, those of alternatives no longer required where one of them decides."""
    alternatives = [v for v in verdicts if QUANTITIES[v.column].is_alternative]
    is_decided = any(v.word != "undecidable" for v in alternatives)
    for verdict in verdicts:
        is_moot = is_decided and QUANTITIES[verdict.column].is_alternative
        yield replace(verdict, is_required=verdict.is_required and not is_moot)


def _resolution(records: Sequence[Record], quantity: Quantity) -> float:
    """Return the difference of accuracy that so few images cannot show.

    Both sides see the same images. Where they disagree on some, chance alone has all of those in
    A's favour less than one time in 64 only if they are six or more.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages" (1947): what both sides agree on tells nothing.
    """
    split = quantity.name.removesuffix("_top1")
    counts = [record.get(f"{split}_count") for record in records]
    known = [count for count in counts if count]
    return FEWEST_PAIRS / min(known) if known else 0.0


def unproven(cells: Sequence[CellComparison]) -> dict[str, list[str]]:
    """Return the verdicts on equal work that are no proof, each with its cells."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.proof not in ("", "proven"):
            found.setdefault(cell.proof, []).append(cell.label)
    return found
