"""Two backends on one line of the table, compared trial by trial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchharness.measure.accuracy import Difference, Score, accuracy_difference
from benchharness.measure.statistics import Ratio, paired_ratio
from benchharness.results.cells import Cell, worst_proof
from benchharness.results.record import Record

Couple = tuple[Record, Record]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two cells that differ in their backend alone.

    Trials of one index belong together: they have one seed and ran next to each other.
    """

    ours: Cell
    theirs: Cell

    @property
    def swapped(self) -> Pair:
        """The pair seen from the other side."""
        return Pair(ours=self.theirs, theirs=self.ours)

    @property
    def proof(self) -> str:
        """The worst verdict on the pair that a trial of either holds; empty where unknown."""
        return worst_proof(
            (
                self.ours.proof_against(self.theirs.backend),
                self.theirs.proof_against(self.ours.backend),
            )
        )

    @property
    def rate(self) -> str:
        """The metric of the work's speed, in images/s."""
        is_feeding = self.ours.strategy == "dataset"
        return "feed_images_per_s" if is_feeding else "train_images_per_s"

    @property
    def is_target_met(self) -> bool:
        """Whether there is a target, and every ok trial of both has reached it."""
        return self.ours.target_misses == 0 and self.theirs.target_misses == 0

    def ratios(self, metric: str) -> dict[int, float]:
        """Return ours / theirs by trial index, where both know the metric, which is positive."""
        return _quotients(metric, self._couples(metric))

    def speed(self) -> Ratio | None:
        """Return how many times as fast ours works; None without a common trial."""
        return _ratio(self.ratios(self.rate))

    def speed_to_target(self) -> Ratio | None:
        """Return how many times as soon ours reaches the target; None without a common trial."""
        ratio = _ratio(self.ratios("time_to_top1_s"))
        return None if ratio is None else ratio.inverse

    def extraction(self) -> Ratio | None:
        """Return how many times as fast ours extracts features, where both really did."""
        metric = "extract_images_per_s"
        couples = (couple for couple in self._couples(metric) if all(map(_has_extracted, couple)))
        return _ratio(_quotients(metric, couples))

    def computation(self) -> Ratio | None:
        """Return how many times as fast ours computes a step; None without a common trial."""
        ratio = _ratio(self.ratios("compute_ms"))
        return None if ratio is None else ratio.inverse

    def accuracy(self) -> Accuracy | None:
        """Return the final accuracies; None where no common trial of known size was scored."""
        return self._accuracy("test") or self._accuracy("validation")

    def _accuracy(self, split: str) -> Accuracy | None:
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
            difference=accuracy_difference(ours, theirs),
        )

    def _couples(self, metric: str) -> Iterator[Couple]:
        known = {one["trial"]: one for one in self.theirs.ok if _knows(one, metric)}
        for one in self.ours.ok:
            if _knows(one, metric) and one["trial"] in known:
                yield one, known[one["trial"]]


def _knows(record: Record, metric: str) -> bool:
    return record["metrics"].get(metric) is not None


def _has_extracted(record: Record) -> bool:
    return record["metrics"].get("extract_reused") is False


def _quotients(metric: str, couples: Iterable[Couple]) -> dict[int, float]:
    return {
        ours["trial"]: ours["metrics"][metric] / theirs["metrics"][metric]
        for ours, theirs in couples
    }


def _ratio(ratios: dict[int, float]) -> Ratio | None:
    return paired_ratio(list(ratios.values()), [1.0] * len(ratios)) if ratios else None
