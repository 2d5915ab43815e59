"""Sampling of pairs of trials, A B and B A in turn: how many, when to look, when to stop.

Looking several times raises the probability of an error. The level of each look is therefore
computed from all looks that are planned, so that the errors of all of them stay at ``ERROR``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import mean, median, variance

from benchharness.compare.plan import CellPair
from benchharness.compare.verdict import MISSES, Criteria, Trials, Verdict
from benchharness.errors import Problem, SuiteError
from benchharness.measure.statistics import tail
from benchharness.results.record import Record
from benchharness.run.events import Observer
from benchharness.run.runner import Runner
from benchharness.suite.file import MINIMUM_PAIRS

# Probability that a change of exactly the limit is called worse at any look, and that it is called
# the same: 5 % each.
ERROR = 0.05
# Probability that a side is called the one that misses its target more often when both do alike. An
# equal speed is far from its limit and errs less than ``ERROR``; equally rare misses are at it.
ERROR_OF_MISSES = 0.005
FEWEST_PAIRS = MINIMUM_PAIRS
# Only whole turns of A B, B A are decided on: drift of the machine then hits both sides alike.
_TURN = 2
_MOST_DRAWS, _FEWEST_DRAWS = 40_000, 2_000
# Comparisons of numbers that drawing may take: a second.
_EFFORT = 4e8
# How many times as many pairs there may be where B seems to miss its target, or too few have shown
# that it does not: of a B that misses half, twenty pairs show too little in two of five cases.
_MORE_FOR_MISSES = 2
# Fewest pairs and epochs for which scatter is estimated.
_SCATTER_PAIRS, _SCATTER_EPOCHS = 3, 2
# Pairs scatter by more than their epochs explain if an F test gives chance less than this.
_CHANCE = 0.1


# --- Looks ---------------------------------------------------------------------------------------


def planned_looks(fewest: int, most: int) -> tuple[int, ...]:
    """Return after how many pairs a cell is decided on.

    After every turn, beyond 40 pairs after every twentieth more, and after the last pair.
    """
    looks, pairs = [], fewest + fewest % _TURN
    while pairs < most:
        looks.append(pairs)
        pairs += _TURN * max(1, pairs // 40)
    return (*looks, most)


@cache
def level_of(looks: tuple[int, ...]) -> float:
    """Return the probability of error that one look may have at one end of its interval.

    The signed-rank statistics of a growing sample depend on signs and on the order of absolute
    values alone, which are the same for all symmetric noise. Drawn samples therefore give the
    distribution of the smallest p-value of all looks whatever the noise, and its ``ERROR``
    quantile is the level.

    Source:
        One level for all looks: Pocock, "Group sequential methods in the design and analysis of
        clinical trials" (1977).
    """
    import numpy as np

    if len(looks) == 1:
        return ERROR
    most = looks[-1]
    draws = int(np.clip(_EFFORT / most**2, _FEWEST_DRAWS, _MOST_DRAWS))
    values = np.random.default_rng(0).standard_normal((most, draws), np.float32)
    below = np.zeros(draws, np.int64)
    smallest = np.ones(draws)
    for place in range(most):
        below += (values[: place + 1] + values[place] <= 0).sum(axis=0)
        if place + 1 in looks:
            smallest = np.minimum(smallest, tail(place + 1)[below])
    levels, counts = np.unique(smallest, return_counts=True)
    within = int(np.searchsorted(np.cumsum(counts), ERROR * draws, side="right"))
    return float(levels[within - 1])


@cache
def level_of_misses(most: int) -> float:
    """Return the level of each look at who misses a target more often: 1 in 2, 4, 8, ...

    Only pairs in which one side misses count, and each of these may be the other way round. A look
    after every one of them, ``most`` at the last, errs at least as often as those that are planned.
    """
    import numpy as np
    from scipy.stats import binom

    level = 1.0
    while True:
        level /= 2
        # Shares of comparisons that are still open, by how many of the pairs speak against B.
        open_shares = np.ones(1)
        for pairs in range(1, most + 1):
            open_shares = np.convolve(open_shares, (0.5, 0.5))
            open_shares[binom.sf(np.arange(pairs + 1) - 1, pairs, 0.5) <= level] = 0
        if 1 - open_shares.sum() <= ERROR_OF_MISSES:
            return level


# --- Pairs ---------------------------------------------------------------------------------------


def read_pairs(text: str | None) -> tuple[int | None, int | None]:
    """Return the fewest and the most pairs of ``FEWEST..MOST`` or ``MOST``; None if not stated.

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
        expected = f"N or FEWEST..MOST, at least {FEWEST_PAIRS}, fewer cannot decide"
        problem = Problem(where="--pairs", expected=expected, found=f'"{text}"')
        raise SuiteError("command line", [problem])
    return fewest, most


