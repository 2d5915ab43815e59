"""Answers of a report: who is faster, by how much, how surely, and whether work was the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchharness.measure.accuracy import AccuracyDifference
from benchharness.measure.sequential import FEWEST
from benchharness.measure.statistics import Ratio
from benchharness.report.pairs import Accuracy, Family, Finding, Mean, Measure, Pair
from benchharness.report.rows import (
    Row,
    backends_of,
    cores_of,
    notable_outside_share,
    printable,
    rows_of,
)
from benchharness.results.cells import proof_word
from benchharness.results.record import Record

NATIVE = "native track, each framework as its users write it: "
# What stands beside every figure of trials that other processes disturbed.
DISTURBED = "machine busy: unreliable"
# Nearer to 1 than this, an end of an interval would be rounded onto it.
CLOSE_TO_ONE = 0.005
# A larger factor than this is no difference that anyone looks for.
LARGEST_DETECTABLE = 10
# A ratio of computation alone that is nearer to the ratio of speeds adds nothing.
NEAR = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryLine:
    """One answer line.

    Attributes:
        subject: What it is about: a row of the table, or ``overall``.
        said: The claim with its verdict.
        beside: What else a reader wants to know, a clause each.
    """

    subject: str
    said: str
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the whole line."""
        return f"{self.subject}: {'; '.join([self.said, *self.beside])}"


def answers_of(rows: Sequence[Row]) -> list[str]:
    """Return the overall answers, then those of each row, the fastest backend against the others.

    A row with fewer than two backends that came to an end has no answer.
    """
    return list(map(str, summary_of(rows)))


