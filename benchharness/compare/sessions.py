"""Sessions of recorded trials: trials that ran without a long break between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchharness.results.comparisons import are_adjacent, ended_s, started_s
from benchharness.results.record import Record

# Trials with more idle time between them met another machine: it has had other work since. Data,
# weights and proofs make shorter breaks within a run, and too many sessions would claim too much.
_IDLE_S = 600.0


def sessions_of(records: Sequence[Record]) -> list[list[Record]]:
    """Return trials that ran without a long break, group by group, in order of time."""
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
        are_adjacent(one, counterparts[one["trial"]], run)
        for one in ours
        if one["trial"] in counterparts
    )