@dataclass(slots=True, kw_only=True)
class PairSeries:
    """All pairs of trials of one pair of cells.

    Attributes:
        looks: After how many pairs it is decided on, ascending.
        seconds: That each pair took.
    """

    cells: CellPair
    looks: tuple[int, ...]
    a: list[Record] = field(default_factory=list)
    b: list[Record] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    verdicts: tuple[Verdict, ...] = ()
    is_over: bool = False

    @property
    def pairs(self) -> int:
        """Number of pairs that have run."""
        return len(self.b)

    @property
    def trials(self) -> Trials:
        """The trials that have run."""
        return Trials(a=self.a, b=self.b)

    @property
    def scatter(self) -> Scatter | None:
        """Scatter of the epochs within and between trials; None if unknown."""
        if self.trials.failure() or not self.seconds:
            return None
        return scatter_of(self.a, self.b, pair_s=median(self.seconds))

    @property
    def planned(self) -> int:
        """Expected number of pairs."""
        if self.is_over:
            return self.pairs
        if not self.cells.is_compared:
            return 1
        return next(look for look in self._all_looks if look > self.pairs)

    def decide(self, criteria: Criteria, *, is_last: bool = False) -> None:
        """Decide on the pairs so far; the series is over if that is enough, or all there is."""
        if self.trials.failure() or not self.cells.is_compared:
            self.is_over = True
            return
        # An unplanned end is no separate look if there was one before.
        is_look = self.pairs in self._all_looks or (is_last and not self.verdicts)
        if is_look:
            self.verdicts = self._look(criteria)
        # More pairs may tell who misses more often: B looks worse, or never missed.
        are_misses_open = any(
            verdict.is_undecided and (verdict.may_be_worse or not verdict.misses[1][0])
            for verdict in self.verdicts
            if verdict.misses is not None
        )
        most = self._all_looks[-1] if are_misses_open else self.looks[-1]
        is_decided = is_look and not any(verdict.is_undecided for verdict in self.verdicts)
        self.is_over = is_last or self.pairs >= most or is_decided

    def _look(self, criteria: Criteria) -> tuple[Verdict, ...]:
        """Return the verdicts at this look; beyond ``looks`` only misses are judged again."""
        verdicts = self.trials.verdicts(
            criteria,
            self.cells.a.benchmark,
            level=level_of(self.looks),
            level_of_misses=level_of_misses(self._all_looks[-1]),
        )
        if self.pairs <= self.looks[-1]:
            return verdicts
        # Other columns have had the last of the looks that make their level.
        kept = {v.column: v for v in self.verdicts if v.column != MISSES}
        return tuple(replace(kept.get(v.column, v), is_required=v.is_required) for v in verdicts)

    @property
    def _all_looks(self) -> tuple[int, ...]:
        """All looks, those at misses alone included."""
        most = self.looks[-1]
        return (*self.looks, *planned_looks(most + _TURN, _MORE_FOR_MISSES * most))


