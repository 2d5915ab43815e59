"""When a difference is one: pairs of measurements, an interval, a threshold, a word.

The intervals are those of the signed-rank test, exact for symmetric noise with tails of any weight,
as the noise of a quotient of two like measurements is; of trials that are no pairs those of the
rank-sum test. Both know only the order of the differences, so that a target which is never reached
counts as an infinite time. How often one look may err is the caller's to say, for it follows from
the number of looks (``benchharness.compare.looks``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from benchharness.measure.statistics import (
    centre,
    lower_bound,
    paired_p_value,
    unpaired_p_value,
    upper_bound,
)
from benchharness.model.quantities import Kind, Quantity

# The column of trials that never reach their target.
MISSES = "target_misses"
# Level of a bound that only says whether to go on: equal code passes it at the first look most
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
# What the sides are called that are beyond the threshold: B worse, B better.
_WORDS: dict[Kind | Literal["misses"], tuple[Word, Word]] = {
    "speed": ("slower", "faster"),
    "amount": ("more", "less"),
    "accuracy": ("worse", "better"),
    "misses": ("missed", "reached"),
}
WORSE = frozenset(worse for worse, _ in _WORDS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How much worse B is, pair by pair.

    Attributes:
        costs: Logarithms of the quotients B / A of seconds or bytes; of accuracies the differences
            A - B. Positive where B is worse, infinite where one side never got there; pairs in
            which neither did are left out, and between unpaired trials are NaN.
        drift: How far the sides may differ for another reason than B; 0 where they took turns.
        is_paired: Whether each entry comes from two trials that ran next to each other.
        trials: Of A and of B.
    """

    quantity: Quantity
    costs: tuple[float, ...]
    trials: tuple[int, int]
    drift: float = 0.0
    is_paired: bool = True

    @classmethod
    def paired(cls, quantity: Quantity, pairs: Sequence[tuple[float, float]]) -> Sample:
        """Return the sample of some pairs (A, B) of a column's values."""
        costs = (cost(quantity, ours, theirs) for ours, theirs in pairs)
        known = tuple(cost for cost in costs if not math.isnan(cost))
        return cls(quantity=quantity, costs=known, trials=(len(pairs), len(pairs)))

    @classmethod
    def unpaired(
        cls, quantity: Quantity, ours: Sequence[float], theirs: Sequence[float], *, drift: float
    ) -> Sample:
        """Return the sample of trials that ran at different times: every one against every other.

        Args:
            drift: How far equal code may differ between those times, a share.
        """
        costs = tuple(cost(quantity, one, other) for one in ours for other in theirs)
        return cls(
            quantity=quantity,
            costs=costs,
            trials=(len(ours), len(theirs)),
            drift=math.log1p(drift) if quantity.kind == "speed" else 0.0,
            is_paired=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of one column of one cell.

    Attributes:
        change: How many times as slow or as large B is, above 1 where it is worse; of accuracies
            how much lower B is, above 0 where it is worse. None without a pair, and where most
            trials of one side never got there.
        low: Lower end of its interval; None where there are too few pairs for one, or it is
            infinite.
        high: Its upper end.
        pairs: Of trials; of the side that has fewer, where they are no pairs.
        threshold: How much worse counts.
        level: How often each end of the interval may err at this look.
        may_be_worse: Whether B is worse by more than the threshold at the end of an interval that
            errs one time in five there, or its misses are as rare by chance.
        misses: Of A and of B how many trials missed the target, and of how many; of the column
            ``target_misses`` alone.
        is_paired: Whether trials were compared that ran next to each other.
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
    def is_open(self) -> bool:
        """Whether something matters that is not known."""
        return self.word == "undecidable" and self.is_required

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON knows it."""
        return asdict(self)


def cost(quantity: Quantity, ours: float, theirs: float) -> float:
    """Return how much worse B's value is than A's, as ``Sample.costs`` counts it."""
    if quantity.kind == "accuracy":
        return ours - theirs
    quotient = math.log(theirs) - math.log(ours)
    return -quotient if quantity.is_rate else quotient


def judge(sample: Sample, *, threshold: float, level: float, is_required: bool = True) -> Verdict:
    """Return what a sample says.

    ``same`` where the whole interval is within the threshold on both sides, a word for worse or
    better where all of it is beyond, ``undecidable`` where it straddles the threshold.

    Args:
        threshold: A share; of accuracies a difference.
        level: How often each end of the interval may err.
        is_required: Whether being undecided matters.
    """
    quantity = sample.quantity
    limit = threshold if quantity.kind == "accuracy" else math.log1p(threshold)
    low, high = bounds(sample, level=level)
    worse, better = _WORDS[quantity.kind]
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
        change=_shown(_centre(sample), quantity.kind) if sample.costs else None,
        low=_shown(low, quantity.kind),
        high=_shown(high, quantity.kind),
        pairs=min(sample.trials),
        threshold=threshold,
        level=level,
        may_be_worse=bounds(sample, level=_DOUBT)[1] > limit,
        is_paired=sample.is_paired,
        is_required=is_required,
    )


def judge_misses(
    ours: Sequence[bool],
    theirs: Sequence[bool],
    *,
    is_paired: bool,
    level: float,
    is_required: bool = False,
) -> Verdict:
    """Return whether B misses a target more often than A.

    ``same`` where a B that misses half of what A reaches would have missed more.

    Args:
        ours: Whether each trial of A missed it.
        theirs: Of B; where they are pairs, in the same order.
        is_paired: Whether trials ran next to each other, with one seed.
        level: How often each word may be wrong.
        is_required: Whether being undecided matters however it looks; it does where B looks worse.
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
    worse, better = _WORDS["misses"]
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
    """Return the interval of a sample's centre; infinite where there are too few trials.

    Args:
        level: Probability of error at one end.
    """
    if sample.is_paired:
        low, high = lower_bound(sample.costs, level), upper_bound(sample.costs, level)
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
        return centre(sample.costs)
    known = [cost for cost in sample.costs if not math.isnan(cost)]
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
    # Where neither side got there, either may be the slower one by any factor.
    low, high = (
        sorted(other if math.isnan(cost) else cost for cost in sample.costs)
        for other in (-math.inf, math.inf)
    )
    return low[rank - 1], high[-rank]


def _shown(value: float, kind: Kind) -> float | None:
    if not math.isfinite(value):
        return None
    return value if kind == "accuracy" else math.exp(value)
