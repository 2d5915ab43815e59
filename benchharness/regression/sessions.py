"""Sessions of recorded trials: trials that ran without a long break between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from benchharness.results.record import Record

# Trials with more idle time between them met another machine: it has had other work since.
_IDLE_S = 600.0


def sessions_of(records: Sequence[Record]) -> list[list[Record]]:
    """Return trials that ran without a long break, group by group, in order of time."""
    ordered = sorted(records, key=_started)
    groups = [ordered[:1]] if ordered else []
    for before, after in pairwise(ordered):
        if _started(after) - _ended(before) > _IDLE_S:
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
    sessions = {
        record["started"]: place for place, one in enumerate(sessions_of(run)) for record in one
    }
    counterparts = {record["trial"]: record for record in theirs}
    pairs = [(one, counterparts[one["trial"]]) for one in ours if one["trial"] in counterparts]
    return all(
        sessions[one["started"]] == sessions[other["started"]]
        and all(between["trial"] == one["trial"] for between in _between(one, other, run))
        for one, other in pairs
    )


def _between(one: Record, other: Record, run: Sequence[Record]) -> Iterator[Record]:
    first, last = sorted((_started(one), _started(other)))
    return (record for record in run if first < _started(record) < last)


def _started(record: Record) -> float:
    """Return when a trial began, in seconds; records name no zone where they mean UTC."""
    time = datetime.fromisoformat(record["started"])
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _ended(record: Record) -> float:
    return _started(record) + (record["metrics"].get("wall_s") or 0.0)
