"""Pairs of backends: ratios trial by trial, their means, and what they decide together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations

from benchharness.measure.accuracy import AccuracyDifference, Score, accuracy_difference
from benchharness.measure.sequential import FEWEST, Rule, Verdict, confidence, rule_for
from benchharness.measure.statistics import Ratio, mean_ratio, paired_ratio, unpaired_ratio
from benchharness.report.rows import Row
from benchharness.results.cells import worst_proof
from benchharness.results.comparisons import (
    Comparison,
    Speed,
    family_size,
    is_in_overall,
    log_speed,
    work_speed,
)
from benchharness.results.record import Record

MIRRORED: dict[Verdict, Verdict] = {"faster": "slower", "slower": "faster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that can be faster.

    Attributes:
        noun: What is compared, for example ``training throughput``.
        verb: What the winner does, for example ``trains``.
        adverb: ``faster`` or ``sooner``.
    """

    noun: str
    verb: str
    adverb: str = "faster"


FEED = Measure(noun="feeding throughput", verb="feeds")
TRAIN = Measure(noun="training throughput", verb="trains")
HEAD = Measure(noun="throughput of the head's training", verb="trains the head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A ratio, and what the family of all comparisons of a report lets it show.

    Attributes:
        ratio: How many times as fast ours is.
        verdict: Of ours against theirs.
        rule: What the verdict follows from.
        comparisons: Size of the family.
        is_separate_run: Whether the sides ran at different times.
        is_disturbed: Whether other processes kept the machine busy during a trial behind it.
    """

    ratio: Ratio
    verdict: Verdict
    rule: Rule
    comparisons: int
    is_separate_run: bool = False
    is_disturbed: bool = False

    @property
    def inverse(self) -> Finding:
        """The finding seen from the other side."""
        verdict = MIRRORED.get(self.verdict, self.verdict)
        return replace(self, ratio=self.ratio.inverse, verdict=verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


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
    difference: AccuracyDifference


@dataclass(frozen=True, eq=False)
class Pair(Comparison):
    """Two backends in one row of the table, with the ratios that a report prints."""

    @property
    def swapped(self) -> Pair:
        """The pair seen from the other side."""
        return Pair(self.theirs, self.ours, self.line)

    @property
    def measure(self) -> Measure:
        """What decides who is faster."""
        if not self.is_target_met:
            return self.work
        goal = f"{self.ours.target_top1:g} validation top-1"
        return Measure(noun=f"speed to {goal}", verb=f"reaches {goal}", adverb="sooner")

    @property
    def work(self) -> Measure:
        """What ``speed`` is of."""
        return {"dataset": FEED, "bottleneck": HEAD}.get(self.ours.strategy, TRAIN)

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

        def speed(trial: Record) -> float | None:
            return extract(trial) if trial["metrics"].get("extract_reused") is False else None

        return self.ratio(speed)

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
        metric = f"{split}_top1"
        theirs = {t["trial"]: t for t in self.theirs.ok if t["metrics"].get(metric) is not None}
        scores = [
            (Score.of_record(trial, split), Score.of_record(theirs[trial["trial"]], split))
            for trial in self.ours.ok
            if trial["metrics"].get(metric) is not None and trial["trial"] in theirs
        ]
        known = [(score, other) for score, other in scores if score and other]
        if not known:
            return None
        ours, others = zip(*known, strict=True)
        difference = accuracy_difference(ours, others, comparisons=comparisons)
        return Accuracy(split=split, ours=ours, theirs=others, difference=difference)


@dataclass(frozen=True)
class Mean:
    """Two backends on all training benchmarks of the equal track that both ran.

    What counts is the time of the work: training, and the extraction of features before it. The
    points of a benchmark's matrix are averaged first.

    Attributes:
        pairs: At least two benchmarks, in the order of the table.
    """

    pairs: tuple[Pair, ...]

    @property
    def backends(self) -> tuple[str, str]:
        """Ours and theirs."""
        return self.pairs[0].ours.backend, self.pairs[0].theirs.backend

    @property
    def proven(self) -> list[Pair]:
        """The pairs whose work was proven the same."""
        return [pair for pair in self.pairs if pair.proof == "proven"]

    @property
    def is_proven(self) -> bool:
        """Whether two benchmarks are proven."""
        return len({pair.ours.benchmark for pair in self.proven}) > 1

    @property
    def is_separate_run(self) -> bool:
        """False: pairs whose sides ran at different times are left out."""
        return False

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine was busy during a trial behind a benchmark that has a vote."""
        return any(pair.is_disturbed for pair in self._counted_pairs)

    @property
    def max_trials(self) -> int | None:
        """As that of a pair."""
        return max((pair.max_trials or 0 for pair in self.proven), default=0) or None

    @property
    def measure(self) -> Measure:
        """What the mean is of."""
        extracts = any(pair.ours.strategy == "bottleneck" for pair in self._counted_pairs)
        work = "training with extraction" if extracts else "training"
        return Measure(noun=f"speed of {work}", verb="trains")

    @property
    def counted(self) -> dict[str, Ratio]:
        """The ratio of each benchmark that has a vote."""
        points: dict[str, list[Ratio]] = {}
        for pair, ratio in self._counted_pairs.items():
            points.setdefault(pair.ours.benchmark, []).append(ratio)
        return {benchmark: mean_ratio(ratios) for benchmark, ratios in points.items()}

    @property
    def left_out(self) -> str:
        """The pairs that have no vote, each with its reason; empty where all have one."""
        left = [pair for pair in self.pairs if pair not in self._counted_pairs]
        voting = {pair.ours.benchmark for pair in self._counted_pairs}
        reasons = {pair.ours.benchmark: self._reason(pair) for pair in left}
        return ", ".join(
            f"{'points of ' if benchmark in voting else ''}{benchmark} ({reason})"
            for benchmark, reason in reasons.items()
        )

    def ratio(self) -> Ratio | None:
        """Return the typical ratio; None with fewer than two benchmarks that have a vote."""
        counted = self.counted
        return mean_ratio(list(counted.values())) if len(counted) > 1 else None

    @cached_property
    def _counted_pairs(self) -> dict[Pair, Ratio]:
        known = {
            pair: ratio
            for pair in self.proven
            if not pair.is_separate_run and (ratio := pair.ratio(work_speed))
        }
        # A benchmark with few trials would take the certainty from all others.
        needed = min(FEWEST, max((ratio.trials for ratio in known.values()), default=0))
        return {pair: ratio for pair, ratio in known.items() if ratio.trials >= needed}

    def _reason(self, pair: Pair) -> str:
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
    """All comparisons of a report that may name a winner, judged together.

    Attributes:
        pairs: Every two backends of each row that have trials to compare.
        means: Every two backends over several benchmarks.
        size: How many comparisons there are, those counted too that have no trial to compare.
        scored: How many of the pairs have accuracies to compare.
        rule: When one is decided.
    """

    pairs: Mapping[str, Sequence[Pair]]
    means: Sequence[Mean]
    size: int
    scored: int
    rule: Rule

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Family:
        """Return the family of the rows of a report."""
        pairs = {row.name: pairs_of(row) for row in rows}
        means = means_of(pair for of_line in pairs.values() for pair in of_line)
        size = family_size(cell for row in rows for cell in row.recorded)
        compared: list[Pair | Mean] = [*chain(*pairs.values()), *means]
        ratios = [pair.ratio() for pair in compared if _may_decide(pair)]
        rule = rule_for(
            [ratio for ratio in ratios if ratio],
            comparisons=max(size, 1),
            max_trials=max((pair.max_trials or 0 for pair in compared), default=0),
        )
        scored = sum(pair.accuracy() is not None for pair in chain(*pairs.values()))
        return cls(pairs=pairs, means=means, size=size, scored=scored, rule=rule)

    def finding(self, pair: Pair | Mean) -> Finding:
        """Return what a pair of the family, or one of its means, shows."""
        ratio = pair.ratio()
        assert ratio is not None, "what cannot be compared has no answer"
        if not pair.is_separate_run:
            level = confidence(ratio.trials, max_trials=pair.max_trials, comparisons=self.size)
            ratio = replace(ratio, confidence=level)
        return Finding(
            ratio=ratio,
            verdict=self.rule.verdict(ratio) if _may_decide(pair) else "open",
            rule=self.rule,
            comparisons=self.size,
            is_separate_run=pair.is_separate_run,
            is_disturbed=pair.is_disturbed,
        )


def _may_decide(pair: Pair | Mean) -> bool:
    """Whether a ratio may name a winner, or call two backends equal."""
    return not (pair.is_separate_run or pair.is_disturbed)


def pairs_of(row: Row) -> list[Pair]:
    """Return every two backends of a row that have trials to compare, the earlier one as ours."""
    cells = row.recorded
    pairs = (Pair(ours, theirs, cells) for ours, theirs in combinations(cells, 2))
    return [pair for pair in pairs if pair.ratio()]


def means_of(pairs: Iterable[Pair]) -> list[Mean]:
    """Return the mean of every two backends that share two training benchmarks."""
    shared: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if is_in_overall(pair.ours):
            shared.setdefault((pair.ours.backend, pair.theirs.backend), []).append(pair)
    means = (Mean(tuple(of_both)) for of_both in shared.values())
    return [mean for mean in means if len({pair.ours.benchmark for pair in mean.pairs}) > 1]


def interval_of(values: Sequence[float]) -> Interval | None:
    """Return the interval of the geometric mean of positive numbers; None with fewer than two."""
    if len(values) < 2:
        return None
    mean = paired_ratio([math.log(value) for value in values])
    return Interval(low=mean.low, high=mean.high)
