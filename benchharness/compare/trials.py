"""Trials of a cell on both sides: their pairs, sessions and samples, and the verdicts on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from benchharness.compare.verdict import (
    MISSES,
    WORDS,
    Criteria,
    Sample,
    Verdict,
    decide,
    decide_misses,
)
from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.results.comparisons import are_adjacent, ended_s, started_s
from benchharness.results.record import Record

# Sessions of either side from which medians of sessions are compared: with fewer, not even the most
# extreme order is rare enough.
FEWEST_SESSIONS = 3
# Trials with more idle time between them met another machine: it has had other work since. Data,
# weights and proofs make shorter breaks within a run, and too many sessions would claim too much.
_IDLE_S = 600.0
# Images on which equally good networks disagree, all in favour of one: once in 64 times.
_FEWEST_IMAGES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Trials of a cell on both sides.

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
        """Share by which B's speed may differ from A's without a change of code.

        0 if trials are paired, and if both sides ran at several times: the differences between
        these are then part of the data.
        """
        return 0.0 if self.is_paired or min(self.sessions) >= FEWEST_SESSIONS else self.drift

    @property
    def is_skipped(self) -> bool:
        """Whether neither side can do the work."""
        records = [*self.ours, *self.theirs]
        return bool(records) and all(record["status"] == "skipped" for record in records)

    def failure(self) -> str:
        """Return why the first trial that is not ok is not; empty if all are."""
        for side, records in (("A", self.ours), ("B", self.theirs)):
            for record in records:
                if record["status"] != "ok":
                    reason = record.get("reason") or record["status"]
                    return f"{side}, trial {record['trial']}: {record['status']}: {reason}"
        return ""

    def sample(self, quantity: Quantity) -> Sample | None:
        """Return how much worse B is in a column; None unless both sides have it."""
        ours, theirs = _values(self.ours, quantity), _values(self.theirs, quantity)
        if self.is_paired:
            pairs = [(ours[index], theirs[index]) for index in sorted(ours.keys() & theirs.keys())]
            return Sample.paired(quantity, pairs) if pairs else None
        if not ours or not theirs:
            return None
        if quantity.kind == "speed" and min(self.sessions) >= FEWEST_SESSIONS:
            # Trials of one session share the state of the machine, and count as one.
            by_session = (_medians(self.ours, quantity), _medians(self.theirs, quantity))
            return Sample.unpaired(quantity, *by_session, drift=0.0)
        return Sample.unpaired(quantity, [*ours.values()], [*theirs.values()], drift=self.allowance)

    def verdicts(
        self, criteria: Criteria, benchmark: str, *, level: float, level_of_misses: float
    ) -> tuple[Verdict, ...]:
        """Return the verdict on each column that both sides have.

        Args:
            criteria: What counts as worse.
            benchmark: Name.
            level: How often each end of an interval may err at this look.
            level_of_misses: How often a word on missed targets may.
        """
        verdicts = []
        for quantity in criteria.quantities:
            sample = self.sample(quantity)
            if sample is None:
                continue
            threshold = criteria.threshold(benchmark, quantity.name, drift=self.allowance)
            if quantity.kind == "accuracy":
                threshold = max(threshold, _resolution([*self.ours, *self.theirs], quantity))
            required = criteria.is_required(quantity)
            verdicts.append(decide(sample, threshold=threshold, level=level, is_required=required))
        for quantity in criteria.targets:
            misses = self._misses(quantity, level_of_misses, is_required=criteria.is_chosen)
            verdicts += [misses] if misses is not None else []
        return tuple(_drop_moot_requirements(verdicts, is_chosen=criteria.is_chosen))

    def _misses(self, quantity: Quantity, level: float, *, is_required: bool) -> Verdict | None:
        """Return which side misses a target more often.

        None if neither ever does; unless it is required and there are too few trials to say so.
        """
        ours, theirs = (
            {index: math.isinf(value) for index, value in _values(side, quantity).items()}
            for side in (self.ours, self.theirs)
        )
        if self.is_paired:
            both = sorted(ours.keys() & theirs.keys())
            ours, theirs = ({index: side[index] for index in both} for side in (ours, theirs))
        verdict = decide_misses(
            [*ours.values()],
            [*theirs.values()],
            is_paired=self.is_paired,
            level=level,
            is_required=is_required and bool(ours) and bool(theirs),
        )
        are_any = any(ours.values()) or any(theirs.values())
        return verdict if are_any or verdict.is_undecided else None


def sessions_of(records: Sequence[Record]) -> list[list[Record]]:
    """Return trials in groups without a long break, in order of time."""
    ordered = sorted(records, key=started_s)
    groups = [ordered[:1]] if ordered else []
    for before, after in pairwise(ordered):
        if started_s(after) - ended_s(before) > _IDLE_S:
            groups.append([])
        groups[-1].append(after)
    return groups


def ran_in_turn(ours: Sequence[Record], theirs: Sequence[Record], *, run: Sequence[Record]) -> bool:
    """Return whether the trials of each index ran next to each other.

    Args:
        ours: Trials of one cell.
        theirs: Of another cell of the same run.
        run: All trials of that run, these among them.
    """
    counterparts = {record["trial"]: record for record in theirs}
    return all(
        are_adjacent(record, counterparts[record["trial"]], run)
        for record in ours
        if record["trial"] in counterparts
    )


def _values(records: Sequence[Record], quantity: Quantity) -> dict[int, float]:
    """Return the values of a column by trial; infinity if its target was never reached."""
    values = {}
    for record in records:
        value = record["metrics"].get(quantity.name)
        # Trials without epochs have no target.
        has_target = bool(quantity.target) and record["settings"].get(quantity.target) is not None
        if value is None and record["status"] == "ok" and has_target:
            values[record["trial"]] = math.inf
            continue
        if value is None or record["status"] != "ok" or not math.isfinite(value):
            continue
        if quantity.kind != "accuracy" and value <= 0:
            continue
        # The extraction time of an earlier trial says nothing about this one.
        if quantity.name.startswith("extract_") and record["metrics"].get("extract_reused"):
            continue
        values[record["trial"]] = float(value)
    return values


def _medians(records: Sequence[Record], quantity: Quantity) -> list[float]:
    """Return the median of a column in each session."""
    values = (_values(session, quantity).values() for session in sessions_of(records))
    return [median(known) for known in values if known]


def _drop_moot_requirements(verdicts: Sequence[Verdict], *, is_chosen: bool) -> Iterator[Verdict]:
    """Yield verdicts, those no longer required that others make superfluous.

    If it is decided who misses a target more often, the time to it need not be. Of alternatives one
    has to be decided, unless the user chose the columns.
    """
    are_misses_decided = any(v.column == MISSES and v.word in WORDS["misses"] for v in verdicts)
    decided = [
        QUANTITIES[v.column]
        for v in verdicts
        if v.kind != "misses" and QUANTITIES[v.column].is_alternative and v.word != "undecidable"
    ]
    for verdict in verdicts:
        quantity = QUANTITIES.get(verdict.column)
        is_moot = False
        if quantity is not None:
            # The fastest epochs know nothing of what slows down some of the others.
            is_replaced = any(not (q.is_best_case and verdict.may_be_worse) for q in decided)
            is_moot = (bool(quantity.target) and are_misses_decided) or (
                not is_chosen and quantity.is_alternative and is_replaced
            )
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
    return _FEWEST_IMAGES / min(known) if known else 0.0
