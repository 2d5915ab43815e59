"""Two backends on one line of the table, compared trial by trial."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from benchharness.measure.accuracy import Difference, Score, accuracy_difference
from benchharness.measure.sequential import confidence
from benchharness.measure.statistics import Ratio, paired_ratio, unpaired_ratio
from benchharness.report.rows import Line
from benchharness.results.cells import worst_proof
from benchharness.results.comparisons import Comparison, Speed, log_speed
from benchharness.results.record import Record

CellPair = tuple[Record, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The final accuracies of a pair.

    Attributes:
        split: ``test``, or ``validation`` where there is no test.
        ours: Score of each paired trial.
    """

    split: str
    ours: tuple[Score, ...]
    theirs: tuple[Score, ...]
    difference: Difference


@dataclass(frozen=True, eq=False)
class Pair(Comparison):
    """Two backends on one line of the table, with the ratios that a report prints."""

    @property
    def swapped(self) -> Pair:
        """The pair seen from the other side."""
        return Pair(self.theirs, self.ours, self.line)

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes kept the machine busy during a trial that is compared."""
        compared = (
            chain(self.ours.ok, self.theirs.ok) if self.is_separate_run else chain(*self.couples)
        )
        return any(trial.get("is_disturbed") for trial in compared)

    @property
    def proof(self) -> str:
        """The worst verdict on the pair that a trial of either holds; empty where unknown."""
        return worst_proof(
            (
                self.ours.proof_against(self.theirs.backend),
                self.theirs.proof_against(self.ours.backend),
            )
        )

    def ratio(self, speed: Speed | None = None) -> Ratio | None:
        """Return how many times as fast ours is; None where no trials can be compared.

        Where the sides ran at different times, their trials are compared unpaired.

        Args:
            speed: By default that of ``metric``.
        """
        if self.is_separate_run:
            sides = self.sides(speed)
            return unpaired_ratio(*sides) if all(sides) else None
        logs = self.logs(speed)
        if not logs:
            return None
        level = confidence(len(logs), max_trials=self.max_trials)
        return replace(paired_ratio(logs), confidence=level)

    def speed(self) -> Ratio | None:
        """Return how many times as fast ours works."""
        return self.ratio(log_speed(self.rate))

    def extraction(self) -> Ratio | None:
        """Return how many times as fast ours extracts features, where both really did."""
        extract = log_speed("extract_images_per_s")
        return self.ratio(lambda trial: extract(trial) if _has_extracted(trial) else None)

    def computation(self) -> Ratio | None:
        """Return how many times as fast ours computes a step."""
        return self.ratio(log_speed("compute_ms"))

    def accuracy(self, *, comparisons: int = 1) -> Accuracy | None:
        """Return the final accuracies; None where no common trial of known size was scored.

        Args:
            comparisons: How many of them a report makes.
        """
        return self._accuracy("test", comparisons) or self._accuracy("validation", comparisons)

    def _accuracy(self, split: str, comparisons: int) -> Accuracy | None:
        couples = (
            [Score.of_record(record, split) for record in couple]
            for couple in self._couples(f"{split}_top1")
        )
        known = [(one, other) for one, other in couples if one and other]
        if not known:
            return None
        ours, theirs = zip(*known, strict=True)
        return Accuracy(
            split=split,
            ours=ours,
            theirs=theirs,
            difference=accuracy_difference(ours, theirs, comparisons=comparisons),
        )

    def _couples(self, metric: str) -> Iterator[CellPair]:
        known = {one["trial"]: one for one in self.theirs.ok if _knows(one, metric)}
        for one in self.ours.ok:
            if _knows(one, metric) and one["trial"] in known:
                yield one, known[one["trial"]]


def pairs_of(line: Line) -> list[Pair]:
    """Return every two backends of a line that have trials to compare, the earlier one as ours."""
    cells = line.recorded
    pairs = (Pair(ours, theirs, cells) for ours, theirs in combinations(cells, 2))
    return [pair for pair in pairs if pair.ratio()]


def _knows(record: Record, metric: str) -> bool:
    return record["metrics"].get(metric) is not None


def _has_extracted(record: Record) -> bool:
    return record["metrics"].get("extract_reused") is False
