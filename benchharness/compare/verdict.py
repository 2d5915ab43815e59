"""Verdict on a cell: limits, samples, intervals, and the rule that decides what counts as worse.

The intervals are those of the signed-rank test, exact for symmetric noise with tails of any weight,
as the noise of a ratio of two like measurements is; for unpaired trials those of the rank-sum test.
Both use only the order of the differences, so a target that is never reached counts as an infinite
time. The error allowed at one look follows from the number of looks (``sampling.level_of``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from benchharness.errors import Problem, SuiteError
from benchharness.measure.statistics import (
    centre,
    lower_bound,
    paired_p_value,
    unpaired_p_value,
    upper_bound,
)
from benchharness.model.quantities import QUANTITIES, USUAL, Kind, Quantity
from benchharness.suite.file import DRIFT
from benchharness.text import quote, suggest

# The column of trials that never reach their target.
MISSES = "target_misses"
# Level of a bound that only says whether to continue: equal code passes it at the first look most
# often, and in simulations a change of twice the limit in one of a hundred comparisons.
_DOUBT = 0.2
Word = Literal[
    "same",
    "slower",
    "faster",
    "more",
    "less",
    "worse",
    "better",
    "missed",
    "reached",
    "undecidable",
]
# The words for a side beyond the threshold: B worse, B better.
WORDS: dict[Kind | Literal["misses"], tuple[Word, Word]] = {
    "speed": ("slower", "faster"),
    "amount": ("more", "less"),
    "accuracy": ("worse", "better"),
    "misses": ("missed", "reached"),
}
WORSE = frozenset(worse for worse, _ in WORDS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Columns to compare, and how much worse counts.

    Attributes:
        columns: Compared, in this order.
        is_chosen: Whether the user or the suite named them: then each has to be decided.
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
        """Return the criteria of a suite.

        Args:
            described: Its regression settings, as in ``resolved`` of run.json; may be empty.
            columns: In place of the suite's; empty for those.
            thresholds: Of the user, by column.
        """
        chosen = tuple(dict.fromkeys(columns)) or tuple(described.get("columns") or ())
        # A threshold for a column outside the usual ones asks for that column, too.
        extra = [name for name in thresholds if name not in USUAL and not chosen]
        usual = (*USUAL, *(name for name in extra if QUANTITIES[name].kind != "speed"))
        return cls(
            columns=chosen or usual,
            is_chosen=bool(chosen),
            stated=described.get("thresholds") or {},
            requested=thresholds,
            drift=described.get("drift", DRIFT),
        )

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The columns with what is known of them."""
        return tuple(QUANTITIES[name] for name in self.columns)

    @property
    def targets(self) -> tuple[Quantity, ...]:
        """Columns whose missed targets are counted: those compared, or all if none is chosen."""
        quantities = self.quantities if self.is_chosen else tuple(QUANTITIES.values())
        return tuple(quantity for quantity in quantities if quantity.target)

    @property
    def is_extraction_compared(self) -> bool:
        """Whether each trial has to extract its features again."""
        return "extract_images_per_s" in self.columns

    def threshold(self, benchmark: str, column: str, *, drift: float = 0.0) -> float:
        """Return how much worse counts.

        Args:
            benchmark: Its name.
            column: Its name.
            drift: How far equal code may differ in speed for other reasons. An unstated threshold
                is at least twice that: with less, equal code would hardly ever be called the same.
        """
        quantity = QUANTITIES[column]
        usual = quantity.threshold
        if quantity.kind == "speed":
            usual = max(usual, 2 * drift)
        return self.stated_threshold(benchmark, column) or usual

    def stated_threshold(self, benchmark: str, column: str) -> float | None:
        """Return the threshold of the user, or else of the suite; None if neither states one."""
        return self.requested.get(column) or self.stated.get(benchmark, {}).get(column)

    def is_required(self, quantity: Quantity) -> bool:
        """Return whether a column has to be decided; of alternatives one decided column will do."""
        return self.is_chosen or not quantity.is_watched


