"""Which trials of a plan are still to be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from benchharness.results.record import Record

SUCCESS = ("ok", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingTrials:
    """What a run has, and so what it lacks.

    Attributes:
        finished: The status of each trial that has a record, by its id.
        only_failed: Whether to repeat what failed, rather than to do what is missing.
    """

    finished: Mapping[str, str] = field(default_factory=dict)
    only_failed: bool = False

    @classmethod
    def of(cls, records: Iterable[Record], *, only_failed: bool) -> Self:
        """Return what a run with these records lacks."""
        return cls(
            finished={record["id"]: record["status"] for record in records},
            only_failed=only_failed,
        )

    def has(self, trial_id: str) -> bool:
        """Whether a trial is still to be run."""
        status = self.finished.get(trial_id)
        if self.only_failed:
            return status is not None and status not in SUCCESS
        return status is None

    def count(self, *, of: int) -> int:
        """Return how many of so many trials are still to be run."""
        if self.only_failed:
            return sum(status not in SUCCESS for status in self.finished.values())
        return max(0, of - len(self.finished))
