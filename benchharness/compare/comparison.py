"""What comparing two sides has found: cell by cell, and as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchharness.compare.criteria import Criteria
from benchharness.compare.scatter import Scatter
from benchharness.compare.sessions import sessions_of
from benchharness.compare.verdict import MISSES, Sample, Verdict, judge, judge_misses
from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.results.record import Record

OK, FAILED, REGRESSION, UNDECIDABLE = 0, 1, 3, 4
# Images on which equally good networks disagree, all in favour of one: once in 64 times.
_FEWEST_IMAGES = 6
# Words on misses after which nobody need time what is missed.
_TELLING = ("missed", "reached")
# Times of either side at which trials ran: of fewer not even the most extreme order is rare enough.
FEWEST_SESSIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CellComparison:
    """One cell of A against its counterpart of B.

    Attributes:
        label: For people.
        identity: As JSON knows it.
        verdicts: Of each column that both sides know.
        proof: Of equal work, ``proven`` or what is not; empty where nobody asked.
        failure: Why it cannot be compared; empty where it can.
        scatter: Of its epochs within and between trials; None where unknown.
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
    """Everything that was found.

    Attributes:
        a: What A is.
        b: What B is.
        how: ``interleaved``, ``same run`` or ``recorded``.
        machine: For people.
        notes: What a reader must know of it, a sentence each.
        minutes: Of all trials; None for recorded runs.
        folder: Of the run; empty for recorded ones.
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
            "disturbed": self.disturbed,
            "cells": [cell.as_dict() for cell in self.cells],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The trials of a cell on both sides.

    Attributes:
        is_paired: Whether those of one index ran next to each other, with one seed.
        drift: How far equal code may differ in speed between two times, a share.
    """

    ours: Sequence[Record]
    theirs: Sequence[Record]
    is_paired: bool = True
    drift: float = 0.0

    @property
    def sessions(self) -> tuple[int, int]:
        """At how many different times A and B ran."""
        return len(sessions_of(self.ours)), len(sessions_of(self.theirs))

    @property
    def allowance(self) -> float:
        """How far B's speed may differ from A's for another reason than the code, a share.

        0 where trials are paired, and where both sides ran at several times, for then the
        differences between these are seen.
        """
        return 0.0 if self.is_paired or min(self.sessions) >= FEWEST_SESSIONS else self.drift

    def sample(self, quantity: Quantity) -> Sample | None:
        """Return how much worse B is in a column; None where not both know it."""
        ours, theirs = _values(self.ours, quantity), _values(self.theirs, quantity)
        if self.is_paired:
            pairs = [(ours[index], theirs[index]) for index in sorted(ours.keys() & theirs.keys())]
            return Sample.paired(quantity, pairs) if pairs else None
        if not ours or not theirs:
            return None
        if quantity.kind == "speed" and min(self.sessions) >= FEWEST_SESSIONS:
            # Trials of one time share what the machine was like then, and count as one.
            by_session = (_medians(self.ours, quantity), _medians(self.theirs, quantity))
            return Sample.unpaired(quantity, *by_session, drift=0.0)
        both = ([*ours.values()], [*theirs.values()])
        return Sample.unpaired(quantity, *both, drift=self.allowance)

    def misses(self, quantity: Quantity, *, level: float, is_required: bool) -> Verdict | None:
        """Return which side misses a column's target more often.

        None where neither ever does; unless it is required and there are too few trials to say so.
        """
        ours, theirs = (
            {index: math.isinf(value) for index, value in _values(side, quantity).items()}
            for side in (self.ours, self.theirs)
        )
        if self.is_paired:
            both = sorted(ours.keys() & theirs.keys())
            ours, theirs = ({index: side[index] for index in both} for side in (ours, theirs))
        found = judge_misses(
            [*ours.values()],
            [*theirs.values()],
            is_paired=self.is_paired,
            level=level,
            is_required=is_required and bool(ours) and bool(theirs),
        )
        are_any = any(ours.values()) or any(theirs.values())
        return found if are_any or found.is_open else None

    def verdicts(
        self, criteria: Criteria, benchmark: str, *, level: float, level_of_misses: float
    ) -> tuple[Verdict, ...]:
        """Return what is said of each column that both sides know.

        Args:
            criteria: What counts as worse.
            benchmark: Name.
            level: How often each end of an interval may err at this look.
            level_of_misses: How often a word on missed targets may.
        """
        found = []
        for quantity in criteria.quantities:
            sample = self.sample(quantity)
            if sample is not None:
                threshold = criteria.threshold(benchmark, quantity.name, drift=self.allowance)
                if quantity.kind == "accuracy":
                    threshold = max(threshold, _resolution([*self.ours, *self.theirs], quantity))
                required = criteria.is_required(quantity)
                found.append(judge(sample, threshold=threshold, level=level, is_required=required))
        for quantity in criteria.targets:
            misses = self.misses(quantity, level=level_of_misses, is_required=criteria.is_chosen)
            found += [misses] if misses is not None else []
        return tuple(_without_moot(found, is_chosen=criteria.is_chosen))

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
    """Return what is known of a column, by trial; infinity where its target was never reached."""
    found = {}
    for record in records:
        value = record["metrics"].get(quantity.name)
        if value is None and record["status"] == "ok" and _has_target(record, quantity):
            found[record["trial"]] = math.inf
            continue
        if value is None or record["status"] != "ok" or not math.isfinite(value):
            continue
        if quantity.kind != "accuracy" and value <= 0:
            continue
        # What an earlier trial took to extract tells nothing of this one.
        if quantity.name.startswith("extract_") and record["metrics"].get("extract_reused"):
            continue
        found[record["trial"]] = float(value)
    return found