def read_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Return the thresholds of the command line by column.

    Args:
        texts: ``5%`` or ``0.05`` for every speed, ``COLUMN=2%`` for one column.

    Raises:
        SuiteError: A text is not understood; every such text is named.
    """
    of_all: dict[str, float] = {}
    of_columns: dict[str, float] = {}
    problems: list[Problem] = []
    for text in texts:
        column, sign, value = text.rpartition("=")
        share = _share(value)
        if share is None:
            problems.append(
                Problem(where="--threshold", expected="a share above 0 as 5%", found=quote(text))
            )
        elif sign:
            problems += unknown_columns([column], option="--threshold")
            of_columns[column] = share
        else:
            of_all |= {
                name: share for name, quantity in QUANTITIES.items() if quantity.kind == "speed"
            }
    if problems:
        raise SuiteError("command line", problems)
    return of_all | of_columns


def unknown_columns(names: Sequence[str], *, option: str) -> list[Problem]:
    """Return a problem for each name that is no column to compare."""
    return [
        Problem(
            where=option,
            expected="a column that can be compared",
            found=quote(name),
            hint=suggest(name, QUANTITIES),
        )
        for name in names
        if name not in QUANTITIES
    ]


def _share(text: str) -> float | None:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        return None
    return share if 0 < share <= 10 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Differences of B from A in one column, pair by pair; positive where B is worse.

    Attributes:
        log_ratios: Logarithms of B / A of seconds or bytes; of accuracies the differences A - B.
            Positive where B is worse, infinite where one side missed its target; pairs in which
            both did are left out, and between unpaired trials are NaN.
        drift: Logarithm of how far the sides may differ for other reasons; 0 if they took turns.
        is_paired: Whether each entry comes from two trials that ran next to each other.
        trials: Of A and of B.
    """

    quantity: Quantity
    log_ratios: tuple[float, ...]
    trials: tuple[int, int]
    drift: float = 0.0
    is_paired: bool = True

    @classmethod
    def paired(cls, quantity: Quantity, pairs: Sequence[tuple[float, float]]) -> Sample:
        """Return the sample of some pairs (A, B) of a column's values."""
        ratios = (log_ratio(quantity, ours, theirs) for ours, theirs in pairs)
        known = tuple(ratio for ratio in ratios if not math.isnan(ratio))
        return cls(quantity=quantity, log_ratios=known, trials=(len(pairs), len(pairs)))

    @classmethod
    def unpaired(
        cls, quantity: Quantity, ours: Sequence[float], theirs: Sequence[float], *, drift: float
    ) -> Sample:
        """Return the sample of trials that ran at different times: each against each.

        Args:
            drift: How far equal code may differ between those times, a share.
        """
        return cls(
            quantity=quantity,
            log_ratios=tuple(log_ratio(quantity, a, b) for a in ours for b in theirs),
            trials=(len(ours), len(theirs)),
            drift=math.log1p(drift) if quantity.kind == "speed" else 0.0,
            is_paired=False,
        )


def log_ratio(quantity: Quantity, ours: float, theirs: float) -> float:
    """Return how much worse B's value is than A's, as in ``Sample.log_ratios``."""
    if quantity.kind == "accuracy":
        return ours - theirs
    ratio = math.log(theirs) - math.log(ours)
    return -ratio if quantity.is_rate else ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Decision on one column of one cell.

    Attributes:
        change: B / A of seconds or bytes, above 1 where B is worse; of accuracies A - B. None
            without a pair, and if most trials of one side missed their target.
        low: Lower end of its interval; None if there are too few pairs, or if it is infinite.
        high: Its upper end.
        pairs: Of trials; of the side that has fewer, if they are unpaired.
        threshold: How much worse counts.
        level: How often each end of the interval may err at this look.
        may_be_worse: Whether B is beyond the threshold at the end of an interval that errs one time
            in five, or its misses are as rare by chance.
        misses: Of A and of B, missed targets and trials; of the column ``target_misses`` alone.
        is_paired: Whether the trials ran next to each other.
        is_required: Whether being undecided matters.
    """

    column: str
    kind: Kind | Literal["misses"]
    word: Word
    change: float | None
    low: float | None
    high: float | None
    pairs: int
    threshold: float
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

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON knows it."""
        return asdict(self)