@dataclass(slots=True, kw_only=True)
class Sampler:
    """Runs the pairs of all cells, each cell once a round.

    Going round spreads the pairs of a cell over the whole time: a burst of noise then spoils one
    pair of several cells and not several of one.

    Attributes:
        fewest: Pairs of each cell before anything is decided.
        most: Pairs of each cell; twice as many where it is open whether B misses its target.
        minutes: After which no cell gets more than the fewest; None for no limit.
        first_looks: Fewest pairs of some cells by label, where that is more than ``fewest``.
        is_by_epoch: Whether the trials of a pair live side by side and take turns epoch by epoch,
            and not one whole trial after the other.
    """

    runner: Runner
    criteria: Criteria
    observe: Observer
    fewest: int = FEWEST_PAIRS
    most: int = 20
    minutes: float | None = None
    first_looks: Mapping[str, int] = field(default_factory=dict)
    is_by_epoch: bool = False
    now: Callable[[], float] = time.monotonic
    _records: list[Record] = field(default_factory=list)
    _spent_s: float = 0.0

    def run(self, cells: Sequence[CellPair]) -> list[PairSeries]:
        """Run pairs until each cell is decided, or its limit is reached."""
        all_series = []
        for pair in cells:
            fewest = min(max(self.fewest, self.first_looks.get(pair.label, 0)), self.most)
            all_series.append(PairSeries(cells=pair, looks=planned_looks(fewest, self.most)))
        while undecided := [series for series in all_series if not series.is_over]:
            for series in undecided:
                is_late = self._is_late(series)
                if not is_late:
                    self._add_pair(series, count=2 * sum(each.planned for each in all_series))
                series.decide(self.criteria, is_last=is_late)
        return all_series

    def _is_late(self, series: PairSeries) -> bool:
        """Return whether another pair, beyond the fewest, would not end in time."""
        if self.minutes is None or series.pairs < self.fewest:
            return False
        return self._spent_s + series.seconds[-1] > 60 * self.minutes

    def _add_pair(self, series: PairSeries, *, count: int) -> None:
        """Run the next pair, in the other order than the pair before."""
        began_s = self.now()
        index, pair = series.pairs + 1, series.cells
        cells = [replace(cell, trials=series.planned) for cell in (pair.a, pair.b)]
        trials = self.runner.plan.turn(cells, index)
        for turn in [trials] if self.is_by_epoch else [[trial] for trial in trials]:
            self._records += self.runner.run_in_turn(
                turn, self._records, self.observe, number=len(self._records) + 1, count=count
            )
        for trial, record in zip(trials, self._records[-2:], strict=True):
            (series.a if trial.cell is cells[0] else series.b).append(record)
        series.seconds.append(self.now() - began_s)
        self._spent_s += series.seconds[-1]


# --- Scatter -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Standard deviations of the logarithm of B / A of the seconds of an epoch.

    A pair's result varies for two reasons: its epochs differ, and so do the processes in which they
    run, by where their memory lies and by the state of the machine. Longer trials average over the
    first alone, more pairs over both.

    Attributes:
        within: Of the epochs of a pair.
        between: Of pairs, beyond what their epochs explain.
        epochs: Of a trial.
        best_epochs: Of a trial, with which a given time shows the smallest difference; None if
            pairs scatter by no more than their epochs explain: the more the better.
    """

    within: float
    between: float
    epochs: int
    best_epochs: int | None

    @property
    def of_means(self) -> float:
        """Deviation of a pair's mean that is due to its epochs."""
        return self.within / math.sqrt(self.epochs)

    @property
    def are_longer_trials_better(self) -> bool:
        """True where longer trials would help more than further ones."""
        return self.best_epochs is None or self.best_epochs >= 2 * self.epochs


def scatter_of(a: Sequence[Record], b: Sequence[Record], *, pair_s: float) -> Scatter | None:
    """Return the scatter of the epochs of some pairs; None if there are too few of either.

    A pair takes ``pair_s`` seconds, starting its processes included.

    Source:
        Kalibera and Jones, "Rigorous benchmarking in reasonable time" (2013): variances of the
        levels of an experiment, and the number of repetitions at each that makes the most of the
        time. Georges, Buytaert and Eeckhout, "Statistically rigorous Java performance evaluation"
        (2007): why processes have to be repeated, and not their iterations alone.
    """
    from scipy.special import fdtrc

    def epochs_of(record: Record) -> list[float]:
        return [epoch["train_s"] for epoch in record["epochs"] if epoch.get("train_s")]

    seconds = [
        list(zip(*map(epochs_of, records), strict=False)) for records in zip(a, b, strict=True)
    ]
    epochs = min((len(pair) for pair in seconds), default=0)
    if len(seconds) < _SCATTER_PAIRS or epochs < _SCATTER_EPOCHS:
        return None
    ratios = [[math.log(b_s / a_s) for a_s, b_s in pair[:epochs]] for pair in seconds]
    within = mean(variance(pair) for pair in ratios)
    of_pairs, of_epochs = variance([mean(pair) for pair in ratios]), within / epochs
    degrees = len(ratios) - 1, len(ratios) * (epochs - 1)
    is_beyond = not of_epochs or fdtrc(*degrees, of_pairs / of_epochs) < _CHANCE
    between = of_pairs - of_epochs if is_beyond and of_pairs > of_epochs else 0.0
    epoch_s = mean(sum(epoch) for pair in seconds for epoch in pair)
    # What a pair takes beside its epochs, at least an epoch of it: a pair cannot do without one.
    other_s = max(epoch_s, pair_s - epochs * epoch_s)
    best = math.sqrt(other_s / epoch_s * within / between) if between else None
    return Scatter(
        within=math.sqrt(within),
        between=math.sqrt(between),
        epochs=epochs,
        best_epochs=None if best is None else max(1, round(best)),
    )
