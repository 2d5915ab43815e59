"""What a ratio allows to be said, in words: a winner, no difference, or a number and no more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchharness.measure.statistics import Ratio
from benchharness.results.cells import proof_word

# Nearer to 1 than this, an end of an interval would be rounded onto it.
CLOSE_TO_ONE = 0.005
# Where only a larger ratio than this would have shown, an interval's ends tell nobody anything.
HOPELESS_ABOVE = 10


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


def claim(measure: Measure, ratio: Ratio, *, ours: str, theirs: str, proof: str) -> str:
    """Return a ratio as a clause that claims no more than proof and interval bear.

    A winner has a proof and an interval that excludes 1.

    Args:
        measure: What the ratio is of.
        ratio: How many times as fast ours is.
        ours: Backend that the ratio belongs to.
        theirs: The other one.
        proof: Verdict on the pair.
    """
    times, why = f"{times_text(ratio)}x", certainty(ratio)
    if proof != "proven":
        return f"{measure.noun}: ratio {times}, {ours} to {theirs} ({why}), but {same_work(proof)}"
    if ratio.pairs < 2:
        said = (
            f"{ours} {times} {theirs} in {measure.noun}, one trial: nothing can be said of "
            "chance; ask for --trials 5"
        )
    elif ratio.is_decided:
        said = f"{ours} {measure.verb} {times} {measure.adverb} than {theirs} ({why})"
    else:
        said = (
            f"no difference shown between {ours} and {theirs} in {measure.noun}: {times} "
            f"({_indecision(ratio)})"
        )
    return f"{said}; {same_work(proof)}"


def same_work(proof: str) -> str:
    """Return the verdict as it stands beside a ratio."""
    word = proof_word(proof)
    if word == "partial":
        return f"same work: NOT PROVEN ({proof})"
    if word == "not comparable":
        reason = proof.partition(":")[2].strip()
        return "same work: NOT COMPARABLE" + (f" ({reason})" if reason else "")
    return f"same work: {word or 'not asked'}"


def certainty(ratio: Ratio) -> str:
    """Return the interval and the number of trials behind a ratio."""
    if ratio.low is None or ratio.high is None:
        return "one trial"
    if _is_hopeless(ratio) and not ratio.is_decided:
        return f"{ratio.pairs} trials, too few for how they scatter"
    decimals = _decimals(ratio)
    low, high = (f"{end:.{decimals}f}" for end in (ratio.low, ratio.high))
    return f"95 % CI {low}-{high}, {ratio.pairs} trials"


def times_text(ratio: Ratio) -> str:
    """Return the ratio with as many decimals as its interval has."""
    return f"{ratio.median:.{_decimals(ratio)}f}"


def _decimals(ratio: Ratio) -> int:
    ends = (end for end in (ratio.low, ratio.high) if end is not None)
    return 3 if any(abs(end - 1) < CLOSE_TO_ONE for end in ends) else 2


def _indecision(ratio: Ratio) -> str:
    """Return why a ratio decides nothing, and what it takes."""
    if _is_hopeless(ratio):
        return f"{certainty(ratio)}; ask for --trials 5 or more"
    factor = ratio.detectable or math.inf
    shown = f"{math.ceil(100 * (factor - 1))} %" if factor < 2 else f"{factor:.3g}x"
    return f"{certainty(ratio)}; {shown} would have shown"


def _is_hopeless(ratio: Ratio) -> bool:
    return (ratio.detectable or math.inf) > HOPELESS_ABOVE