def _medians(records: Sequence[Record], quantity: Quantity) -> list[float]:
    """Return the median of a column at each time at which trials ran."""
    values = (_values(session, quantity).values() for session in sessions_of(records))
    return [median(known) for known in values if known]


def _has_target(record: Record, quantity: Quantity) -> bool:
    """Return whether a trial was to reach a value in time; without epochs there is nothing to."""
    return bool(quantity.target) and record["settings"].get(quantity.target) is not None


def _without_moot(verdicts: Sequence[Verdict], *, is_chosen: bool) -> Iterator[Verdict]:
    """Yield verdicts, those no longer required that others make superfluous.

    Who misses a target more often need not be timed. Of alternatives one has to be decided, where
    nobody has chosen them.
    """
    are_misses_decided = any(v.column == MISSES and v.word in _TELLING for v in verdicts)
    decided = [QUANTITIES[v.column] for v in verdicts if v.kind != "misses" and _decides(v)]
    for verdict in verdicts:
        quantity = QUANTITIES.get(verdict.column)
        is_moot = quantity is not None and (
            (bool(quantity.target) and are_misses_decided)
            or (not is_chosen and quantity.is_alternative and _is_replaced(verdict, decided))
        )
        yield replace(verdict, is_required=verdict.is_required and not is_moot)


def _decides(verdict: Verdict) -> bool:
    return QUANTITIES[verdict.column].is_alternative and verdict.word != "undecidable"


def _is_replaced(verdict: Verdict, decided: Sequence[Quantity]) -> bool:
    """Return whether a decided alternative speaks for an undecided one too.

    The fastest epochs know nothing of what slows down some of the others.
    """
    return any(not (one.is_best_case and verdict.may_be_worse) for one in decided)


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
    return _FEWEST_IMAGES / min(known) if known else 0.0


def unproven(cells: Sequence[CellComparison]) -> dict[str, list[str]]:
    """Return the verdicts on equal work that are no proof, each with its cells."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.proof not in ("", "proven"):
            found.setdefault(cell.proof, []).append(cell.label)
    return found
