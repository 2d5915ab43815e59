"""Two backends over several benchmarks: the typical ratio, each benchmark with one vote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from benchharness.measure.sequential import FEWEST
from benchharness.measure.statistics import Ratio, mean_ratio
from benchharness.report.comparisons import Measure
from benchharness.report.pairs import Pair
from benchharness.results.comparisons import is_in_overall, work_speed


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


def means_of(pairs: Iterable[Pair]) -> list[Mean]:
    """Return the mean of every two backends that share two training benchmarks."""
    shared: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if is_in_overall(pair.ours):
            shared.setdefault((pair.ours.backend, pair.theirs.backend), []).append(pair)
    means = (Mean(tuple(of_both)) for of_both in shared.values())
    return [mean for mean in means if len({pair.ours.benchmark for pair in mean.pairs}) > 1]
