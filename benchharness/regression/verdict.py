"""When a difference is one: pairs of measurements, an interval, a threshold, a word.

The rule is sequential: it is asked again after every other pair, until it decides or no more pairs
are to be had. Its intervals are those of the signed-rank test, exact for symmetric noise with
tails of any weight, as the noise of a quotient of two like measurements is. ``LEVEL`` is what one
look may err with at one end; simulated over the eight looks from 6 to 20 pairs, a difference of
exactly the threshold is called more or less than that one time in twenty each. Equal code is much
farther from the threshold than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchharness.measure.signed_rank import centre, fewest, lower_bound, upper_bound
from benchharness.model.quantities import Kind, Quantity

LEVEL = 1 / 64
# Before a quotient's interval has two ends there is nothing to decide.
FEWEST_PAIRS = fewest(LEVEL)
Word = Literal["same", "slower", "faster", "more", "less", "worse", "better", "undecidable"]
# What the sides are called that are beyond the threshold: B worse, B better.
_WORDS: dict[Kind, tuple[Word, Word]] = {
    "speed": ("slower", "faster"),
    "amount": ("more", "less"),
    "accuracy": ("worse", "better"),
}
WORSE = frozenset(worse for worse, _ in _WORDS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How much worse B is, pair by pair.

    Attributes:
        costs: Logarithms of the quotients B / A of seconds or bytes; of accuracies the differences
            A - B. Positive where B is worse.
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
        costs = tuple(cost(quantity, ours, theirs) for ours, theirs in pairs)
        return cls(quantity=quantity, costs=costs, trials=(len(pairs), len(pairs)))

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
            how much lower B is, above 0 where it is worse. None without a pair.
        low: Lower end of its interval; None where there are too few pairs for one.
        high: Its upper end.
        pairs: Of trials; of the side that has fewer, where they are no pairs.
        threshold: How much worse counts.
        is_paired: Whether trials were compared that ran next to each other.
        is_required: Whether being undecided matters.
    """

    column: str
    kind: Kind
    word: Word
    change: float | None
    low: float | None
    high: float | None
    pairs: int
    threshold: float
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
    quotient = math.log(theirs / ours)
    return -quotient if quantity.is_rate else quotient


def judge(sample: Sample, *, threshold: float, is_required: bool = True) -> Verdict:
    """Return what a sample says.

    ``same`` where the whole interval is within the threshold on both sides, a word for worse or
    better where all of it is beyond, ``undecidable`` where it straddles the threshold.

    Args:
        threshold: A share; of accuracies a difference.
        is_required: Whether being undecided matters.
    """
    quantity = sample.quantity
    limit = threshold if quantity.kind == "accuracy" else math.log1p(threshold)
    low, high = bounds(sample)
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
        change=_shown(centre(sample.costs), quantity.kind) if sample.costs else None,
        low=_shown(low, quantity.kind),
        high=_shown(high, quantity.kind),
        pairs=min(sample.trials),
        threshold=threshold,
        is_paired=sample.is_paired,
        is_required=is_required,
    )


def bounds(sample: Sample, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a sample's centre; infinite where there are too few trials.

    Args:
        level: Probability of error at one end.
    """
    if sample.is_paired:
        low, high = lower_bound(sample.costs, level), upper_bound(sample.costs, level)
    else:
        low, high = _moses(sample, level)
    return low - sample.drift, high + sample.drift


def _moses(sample: Sample, level: float) -> tuple[float, float]:
    """Return the interval of a shift between two independent samples.

    Source:
        Moses's interval of the rank-sum test: Hollander, Wolfe and Chicken, "Nonparametric
        Statistical Methods" (2014), 4.3.
    """
    from benchharness.measure.rank_sum import smallest_rank

    rank = smallest_rank(*sample.trials, level=level)
    if not rank:
        return -math.inf, math.inf
    ordered = sorted(sample.costs)
    return ordered[rank - 1], ordered[-rank]


def _shown(value: float, kind: Kind) -> float | None:
    if math.isinf(value):
        return None
    return value if kind == "accuracy" else math.exp(value)