def decide(sample: Sample, *, threshold: float, level: float, is_required: bool = True) -> Verdict:
    """Return the verdict on a sample.

    ``same`` if the whole interval is within the threshold on both sides, a word for worse or better
    if all of it is beyond, ``undecidable`` if it straddles the threshold.

    Args:
        threshold: A share; of accuracies a difference.
        level: How often each end of the interval may err.
        is_required: Whether being undecided matters.
    """
    quantity = sample.quantity
    limit = threshold if quantity.kind == "accuracy" else math.log1p(threshold)
    low, high = bounds(sample, level=level)
    worse, better = WORDS[quantity.kind]
    word: Word = "undecidable"
    if low > limit:
        word = worse
    elif high < -limit:
        word = better
    elif -limit < low and high < limit:
        word = "same"
    return Verdict(
        column=quantity.name,
        kind=quantity.kind,
        word=word,
        change=_finite(_centre(sample), quantity.kind) if sample.log_ratios else None,
        low=_finite(low, quantity.kind),
        high=_finite(high, quantity.kind),
        pairs=min(sample.trials),
        threshold=threshold,
        level=level,
        may_be_worse=bounds(sample, level=_DOUBT)[1] > limit,
        is_paired=sample.is_paired,
        is_required=is_required,
    )


def decide_misses(
    ours: Sequence[bool],
    theirs: Sequence[bool],
    *,
    is_paired: bool,
    level: float,
    is_required: bool = False,
) -> Verdict:
    """Return whether B misses a target more often than A.

    ``same`` if a B that misses half of what A reaches would have missed more.

    Args:
        ours: Whether each trial of A missed it.
        theirs: Of B; in the same order if they are pairs.
        is_paired: Whether trials ran next to each other, with one seed.
        level: How often each word may be wrong.
        is_required: Whether being undecided always matters; it does where B looks worse.
    """
    from scipy.stats import binom

    counts = ((sum(ours), len(ours)), (sum(theirs), len(theirs)))
    if is_paired:
        more = sum(b and not a for a, b in zip(ours, theirs, strict=True))
        fewer = sum(a and not b for a, b in zip(ours, theirs, strict=True))
        p_worse, p_better = paired_p_value(more, fewer), paired_p_value(fewer, more)
    else:
        p_worse, p_better = unpaired_p_value(*counts), unpaired_p_value(*counts[::-1])
    reached = [b for a, b in zip(ours, theirs, strict=True) if not a] if is_paired else theirs
    is_rare = binom.cdf(sum(reached), len(reached), 0.5) <= level
    worse, better = WORDS["misses"]
    word: Word = "same" if is_rare else "undecidable"
    word = worse if p_worse <= level else better if p_better <= level else word
    return Verdict(
        column=MISSES,
        kind="misses",
        word=word,
        change=None,
        low=None,
        high=None,
        pairs=min(len(ours), len(theirs)),
        threshold=0.0,
        level=level,
        misses=counts,
        may_be_worse=p_worse <= _DOUBT,
        is_paired=is_paired,
        is_required=is_required or p_worse <= _DOUBT,
    )


def bounds(sample: Sample, *, level: float) -> tuple[float, float]:
    """Return the interval of a sample's centre; infinite if there are too few trials.

    Args:
        level: Probability of error at one end.
    """
    if sample.is_paired:
        low, high = lower_bound(sample.log_ratios, level), upper_bound(sample.log_ratios, level)
    else:
        low, high = _moses(sample, level)
    return low - sample.drift, high + sample.drift


def _centre(sample: Sample) -> float:
    """Return the estimate that belongs to a sample's interval.

    Source:
        Of independent samples the median of all differences: Hodges and Lehmann, "Estimates of
        location based on rank tests" (1963).
    """
    if sample.is_paired:
        return centre(sample.log_ratios)
    known = [ratio for ratio in sample.log_ratios if not math.isnan(ratio)]
    return median(known) if known else math.nan


def _moses(sample: Sample, level: float) -> tuple[float, float]:
    """Return the interval of a shift between two independent samples.

    Source:
        Moses's interval of the rank-sum test: Hollander, Wolfe and Chicken, "Nonparametric
        Statistical Methods" (2014), 4.3.
    """
    from benchharness.measure.statistics import smallest_rank

    rank = smallest_rank(*sample.trials, level=level)
    if not rank:
        return -math.inf, math.inf
    # If neither side got there, either may be the slower by any factor.
    low, high = (
        sorted(other if math.isnan(ratio) else ratio for ratio in sample.log_ratios)
        for other in (-math.inf, math.inf)
    )
    return low[rank - 1], high[-rank]


def _finite(value: float, kind: Kind) -> float | None:
    if not math.isfinite(value):
        return None
    return value if kind == "accuracy" else math.exp(value)