def answers_in(run: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the answers of a run.

    Args:
        run: As in run.json.
        records: The last of each trial.
    """
    return answers_of(rows_of(records, backends_of(run, records), cores=cores_of(run)))


def summary_of(rows: Sequence[Row]) -> list[SummaryLine]:
    """Return the same answers, not yet put together."""
    family = Family.of(rows)
    return [*_overall(family), *(answer for row in rows for answer in _of_line(row, family))]


def format_comparison(
    measure: Measure, finding: Finding, *, ours: str, theirs: str, proof: str
) -> str:
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
    why = format_ci(ratio, is_disturbed=finding.is_disturbed)
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
            f"({why}; {_undecided(finding)})"
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
    return f"same work: {word or 'not requested'}"


def format_ci(ratio: Ratio, *, is_disturbed: bool = False) -> str:
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


def _of_line(row: Row, family: Family) -> Iterator[SummaryLine]:
    pairs = family.pairs[row.name]
    rates = {
        cell.backend: cell.median(pair.rate) or 0.0
        for pair in pairs
        for cell in (pair.ours, pair.theirs)
    }
    fastest = max(rates, key=rates.__getitem__, default="")
    for pair in pairs:
        if fastest in (pair.ours.backend, pair.theirs.backend):
            yield _answer(row.name, pair, family)


def _answer(subject: str, pair: Pair, family: Family) -> SummaryLine:
    finding = family.finding(pair)
    if finding.ratio.log < 0:
        finding, pair = finding.inverse, pair.swapped
    ours, theirs = printable(pair.ours.backend), printable(pair.theirs.backend)
    native = NATIVE if pair.ours.track == "native" else ""
    said = format_comparison(
        pair.measure, finding, ours=ours, theirs=theirs, proof=printable(pair.proof)
    )
    beside = (*_details(pair), *_misses(pair), *_accuracy(pair.accuracy(comparisons=family.scored)))
    return SummaryLine(subject=subject, said=f"{native}{said}", beside=beside)


def _details(pair: Pair) -> Iterator[str]:
    """Yield the ratios behind the first one, in its order of backends."""
    speed, extraction = pair.speed(), pair.extraction()
    if pair.apart and not pair.is_separate_run:
        trials = "1 trial" if pair.apart == 1 else f"{pair.apart} trials"
        yield f"{trials} of each side excluded, because they did not run next to each other"
    if pair.is_target_met and speed:
        yield f"{pair.work.noun} {times_text(speed)}x ({_ci(speed, pair)})"
    if pair.ours.strategy == "bottleneck":
        yield (
            f"extraction before it {times_text(extraction)}x ({_ci(extraction, pair)})"
            if extraction
            else "extraction not compared, stored features were read"
        )
    yield from _computation(pair)


def _computation(pair: Pair) -> Iterator[str]:
    """Yield what an answer says of a pair: the shares above the limit, the computation alone."""
    shares = ((cell.backend, notable_outside_share(cell)) for cell in (pair.ours, pair.theirs))
    notable = [f"{printable(backend)}: {100 * s:.0f} %" for backend, s in shares if s is not None]
    if notable:
        sides = ", ".join(notable)
        whose = "its" if len(notable) == 1 else "their"
        yield f"{sides} of a step is outside {whose} computation"
    speed, computation = pair.speed(), pair.computation()
    if pair.ours.track != "equal" or speed is None or computation is None:
        return
    times = speed.times / computation.times
    if notable or not 1 / NEAR <= times <= NEAR:
        why = format_ci(computation, is_disturbed=pair.is_disturbed)
        yield f"computation alone {times_text(computation)}x ({why})"


def _misses(pair: Pair) -> Iterator[str]:
    if pair.ours.target_top1 is not None and not pair.is_target_met:
        counts = ", ".join(
            f"by {printable(cell.backend)} in {len(cell.values('time_to_top1_s'))} "
            f"of {len(cell.ok)} trials"
            for cell in (pair.ours, pair.theirs)
        )
        yield f"{pair.ours.target_top1:g} validation top-1 reached {counts}"


def _accuracy(accuracy: Accuracy | None) -> Iterator[str]:
    if accuracy is None:
        return
    ours, theirs = ([score.top1 for score in side] for side in (accuracy.ours, accuracy.theirs))
    yield (
        f"{accuracy.split} top-1 {_top1(ours)} against {_top1(theirs)}, "
        f"{_verdict(accuracy.difference)} ({_points(accuracy)})"
    )


def _verdict(difference: AccuracyDifference) -> str:
    """Return what is said of two accuracies: of the frameworks, or of the models at hand alone."""
    equal = f"equal within {100 * difference.margin:g} point"
    if difference.is_of_frameworks or difference.verdict == "undecided":
        return equal if difference.verdict == "equal" else difference.verdict
    models = "these two trained models" if difference.trials == 1 else "these trained models"
    return f"{models} {'differ' if difference.verdict == 'different' else f'are {equal}'}"


def _points(accuracy: Accuracy) -> str:
    """Return the interval in points, McNemar's p-value where it decides, and what lies behind."""
    difference, images = accuracy.difference, accuracy.ours[0].of
    middle, low, high = (
        f"{100 * share:+.1f}" for share in (difference.difference, difference.low, difference.high)
    )
    text = f"{middle} points, 95 % CI {low} to {high}"
    if difference.p_value is not None and difference.verdict == "different":
        text += f", McNemar p = {difference.p_value:.2g}"
    return f"{text}; {images:,} images"


def _top1(values: Sequence[float]) -> str:
    # The mean, for the difference and its interval are of means.
    low, middle, high = (f"{value:.3f}" for value in (min(values), fmean(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def _overall(family: Family) -> Iterator[SummaryLine]:
    """Yield an answer for the leader and each other backend."""
    findings = [(mean, family.finding(mean)) for mean in family.means if mean.ratio()]
    ahead = Counter(mean.backends[0 if f.ratio.log >= 0 else 1] for mean, f in findings)
    leader = max(ahead, key=ahead.__getitem__, default="")
    for mean, finding in findings:
        if leader in mean.backends:
            yield _overall_answer(mean, finding, family)
    if not findings and (reasons := [mean.left_out for mean in family.means if mean.is_proven]):
        said = "no ratio, because fewer than two benchmarks measured all of the work"
        yield SummaryLine(subject="overall", said=f"{said}: {reasons[0]}")


def _overall_answer(mean: Mean, finding: Finding, family: Family) -> SummaryLine:
    ours, theirs = map(printable, mean.backends)
    verdicts = Counter(family.finding(pair).verdict for pair in mean.proven)
    won, lost = verdicts["faster"], verdicts["slower"]
    if finding.ratio.log < 0:
        finding, ours, theirs, won, lost = finding.inverse, theirs, ours, lost, won
    rows = len(mean.proven)
    beside = [
        f"geometric mean over {len(mean.counted)} benchmarks, one vote each: their typical ratio",
        f"of {rows} line{'s' if rows > 1 else ''} {ours} wins {won}, {theirs} {lost}, "
        f"equal {verdicts['equal']}, undecided {verdicts['open']}",
    ]
    if mean.left_out:
        beside.append(f"left out: {mean.left_out}")
    said = format_comparison(mean.measure, finding, ours=ours, theirs=theirs, proof="proven")
    return SummaryLine(subject="overall", said=said, beside=tuple(beside))


def _ci(ratio: Ratio, pair: Pair) -> str:
    return format_ci(ratio, is_disturbed=pair.is_disturbed)


def _decimals(ratio: Ratio) -> int:
    return 3 if any(abs(end - 1) < CLOSE_TO_ONE for end in (ratio.low, ratio.high)) else 2


def _undecided(finding: Finding) -> str:
    """Return what difference would have been shown, and what it takes to decide."""
    factor = finding.rule.detectable(finding.ratio)
    percent = f"{math.ceil(100 * (factor - 1))} %" if factor < 2 else f"{factor:.3g}x"
    shown = percent if factor <= LARGEST_DETECTABLE else f"over {LARGEST_DETECTABLE}x"
    family = f" among {finding.comparisons} comparisons" if finding.comparisons > 1 else ""
    more = finding.rule.more(finding.ratio)
    trials = f"{more} more trial{'s' if more > 1 else ''}" if more else ""
    hope = f"; {trials} would probably decide" if more else ""
    return f"minimum detectable difference {shown}{family}{hope}"
