"""Fresh pairs of trials, A B and B A in turn, as many as it takes to decide."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from benchharness.compare.comparison import Trials
from benchharness.compare.criteria import Criteria
from benchharness.compare.looks import FEWEST_PAIRS, TURN, level_of, level_of_misses, planned
from benchharness.compare.plan import CellPair
from benchharness.compare.scatter import Scatter, scatter_of
from benchharness.compare.verdict import MISSES, Verdict
from benchharness.errors import Problem, SuiteError
from benchharness.results.record import Record
from benchharness.run.events import Observer
from benchharness.run.runner import Runner
from benchharness.suite.plan import Trial

# How many times as many pairs there may be where B seems to miss its target, or too few have shown
# that it does not: of a B that misses half, twenty pairs show too little in two of five cases.
_MORE_FOR_MISSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many pairs there may be.

    Attributes:
        fewest: Before anything is decided.
        most: Of each cell; twice as many where it is open whether B misses its target.
        minutes: After which no cell gets more than the fewest; None for no limit.
    """

    fewest: int = FEWEST_PAIRS
    most: int = 20
    minutes: float | None = None


@dataclass(slots=True, kw_only=True)
class Series:
    """The pairs of one couple.

    Attributes:
        looks: After how many pairs it is judged, ascending.
        seconds: That each pair took.
        is_over: Whether it gets no more.
    """

    couple: CellPair
    looks: tuple[int, ...]
    ours: list[Record] = field(default_factory=list)
    theirs: list[Record] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    verdicts: tuple[Verdict, ...] = ()
    is_over: bool = False

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.theirs)

    @property
    def trials(self) -> Trials:
        """What has been run."""
        return Trials(ours=self.ours, theirs=self.theirs)

    @property
    def scatter(self) -> Scatter | None:
        """What the pairs' epochs differ by within trials and between them; None if unknown."""
        if self.trials.failure() or not self.seconds:
            return None
        return scatter_of(self.ours, self.theirs, pair_s=median(self.seconds))

    def judge(self, criteria: Criteria, *, is_last: bool = False) -> None:
        """Say what the pairs tell; the series is over where that is enough, or all there is.

        Args:
            is_last: Whether there will be no more pairs, although more were planned.
        """
        if self.trials.failure() or not self.couple.is_compared:
            self.is_over = True
            return
        # An end that nobody planned is no look of its own where there was one before.
        is_look = self.pairs in self._every_look or (is_last and not self.verdicts)
        if is_look:
            found = self.trials.verdicts(
                criteria,
                self.couple.ours.benchmark,
                level=level_of(self.looks),
                level_of_misses=level_of_misses(self._every_look[-1]),
            )
            # Other columns have had the last of the looks that make their level.
            is_late = self.pairs > self.looks[-1]
            self.verdicts = _misses_renewed(self.verdicts, found) if is_late else found
        is_decided = is_look and not any(verdict.is_open for verdict in self.verdicts)
        is_worth_more = any(map(_may_show_misses, self.verdicts))
        most = self._every_look[-1] if is_worth_more else self.looks[-1]
        self.is_over = is_last or self.pairs >= most or is_decided

    def planned(self) -> int:
        """Return how many pairs it will have had, as far as can be told."""
        if self.is_over:
            return self.pairs
        if not self.couple.is_compared:
            return 1
        return next(look for look in self._every_look if look > self.pairs)

    @property
    def _every_look(self) -> tuple[int, ...]:
        """All looks, those at nothing but misses included."""
        most = self.looks[-1]
        return (*self.looks, *planned(most + TURN, _MORE_FOR_MISSES * most))


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Carries out the pairs of all couples, each couple once a round.

    Going round spreads the pairs of a cell over the whole time: a burst of noise then spoils one
    pair of several cells and not several of one.

    Attributes:
        first: Fewest pairs of some couples, where that is more than the limits say.
        is_by_epoch: Whether the trials of a pair live side by side and take turns epoch by epoch,
            and not one whole trial after the other.
        now: Monotonic clock in seconds.
    """

    runner: Runner
    couples: Sequence[CellPair]
    criteria: Criteria
    limits: Limits
    observe: Observer
    first: Mapping[str, int] = field(default_factory=dict)
    is_by_epoch: bool = False
    now: Callable[[], float] = time.monotonic
    _records: list[Record] = field(default_factory=list)

    def run(self) -> list[Series]:
        """Carry out pairs until each couple is decided, or its limit is reached."""
        limits = self.limits
        every = [
            Series(couple=one, looks=planned(self._fewest(one), limits.most))
            for one in self.couples
        ]
        began_s = self.now()
        while waiting := [series for series in every if not series.is_over]:
            for series in waiting:
                if self._is_late(series, spent_s=self.now() - began_s):
                    series.judge(self.criteria, is_last=True)
                    continue
                self._add(series, every)
                series.judge(self.criteria)
        return every

    def _fewest(self, couple: CellPair) -> int:
        """Return after how many pairs a couple is judged first."""
        limits = self.limits
        return min(max(limits.fewest, self.first.get(couple.label, 0)), limits.most)

    def _is_late(self, series: Series, *, spent_s: float) -> bool:
        """Whether another pair would not end in time."""
        minutes = self.limits.minutes
        if minutes is None or series.pairs < self.limits.fewest:
            return False
        return spent_s + series.seconds[-1] > 60 * minutes

    def _add(self, series: Series, every: Sequence[Series]) -> None:
        """Carry out the next pair, in the other order than the one before."""
        began_s = self.now()
        index, planned = series.pairs + 1, series.planned()
        count = 2 * sum(one.planned() for one in every)
        seed = self.runner.plan.suite.seed + index - 1
        sides = [(series.couple.ours, series.ours), (series.couple.theirs, series.theirs)]
        ordered = sides if index % 2 else sides[::-1]
        trials = [
            Trial(cell=replace(cell, trials=planned), index=index, seed=seed) for cell, _ in ordered
        ]
        made = self._run_trials(trials, count=count)
        for (_, records), record in zip(ordered, made, strict=True):
            records.append(record)
        series.seconds.append(self.now() - began_s)

    def _run_trials(self, trials: Sequence[Trial], *, count: int) -> list[Record]:
        """Carry out the two trials of a pair, the first of them first."""
        turns = [trials] if self.is_by_epoch else [[trial] for trial in trials]
        made: list[Record] = []
        for turn in turns:
            made += self.runner.run_in_turn(
                turn, self._records, self.observe, number=len(self._records) + 1, count=count
            )
            self._records += made[-len(turn) :]
        return made


def read_pairs(text: str | None) -> tuple[int | None, int | None]:
    """Return the fewest and the most pairs of ``FEWEST..MOST`` or ``MOST``; None for no word.

    Raises:
        SuiteError: It is neither, or fewer than can decide anything.
    """
    if text is None:
        return None, None
    low, dots, high = text.rpartition("..")
    try:
        fewest, most = int(low) if dots else None, int(high)
    except ValueError:
        fewest, most = 0, 0
    if most < FEWEST_PAIRS or not FEWEST_PAIRS <= (fewest or FEWEST_PAIRS) <= most:
        problem = Problem(
            where="--pairs",
            expected=f"N or FEWEST..MOST, at least {FEWEST_PAIRS}, as fewer decide nothing",
            found=f'"{text}"',
        )
        raise SuiteError("command line", [problem])
    return fewest, most


def spent_minutes(every: Sequence[Series]) -> float:
    """Return what all pairs took."""
    return sum(_seconds(every)) / 60


def _may_show_misses(verdict: Verdict) -> bool:
    """Whether more pairs may tell who misses more often: B looks worse, or never missed."""
    if verdict.misses is None or not verdict.is_open:
        return False
    (missed, _) = verdict.misses[1]
    return verdict.may_be_worse or not missed


def _misses_renewed(before: Sequence[Verdict], found: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Return earlier verdicts with those on misses that were found since."""
    kept = {one.column: one for one in before if one.column != MISSES}
    return tuple(replace(kept.get(one.column, one), is_required=one.is_required) for one in found)


def _seconds(every: Sequence[Series]) -> Iterator[float]:
    for series in every:
        yield from series.seconds
