"""Verdict on a cell: limits, trials, samples, intervals, and the rule for what counts as worse.

The intervals are those of the signed-rank test, exact for symmetric noise with tails of any weight,
as the noise of a ratio of two like measurements is; for unpaired trials those of the rank-sum test.
Both use only the order of the differences, so a target that is never reached counts as an infinite
time. The error allowed at one look follows from the number of looks (``sampling.level_of``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from statistics import median
from typing import Any, Literal

from benchharness.errors import Problem, SuiteError
from benchharness.measure.statistics import (
    centre,
    lower_bound,
    paired_p_value,
    smallest_rank,
    unpaired_p_value,
    upper_bound,
)
from benchharness.model.quantities import QUANTITIES, USUAL, Kind, Quantity
from benchharness.results.comparisons import Timeline, ended_s, started_s
from benchharness.results.record import Record
from benchharness.suite.file import DRIFT
from benchharness.text import quote, suggest

# The column of trials that never reach their target.
MISSES = "target_misses"
# The words for a side beyond the threshold: B worse, B better. Others: same, undecidable.
WORDS: dict[Kind | Literal["misses"], tuple[str, str]] = {
    "speed": ("slower", "faster"),
    "amount": ("more", "less"),
    "accuracy": ("worse", "better"),
    "misses": ("missed", "reached"),
}
WORSE = frozenset(worse for worse, _ in WORDS.values())
# Sessions of either side from which medians of sessions are compared: with fewer, not even the most
# extreme order is rare enough.
FEWEST_SESSIONS = 3
# Level of a bound that only says whether to continue: equal code passes it at the first look most
# often, and in simulations a change of twice the limit in one of a hundred comparisons.
_DOUBT = 0.2
# Trials with more idle time between them met another machine: it has had other work since. Data,
# weights and proofs make shorter breaks within a run, and too many sessions would claim too much.
_IDLE_S = 600.0
# Images on which equally good networks disagree, all in favour of one: once in 64 times.
_FEWEST_IMAGES = 6


# --- Limits --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Columns to compare, and how much worse counts.

    Attributes:
        is_chosen: Whether the user or the suite named the columns: then each has to be decided.
        stated: Thresholds of the suite by benchmark and column.
        requested: Thresholds of the user by column; they win.
        drift: How far equal code may differ in speed between two runs, a share.
    """

    columns: tuple[str, ...] = USUAL
    is_chosen: bool = False
    stated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    requested: Mapping[str, float] = field(default_factory=dict)
    drift: float = DRIFT

    @classmethod
    def of(
        cls,
        described: Mapping[str, Any],
        *,
        columns: Sequence[str] = (),
        thresholds: Mapping[str, float],
    ) -> Criteria:
        """Return the criteria of regression settings, as in run.json, and of what the user asks."""
        chosen = tuple(dict.fromkeys(columns)) or tuple(described.get("columns") or ())
        # A threshold for a column outside the usual ones asks for that column, too.
        extra = (c for c in thresholds if c not in USUAL and QUANTITIES[c].kind != "speed")
        return cls(
            columns=chosen or (*USUAL, *extra),
            is_chosen=bool(chosen),
            stated=described.get("thresholds") or {},
            requested=thresholds,
            drift=described.get("drift", DRIFT),
        )

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The columns with what is known of them."""
        return tuple(QUANTITIES[name] for name in self.columns)

    def threshold(self, benchmark: str, column: str, *, drift: float = 0.0) -> float:
        """Return how much worse counts: as stated, or else usual.

        An unstated threshold is at least twice the drift, by which equal code may differ in speed:
        with less, equal code would hardly ever be called the same.
        """
        quantity = QUANTITIES[column]
        usual = max(quantity.threshold, 2 * drift if quantity.kind == "speed" else 0)
        return self.stated_threshold(benchmark, column) or usual

    def stated_threshold(self, benchmark: str, column: str) -> float | None:
        """Return the threshold of the user, or else of the suite; None if neither states one."""
        return self.requested.get(column) or self.stated.get(benchmark, {}).get(column)

    def is_required(self, quantity: Quantity) -> bool:
        """Return whether a column has to be decided; of alternatives one decided column will do."""
        return self.is_chosen or not quantity.is_watched


def read_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Return thresholds by column, of ``5%`` or ``0.05`` for every speed, ``COLUMN=2%`` for one.

    Raises:
        SuiteError: A text is not understood; every such text is named.
    """
    of_all: dict[str, float] = {}
    of_columns: dict[str, float] = {}
    problems: list[Problem] = []
    expected = "a share above 0 as 5%"
    for text in texts:
        column, sign, value = text.rpartition("=")
        number = value.strip().removesuffix("%")
        try:
            share = float(number) / (100 if value.strip().endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share <= 10:
            problems.append(Problem(where="--threshold", expected=expected, found=quote(text)))
        elif sign:
            problems += unknown_columns([column], option="--threshold")
            of_columns[column] = share
        else:
            of_all |= {name: share for name, each in QUANTITIES.items() if each.kind == "speed"}
    if problems:
        raise SuiteError("command line", problems)
    return of_all | of_columns


def unknown_columns(names: Sequence[str], *, option: str) -> list[Problem]:
    """Return a problem for each name that is no column to compare."""
    expected = "a column that can be compared"
    return [
        Problem(where=option, expected=expected, found=quote(name), hint=suggest(name, QUANTITIES))
        for name in names
        if name not in QUANTITIES
    ]


# --- Differences ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Differences of B from A in one column, pair by pair; positive where B is worse.

    Attributes:
        log_ratios: Logarithms of B / A of seconds or bytes; of accuracies the differences A - B.
            Infinite where one side missed its target; pairs in which both did are left out, and
            between unpaired trials are NaN.
        trials: Of A and of B.
        drift: Logarithm of how far the sides may differ for other reasons; 0 if they took turns.
        is_paired: Whether each entry comes from two trials that ran next to each other.
    """

    quantity: Quantity
    log_ratios: tuple[float, ...]
    trials: tuple[int, int]
    drift: float = 0.0
    is_paired: bool = True

    @classmethod
    def paired(cls, quantity: Quantity, pairs: Sequence[tuple[float, float]]) -> Sample:
        """Return the sample of some pairs (A, B) of a column's values."""
        ratios = (_log_ratio(quantity, *pair) for pair in pairs)
        known = tuple(ratio for ratio in ratios if not math.isnan(ratio))
        return cls(quantity=quantity, log_ratios=known, trials=(len(pairs), len(pairs)))

    @classmethod
    def unpaired(
        cls, quantity: Quantity, a: Sequence[float], b: Sequence[float], *, drift: float
    ) -> Sample:
        """Return the sample of trials that ran at different times: each against each."""
        return cls(
            quantity=quantity,
            log_ratios=tuple(_log_ratio(quantity, *pair) for pair in product(a, b)),
            trials=(len(a), len(b)),
            drift=math.log1p(drift) if quantity.kind == "speed" else 0.0,
            is_paired=False,
        )

    @property
    def centre(self) -> float:
        """The estimate that belongs to its interval.

        Source:
            Of independent samples the median of all differences: Hodges and Lehmann, "Estimates of
            location based on rank tests" (1963).
        """
        if self.is_paired:
            return centre(self.log_ratios)
        known = [ratio for ratio in self.log_ratios if not math.isnan(ratio)]
        return median(known) if known else math.nan

    def bounds(self, *, level: float) -> tuple[float, float]:
        """Return the interval of its centre; infinite if there are too few trials.

        Source:
            Of independent samples Moses's interval of the rank-sum test: Hollander, Wolfe and
            Chicken, "Nonparametric Statistical Methods" (2014), 4.3.
        """
        if self.is_paired:
            low, high = lower_bound(self.log_ratios, level), upper_bound(self.log_ratios, level)
        elif rank := smallest_rank(*self.trials, level=level):
            # If neither side got there, either may be the slower by any factor.
            lowest, highest = (
                sorted(other if math.isnan(ratio) else ratio for ratio in self.log_ratios)
                for other in (-math.inf, math.inf)
            )
            low, high = lowest[rank - 1], highest[-rank]
        else:
            low, high = -math.inf, math.inf
        return low - self.drift, high + self.drift


def _log_ratio(quantity: Quantity, a: float, b: float) -> float:
    if quantity.kind == "accuracy":
        return a - b
    ratio = math.log(b) - math.log(a)
    return -ratio if quantity.is_rate else ratio


# --- Verdicts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Decision on one column of one cell.

    Attributes:
        word: ``same``, ``undecidable`` or one of ``WORDS``.
        change: B / A of seconds or bytes, above 1 where B is worse; of accuracies A - B. None
            without a pair, and if most trials of one side missed their target.
        low, high: Its interval; None if there are too few pairs, or where it is infinite.
        pairs: Of trials; of the side that has fewer, if they are unpaired.
        level: How often each end of the interval may err at this look.
        may_be_worse: Whether B is beyond the threshold at the end of an interval that errs one time
            in five, or its misses are as rare by chance.
        misses: Of A and of B, missed targets and trials; of the column ``target_misses`` alone.
        is_required: Whether being undecided matters.
    """

    column: str
    kind: Kind | Literal["misses"]
    word: str
    change: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int
    threshold: float = 0.0
    level: float
    may_be_worse: bool = False
    misses: tuple[tuple[int, int], tuple[int, int]] | None = None
    is_paired: bool = True
    is_required: bool = True

    @property
    def is_worse(self) -> bool:
        """Whether B is worse than A by more than the threshold."""
        return self.word in WORSE

    @property
    def is_undecided(self) -> bool:
        """Whether something that matters is not known."""
        return self.word == "undecidable" and self.is_required


def decide(sample: Sample, *, threshold: float, level: float, is_required: bool = True) -> Verdict:
    """Return the verdict on a sample.

    ``same`` if the whole interval is within the threshold on both sides, a word for worse or better
    if all of it is beyond, ``undecidable`` if it straddles the threshold: a share, of accuracies a
    difference. Each end of the interval may err as often as ``level``.
    """
    kind = sample.quantity.kind
    limit = threshold if kind == "accuracy" else math.log1p(threshold)
    low, high = sample.bounds(level=level)
    worse, better = WORDS[kind]
    word = "undecidable"
    if low > limit:
        word = worse
    elif high < -limit:
        word = better
    elif -limit < low and high < limit:
        word = "same"

    def shown(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return value if kind == "accuracy" else math.exp(value)

    return Verdict(
        column=sample.quantity.name,
        kind=kind,
        word=word,
        change=shown(sample.centre) if sample.log_ratios else None,
        low=shown(low),
        high=shown(high),
        pairs=min(sample.trials),
        threshold=threshold,
        level=level,
        may_be_worse=sample.bounds(level=_DOUBT)[1] > limit,
        is_paired=sample.is_paired,
        is_required=is_required,
    )


def decide_misses(
    a: Sequence[bool],
    b: Sequence[bool],
    *,
    is_paired: bool,
    level: float,
    is_required: bool = False,
) -> Verdict:
    """Return whether B misses a target more often than A, of who missed it, trial by trial.

    ``same`` if a B that misses half of what A reaches would have missed more. Each word may be
    wrong as often as ``level``; being undecided matters if required, or where B looks worse.
    """
    from scipy.stats import binom

    counts = ((sum(a), len(a)), (sum(b), len(b)))
    if is_paired:
        pairs = [*zip(a, b, strict=True)]
        more, fewer = (sum(pair == other for pair in pairs) for other in ((0, 1), (1, 0)))
        p_worse, p_better = paired_p_value(more, fewer), paired_p_value(fewer, more)
        reached = [is_missed for is_missed_by_a, is_missed in pairs if not is_missed_by_a]
    else:
        p_worse, p_better = unpaired_p_value(*counts), unpaired_p_value(*counts[::-1])
        reached = [*b]
    worse, better = WORDS["misses"]
    word = "undecidable"
    if p_worse <= level:
        word = worse
    elif p_better <= level:
        word = better
    elif binom.cdf(sum(reached), len(reached), 0.5) <= level:
        word = "same"
    return Verdict(
        column=MISSES,
        kind="misses",
        word=word,
        pairs=min(len(a), len(b)),
        level=level,
        misses=counts,
        may_be_worse=p_worse <= _DOUBT,
        is_paired=is_paired,
        is_required=is_required or p_worse <= _DOUBT,
    )


# --- Trials --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Trials of a cell on both sides; paired if those of one index ran next to each other.

    Attributes:
        drift: How far equal code may differ in speed between two times, a share.
    """

    a: Sequence[Record]
    b: Sequence[Record]
    is_paired: bool = True
    drift: float = 0.0

    @property
    def sessions(self) -> tuple[int, int]:
        """At how many different times A and B ran."""
        return len(sessions_of(self.a)), len(sessions_of(self.b))

    @property
    def allowance(self) -> float:
        """Share by which B's speed may differ from A's without a change of code.

        0 if trials are paired, and if both sides ran at several times: the differences between
        these are then part of the data.
        """
        return 0.0 if self.is_paired or min(self.sessions) >= FEWEST_SESSIONS else self.drift

    @property
    def is_skipped(self) -> bool:
        """True where neither side can do the work."""
        return {record["status"] for record in (*self.a, *self.b)} == {"skipped"}

    def failure(self) -> str:
        """Return why the first trial that is not ok is not; empty if all are."""
        for side, records in (("A", self.a), ("B", self.b)):
            for record in records:
                if record["status"] != "ok":
                    reason = record.get("reason") or record["status"]
                    return f"{side}, trial {record['trial']}: {record['status']}: {reason}"
        return ""

    def sample(self, quantity: Quantity) -> Sample | None:
        """Return how much worse B is in a column; None unless both sides have it."""
        a, b = _values(self.a, quantity), _values(self.b, quantity)
        if self.is_paired:
            pairs = [(a[index], b[index]) for index in sorted(a.keys() & b.keys())]
            return Sample.paired(quantity, pairs) if pairs else None
        if not a or not b:
            return None
        if quantity.kind == "speed" and min(self.sessions) >= FEWEST_SESSIONS:
            # Trials of one session share the state of the machine, and count as one.
            by_session = (_medians(self.a, quantity), _medians(self.b, quantity))
            return Sample.unpaired(quantity, *by_session, drift=0.0)
        return Sample.unpaired(quantity, [*a.values()], [*b.values()], drift=self.allowance)

    def verdicts(
        self, criteria: Criteria, benchmark: str, *, level: float, level_of_misses: float
    ) -> tuple[Verdict, ...]:
        """Return the verdict on each column that both sides have, at the levels of this look."""
        verdicts = []
        for quantity in criteria.quantities:
            sample = self.sample(quantity)
            if sample is None:
                continue
            threshold = criteria.threshold(benchmark, quantity.name, drift=self.allowance)
            if quantity.kind == "accuracy":
                threshold = max(threshold, _resolution([*self.a, *self.b], quantity))
            required = criteria.is_required(quantity)
            verdicts.append(decide(sample, threshold=threshold, level=level, is_required=required))
        # Misses count in all columns that have a target, unless somebody has chosen some.
        for quantity in criteria.quantities if criteria.is_chosen else QUANTITIES.values():
            if quantity.target:
                verdicts += self._misses(quantity, level_of_misses, is_required=criteria.is_chosen)
        return tuple(_drop_moot_requirements(verdicts, is_chosen=criteria.is_chosen))

    def _misses(self, quantity: Quantity, level: float, *, is_required: bool) -> Iterator[Verdict]:
        """Yield which side misses a target more often.

        Nothing if neither ever does; unless it is required and there are too few trials to say so.
        """
        a, b = _values(self.a, quantity), _values(self.b, quantity)
        if self.is_paired:
            both = sorted(a.keys() & b.keys())
            a, b = ({index: side[index] for index in both} for side in (a, b))
        missed = [[math.isinf(value) for value in side.values()] for side in (a, b)]
        is_required = is_required and all(missed)
        verdict = decide_misses(
            *missed, is_paired=self.is_paired, level=level, is_required=is_required
        )
        if any(map(any, missed)) or verdict.is_undecided:
            yield verdict


def sessions_of(records: Sequence[Record]) -> list[list[Record]]:
    """Return trials in groups without a long break, in order of time."""
    ordered = sorted(records, key=started_s)
    groups = [ordered[:1]] if ordered else []
    for before, after in pairwise(ordered):
        if started_s(after) - ended_s(before) > _IDLE_S:
            groups.append([])
        groups[-1].append(after)
    return groups


def ran_in_turn(a: Sequence[Record], b: Sequence[Record], *, run: Sequence[Record]) -> bool:
    """Return whether the trials of each index of two cells ran next to each other in a run."""
    others, timeline = {record["trial"]: record for record in b}, Timeline(run)
    return all(
        timeline.are_adjacent(record, others[record["trial"]])
        for record in a
        if record["trial"] in others
    )


def _values(records: Sequence[Record], quantity: Quantity) -> dict[int, float]:
    """Return the values of a column by trial; infinity if its target was never reached."""
    values = {}
    for record in records:
        value = record["metrics"].get(quantity.name)
        if record["status"] != "ok":
            continue
        if value is None:
            # Trials without epochs have no target.
            if quantity.target and record["settings"].get(quantity.target) is not None:
                values[record["trial"]] = math.inf
        elif math.isfinite(value) and (quantity.kind == "accuracy" or value > 0):
            # The extraction time of an earlier trial says nothing about this one.
            is_earlier = record["metrics"].get("extract_reused")
            if not (quantity.name.startswith("extract_") and is_earlier):
                values[record["trial"]] = float(value)
    return values


def _medians(records: Sequence[Record], quantity: Quantity) -> list[float]:
    """Return the median of a column in each session."""
    values = (_values(session, quantity).values() for session in sessions_of(records))
    return [median(known) for known in values if known]


def _drop_moot_requirements(verdicts: Sequence[Verdict], *, is_chosen: bool) -> Iterator[Verdict]:
    """Yield verdicts, those no longer required that others make superfluous.

    If it is decided who misses a target more often, the time to it need not be. Of alternatives one
    has to be decided, unless the user chose the columns.
    """
    are_misses_decided = any(v.column == MISSES and v.word in WORDS["misses"] for v in verdicts)
    decided = [
        QUANTITIES[v.column]
        for v in verdicts
        if v.kind != "misses" and QUANTITIES[v.column].is_alternative and v.word != "undecidable"
    ]
    for verdict in verdicts:
        quantity = QUANTITIES.get(verdict.column)
        is_moot = False
        if quantity is not None:
            # The fastest epochs know nothing of what slows down some of the others.
            is_replaced = any(not (q.is_best_case and verdict.may_be_worse) for q in decided)
            is_moot = (bool(quantity.target) and are_misses_decided) or (
                not is_chosen and quantity.is_alternative and is_replaced
            )
        yield replace(verdict, is_required=verdict.is_required and not is_moot)


def _resolution(records: Sequence[Record], quantity: Quantity) -> float:
    """Return the difference of accuracy that so few images cannot show.

    Both sides see the same images. Where they disagree on some, chance alone has all of those in
    A's favour less than one time in 64 only if they are six or more.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages" (1947): what both sides agree on tells nothing.
    """
    split = quantity.name.removesuffix("_top1")
    known = [count for record in records if (count := record.get(f"{split}_count"))]
    return _FEWEST_IMAGES / min(known) if known else 0.0
