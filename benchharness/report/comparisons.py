"""What a ratio allows to be said, in words: a winner, equal within a margin, or a number alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from benchharness.measure.sequential import FEWEST, Rule, Verdict
from benchharness.measure.statistics import Ratio
from benchharness.results.cells import proof_word

# Nearer to 1 than this, an end of an interval would be rounded onto it.
CLOSE_TO_ONE = 0.005
# What stands beside every figure of trials that other processes disturbed.
DISTURBED = "machine busy: unreliable"
# A larger factor than this is no difference that anyone looks for.
LARGEST_DETECTABLE = 10
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


def claim(measure: Measure, finding: Finding, *, ours: str, theirs: str, proof: str) -> str:
    """Return a ratio as a clause that claims no more than proof and chance bear.

    Args:
        measure: What the ratio is of.
        finding: Of ours, which is ahead.
        ours: Backend that the ratio belongs to.
        theirs: The other one.
        proof: Verdict on the pair.
    """
    ratio = finding.ratio
    times = f"{times_text(ratio)}x"
    why = certainty(ratio, is_disturbed=finding.is_disturbed)
    busy = f"{DISTURBED}; " if finding.is_disturbed else ""
    plain = f"{ours} {times} {theirs} in {measure.noun}"
    if proof != "proven":
        return f"{measure.noun}: ratio {times}, {ours} to {theirs} ({why}), but {same_work(proof)}"
    if finding.is_separate_run:
        said = f"{plain} ({why}): the sides ran at different times, so no winner is named"
    elif ratio.trials < 2:
        said = f"{plain} ({busy}only one trial, no confidence interval)"
    elif ratio.trials < FEWEST:
        said = f"{plain} ({busy}two trials: too few to name a winner)"
    elif finding.is_disturbed:
        said = f"{plain} ({why}): no winner is named"
    elif finding.verdict == "faster":
        said = f"{ours} {measure.verb} {times} {measure.adverb} than {theirs} ({why})"
    elif finding.verdict == "equal":
        said = (
            f"{ours} and {theirs} are equal in {measure.noun}, no more than "
            f"{100 * finding.rule.margin:g} % apart: {times} ({why})"
        )
    else:
        shown = "no difference shown" if ratio.low <= 1 <= ratio.high else "no winner"
        said = (
            f"{shown} between {ours} and {theirs} in {measure.noun}: {times} "
            f"({why}; {_indecision(finding)})"
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


def certainty(ratio: Ratio, *, is_disturbed: bool = False) -> str:
    """Return the interval and the number of trials behind a ratio, and that they were disturbed."""
    busy = f"{DISTURBED}; " if is_disturbed else ""
    if ratio.trials < FEWEST:
        return f"{busy}{'one trial' if ratio.trials < 2 else 'two trials'}"
    decimals = _decimals(ratio)
    low, high = (f"{end:.{decimals}f}" for end in (ratio.low, ratio.high))
    return f"{busy}95 % CI {low}-{high}, {ratio.trials} trials"


def times_text(ratio: Ratio) -> str:
    """Return the ratio with as many decimals as its interval has."""
    return f"{ratio.times:.{_decimals(ratio)}f}"


def _decimals(ratio: Ratio) -> int:
    return 3 if any(abs(end - 1) < CLOSE_TO_ONE for end in (ratio.low, ratio.high)) else 2


def _indecision(finding: Finding) -> str:
    """Return what difference would have been shown, and what it takes to decide."""
    factor = finding.rule.detectable(finding.ratio)
    percent = f"{math.ceil(100 * (factor - 1))} %" if factor < 2 else f"{factor:.3g}x"
    shown = percent if factor <= LARGEST_DETECTABLE else f"over {LARGEST_DETECTABLE}x"
    family = f" among {finding.comparisons} comparisons" if finding.comparisons > 1 else ""
    more = finding.rule.more(finding.ratio)
    trials = f"{more} more trial{'s' if more > 1 else ''}" if more else ""
    hope = f"; {trials} would probably decide" if more else ""
    return f"minimum detectable difference {shown}{family}{hope}"
