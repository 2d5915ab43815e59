"""Pairs of backends: ratios trial by trial, their means, and what they decide together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import NamedTuple

from benchharness.measure.accuracy import AccuracyDifference, Score, accuracy_difference
from benchharness.measure.sequential import FEWEST, DecisionRule, SpeedVerdict, confidence, rule_for
from benchharness.measure.statistics import Ratio, mean_ratio, paired_ratio, unpaired_ratio
from benchharness.report.rows import Row
from benchharness.results.cells import worst_proof
from benchharness.results.comparisons import (
    BackendPair,
    Speed,
    family_size,
    is_in_overall,
    log_speed,
    work_speed,
)
from benchharness.results.record import Record

MIRRORED: dict[SpeedVerdict, SpeedVerdict] = {"faster": "slower", "slower": "faster"}


class Measure(NamedTuple):
    """Something that can be faster: what is compared, and what the winner does."""

    noun: str
    verb: str
    adverb: str = "faster"


WORK = {
    "dataset": Measure("feeding throughput", "feeds"),
    "bottleneck": Measure("throughput of the head's training", "trains the head"),
}
TRAINING = Measure("training throughput", "trains")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedFinding:
    """Ratio of the speeds of A and B, and the verdict that the family of comparisons allows.

    The sides of a separate run ran at different times; disturbed ones ran beside other processes.
    """

    ratio: Ratio
    verdict: SpeedVerdict
    rule: DecisionRule
    comparisons: int
    is_separate_run: bool
    is_disturbed: bool

    @property
    def inverse(self) -> SpeedFinding:
        """The finding seen from the other side."""
        verdict = MIRRORED.get(self.verdict, self.verdict)
        return replace(self, ratio=self.ratio.inverse, verdict=verdict)


class Accuracy(NamedTuple):
    """The final accuracies of each paired trial, on ``test`` or ``validation`` images."""

    split: str
    a: tuple[Score, ...]
    b: tuple[Score, ...]
    difference: AccuracyDifference


@dataclass(frozen=True, eq=False)
class Pair(BackendPair):
    """Two backends in one row of the table, with the ratios that a report prints."""

    @property
    def swapped(self) -> Pair:
        """The pair seen from the other side."""
        return Pair(self.b, self.a, self.line)

    @property
    def measure(self) -> Measure:
        """What decides who is faster."""
        if not self.is_target_met:
            return self.work
        goal = f"{self.a.target_top1:g} validation top-1"
        return Measure(f"speed to {goal}", f"reaches {goal}", "sooner")

    @property
    def work(self) -> Measure:
        """What ``speed`` is of."""
        return WORK.get(self.a.strategy, TRAINING)

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes kept the machine busy during a trial that is compared."""
        compared = chain(self.a.ok, self.b.ok) if self.is_separate_run else chain(*self.couples)
        return any(trial.get("is_disturbed") for trial in compared)

    @property
    def proof(self) -> str:
        """The worst verdict on the pair that a trial of either holds; empty where unknown."""
        a, b = self.a, self.b
        return worst_proof((a.proof_against(b.backend), b.proof_against(a.backend)))

    def ratio(self, speed: Speed | None = None) -> Ratio | None:
        """Return how many times as fast A is, by default in ``metric``; None if unknown.

        Where the sides ran at different times, their trials are compared unpaired.
        """
        if self.is_separate_run:
            ratios = [unpaired_ratio(*sides) for sides in self.sides(speed)]
            return mean_ratio(ratios) if len(ratios) > 1 else next(iter(ratios), None)
        logs = self.logs(speed)
        if not logs:
            return None
        level = confidence(len(logs), max_trials=self.max_trials)
        return replace(paired_ratio(logs, self.hosts(speed)), confidence=level)

    def speed(self) -> Ratio | None:
        """Return how many times as fast A works."""
        return self.ratio(log_speed(self.rate))

    def extraction(self) -> Ratio | None:
        """Return how many times as fast A extracts features, where both really did."""
        extract = log_speed("extract_images_per_s")

        def speed(trial: Record) -> float | None:
            return extract(trial) if trial["metrics"].get("extract_reused") is False else None

        return self.ratio(speed)

    def accuracy(self, *, comparisons: int = 1) -> Accuracy | None:
        """Return the final accuracies; None without a common trial that was scored."""
        for split in ("test", "validation"):
            metric = f"{split}_top1"
            a, b = (
                {t["trial"]: t for t in cell.ok if t["metrics"].get(metric) is not None}
                for cell in (self.a, self.b)
            )
            # Merged runs repeat seeds, and two trainings from one seed are no two samples.
            by_seed: dict[object, tuple[Record, Record]] = {}
            for number, trial in a.items():
                if number in b:
                    by_seed.setdefault(trial.get("seed", number), (trial, b[number]))
            scores = [
                (Score.of_record(mine, split), Score.of_record(other, split))
                for mine, other in by_seed.values()
            ]
            if known := [(score, other) for score, other in scores if score and other]:
                mine, others = zip(*known, strict=True)
                difference = accuracy_difference(mine, others, comparisons=comparisons)
                return Accuracy(split, mine, others, difference)
        return None


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Two backends on all training benchmarks, at least two, of the equal track that both ran.

    What counts is the time of the work: training, and the extraction of features before it. The
    points of a benchmark's matrix are averaged first. Pairs whose sides ran at different times are
    left out.

    Attributes:
        machine: The short name of its kind, as rows have it.
        backends: Those of A and of B.
        proven: The pairs whose work was proven the same.
        counted: The ratio of each benchmark that has a vote.
        left_out: The pairs that have no vote, each with its reason; empty where all have one.
        measure: What the mean is of.
        max_trials: As that of a pair.
        is_disturbed: Whether the machine was busy during a trial behind a vote.
        is_separate_run: False: such pairs have no vote.
    """

    machine: str
    backends: tuple[str, str]
    proven: Sequence[Pair]
    counted: Mapping[str, Ratio]
    left_out: str
    measure: Measure
    max_trials: int | None
    is_disturbed: bool
    is_separate_run: bool = False

    @classmethod
    def of(cls, pairs: Sequence[Pair], machine: str) -> Mean:
        """Return the mean of the pairs of two backends on one kind of machine."""
        proven = [pair for pair in pairs if pair.proof == "proven"]
        ratios = {
            pair: ratio
            for pair in proven
            if not pair.is_separate_run and (ratio := pair.ratio(work_speed))
        }
        # A benchmark with few trials would take the certainty from all others.
        needed = min(FEWEST, max((ratio.trials for ratio in ratios.values()), default=0))
        voting = {pair: ratio for pair, ratio in ratios.items() if ratio.trials >= needed}
        points: dict[str, list[Ratio]] = {}
        for pair, ratio in voting.items():
            points.setdefault(pair.a.benchmark, []).append(ratio)
        reasons = {pair.a.benchmark: _no_vote(pair) for pair in pairs if pair not in voting}
        extraction = " with extraction" if any(pair.a.is_extracting for pair in voting) else ""
        return cls(
            machine=machine,
            backends=(pairs[0].a.backend, pairs[0].b.backend),
            proven=proven,
            counted={benchmark: mean_ratio(of_points) for benchmark, of_points in points.items()},
            left_out=", ".join(
                f"{'points of ' if benchmark in points else ''}{benchmark} ({reason})"
                for benchmark, reason in reasons.items()
            ),
            measure=Measure(f"speed of training{extraction}", "trains"),
            max_trials=max((pair.max_trials or 0 for pair in proven), default=0) or None,
            is_disturbed=any(pair.is_disturbed for pair in voting),
        )

    def ratio(self) -> Ratio | None:
        """Return the typical ratio; None with fewer than two benchmarks that have a vote."""
        return mean_ratio(list(self.counted.values())) if len(self.counted) > 1 else None


def _no_vote(pair: Pair) -> str:
    if pair.proof != "proven":
        return "not proven"
    if pair.is_separate_run:
        return "its sides ran at different times"
    trials = len(pair.logs(work_speed))
    if trials < len(pair.couples):
        return "stored features were read"
    return "one trial" if trials == 1 else f"{trials} trials"


@dataclass(frozen=True, kw_only=True)
class Family:
    """All comparisons of a report that may name a winner, judged together by one rule.

    Pairs are by the name of their row. The size counts those too that have no trial to compare;
    ``scored`` counts the pairs that have accuracies.
    """

    pairs: Mapping[str, Sequence[Pair]]
    means: Sequence[Mean]
    size: int
    scored: int
    rule: DecisionRule

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Family:
        """Return the family of the rows of a report."""
        by_row = {row.name: [pair for pair in pairs_of(row) if pair.ratio()] for row in rows}
        pairs = list(chain(*by_row.values()))
        by_machine: dict[str, list[Row]] = {}
        for row in rows:
            by_machine.setdefault(row.machine, []).append(row)
        means, size = list[Mean](), 0
        for machine, of_kind in by_machine.items():
            shared: dict[tuple[str, str], list[Pair]] = {}
            for pair in chain(*(by_row[row.name] for row in of_kind)):
                if is_in_overall(pair.a):
                    shared.setdefault((pair.a.backend, pair.b.backend), []).append(pair)
            for of_both in shared.values():
                if len({pair.a.benchmark for pair in of_both}) > 1:
                    means.append(Mean.of(of_both, machine))
            size += family_size(cell for row in of_kind for cell in row.recorded)
        compared: list[Pair | Mean] = [*pairs, *means]
        ratios = [pair.ratio() for pair in compared if _may_decide(pair)]
        rule = rule_for(
            [ratio for ratio in ratios if ratio],
            comparisons=max(size, 1),
            max_trials=max((pair.max_trials or 0 for pair in compared), default=0),
        )
        scored = sum(pair.accuracy() is not None for pair in pairs)
        return cls(pairs=by_row, means=means, size=size, scored=scored, rule=rule)

    def finding(self, pair: Pair | Mean) -> SpeedFinding:
        """Return what a pair of the family, or one of its means, shows."""
        ratio = pair.ratio()
        assert ratio is not None, "what cannot be compared has no answer"
        if not pair.is_separate_run:
            level = confidence(ratio.trials, max_trials=pair.max_trials, comparisons=self.size)
            ratio = replace(ratio, confidence=level)
        return SpeedFinding(
            ratio=ratio,
            verdict=self.rule.verdict(ratio) if _may_decide(pair) else "open",
            rule=self.rule,
            comparisons=self.size,
            is_separate_run=pair.is_separate_run,
            is_disturbed=pair.is_disturbed,
        )


def pairs_of(row: Row) -> list[Pair]:
    """Return every two backends of a row."""
    cells = row.recorded
    return [Pair(a, b, cells) for a, b in combinations(cells, 2)]


def interval_of(values: Sequence[float], hosts: Sequence[str] = ()) -> Ratio | None:
    """Return the geometric mean of positive numbers with its interval; None below two numbers.

    ``hosts`` are as for ``paired_ratio``.
    """
    return paired_ratio(list(map(math.log, values)), hosts) if len(values) > 1 else None


def _may_decide(pair: Pair | Mean) -> bool:
    """Whether a ratio may name a winner, or call two backends equal."""
    return not (pair.is_separate_run or pair.is_disturbed)
