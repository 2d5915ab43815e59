"""Answers of a report: who is faster, by how much, how surely, and whether work was the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchharness.measure.accuracy import AccuracyDifference, Score
from benchharness.measure.sequential import FEWEST, MARGIN
from benchharness.measure.statistics import Ratio
from benchharness.report.pairs import Accuracy, Family, Measure, Pair, SpeedFinding, pairs_of
from benchharness.report.rows import (
    Row,
    backends_of,
    cores_of,
    counted,
    notable_outside_share,
    printable,
    row_name,
    rows_of,
)
from benchharness.results.cells import proof_word
from benchharness.results.comparisons import log_speed
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
    """One answer on a row of the table, or overall: the claim, and more clauses beside it."""

    subject: str
    said: str
    beside: Sequence[str] = ()
    is_overall: bool = False

    def __str__(self) -> str:
        """Return the whole line."""
        return f"{self.subject}: {'; '.join([self.said, *self.beside])}"


def answers_of(rows: Sequence[Row]) -> list[str]:
    """Return the answers as text."""
    return list(map(str, summary_of(rows)))


def answers_in(run: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the answers of a run."""
    return answers_of(rows_of(records, backends_of(run, records), cores=cores_of(run)))


def summary_of(rows: Sequence[Row]) -> list[SummaryLine]:
    """Return the overall answers, then those of each row, the fastest backend against the others.

    Overall by kind of machine. A row with fewer than two backends that came to an end has none.
    """
    family = Family.of(rows)
    machines = dict.fromkeys(row.machine for row in rows)
    return [
        *(answer for machine in machines for answer in _overall(family, machine)),
        *(answer for row in rows for answer in _of_row(row, family)),
    ]


def format_comparison(
    measure: Measure, finding: SpeedFinding, *, a: str, b: str, proof: str
) -> str:
    """Return the ratio of A, which is ahead, as a clause that claims no more than is proven."""
    ratio = finding.ratio
    times = f"{times_text(ratio)}x"
    why = format_ci(ratio, is_disturbed=finding.is_disturbed)
    between = f"between {a} and {b} in {measure.noun}: {times}"
    if proof != "proven":
        return f"{measure.noun}: ratio {times}, {a} to {b} ({why}), but {_same_work(proof)}"
    if finding.verdict == "faster":
        said = f"{a} {measure.verb} {times} {measure.adverb} than {b} ({why})"
    elif finding.verdict == "equal":
        said = (
            f"{a} and {b} are equal in {measure.noun}, no more than "
            f"{100 * MARGIN:g} % apart: {times} ({why})"
        )
    elif finding.is_separate_run:
        said = f"no winner {between} (the sides ran at different times; {why})"
    elif ratio.trials < FEWEST:
        said = f"no winner {between} ({why}: too few to say)"
    elif finding.is_disturbed:
        said = f"no winner {between} ({why})"
    else:
        shown = "no difference shown" if ratio.low <= 1 <= ratio.high else "no winner"
        said = f"{shown} {between} ({why}; {_undecided(finding)})"
    return f"{said}; {_same_work(proof)}"


def format_ci(ratio: Ratio, *, is_disturbed: bool = False) -> str:
    """Return the interval and how many trials and hosts are behind it, and any disturbance."""
    busy = f"{DISTURBED}; " if is_disturbed else ""
    if ratio.trials < FEWEST:
        return f"{busy}{'one trial' if ratio.trials < 2 else 'two trials'}"
    decimals = _decimals(ratio)
    interval = f"95 % CI {ratio.low:.{decimals}f}-{ratio.high:.{decimals}f}"
    hosts = f" on {ratio.hosts} hosts" if ratio.hosts > 1 else ""
    return f"{busy}{interval}, {ratio.trials} trials{hosts}"


def times_text(ratio: Ratio) -> str:
    """Return the ratio with as many decimals as its interval has."""
    return f"{ratio.times:.{_decimals(ratio)}f}"


def _decimals(ratio: Ratio) -> int:
    return 3 if any(abs(end - 1) < CLOSE_TO_ONE for end in (ratio.low, ratio.high)) else 2


def _same_work(proof: str) -> str:
    word = proof_word(proof)
    if word == "partial":
        return f"same work: NOT PROVEN ({proof})"
    if word == "not comparable":
        reason = proof.partition(":")[2].strip()
        return "same work: NOT COMPARABLE" + (f" ({reason})" if reason else "")
    return f"same work: {word or 'not requested'}"


def _undecided(finding: SpeedFinding) -> str:
    """Return what difference would have been shown, and what it takes to decide."""
    factor = finding.rule.detectable(finding.ratio)
    percent = f"{math.ceil(100 * (factor - 1))} %" if factor < 2 else f"{factor:.3g}x"
    shown = percent if factor <= LARGEST_DETECTABLE else f"over {LARGEST_DETECTABLE}x"
    family = f" among {finding.comparisons} comparisons" if finding.comparisons > 1 else ""
    more = finding.rule.more(finding.ratio)
    hope = f"; {counted(more, 'more trial')} would probably decide" if more else ""
    return f"minimum detectable difference {shown}{family}{hope}"


def _of_row(row: Row, family: Family) -> Iterator[SummaryLine]:
    """Yield the answers on a row, its fastest backend against each other one."""
    pairs = family.pairs[row.name]
    # By the ratios that decide, which may be of times to a target.
    fastest = _leader((pair.a.backend, pair.b.backend, pair.ratio()) for pair in pairs)
    for pair in pairs:
        if fastest not in (pair.a.backend, pair.b.backend):
            continue
        finding = family.finding(pair)
        if finding.ratio.log < 0:
            finding, pair = finding.inverse, pair.swapped
        a, b = printable(pair.a.backend), printable(pair.b.backend)
        native = NATIVE if pair.a.track == "native" else ""
        said = format_comparison(pair.measure, finding, a=a, b=b, proof=printable(pair.proof))
        beside = [*_details(pair), *_accuracy(pair.accuracy(comparisons=family.scored))]
        yield SummaryLine(subject=row.name, said=f"{native}{said}", beside=beside)
    for pair in pairs_of(row):
        if pair.on_two_hosts and not pair.ratio():
            a, b = printable(pair.a.backend), printable(pair.b.backend)
            said = f"no ratio of {a} and {b}, because their trials ran on different hosts"
            yield SummaryLine(subject=row.name, said=said)


def _leader(ratios: Iterable[tuple[str, str, Ratio | None]]) -> str:
    """Return which of the backends A and B of each ratio is ahead most often; empty for none."""
    wins = Counter(a if ratio.log >= 0 else b for a, b, ratio in ratios if ratio)
    return max(wins, key=wins.__getitem__, default="")


def _details(pair: Pair) -> Iterator[str]:
    """Yield what stands behind the ratio, in its order of backends."""

    def figure(ratio: Ratio) -> str:
        return f"{times_text(ratio)}x ({format_ci(ratio, is_disturbed=pair.is_disturbed)})"

    speed, extraction = pair.speed(), pair.extraction()
    if pair.apart and not pair.is_separate_run:
        trials = counted(pair.apart, "trial")
        yield f"{trials} of each side excluded, because they did not run next to each other"
    if pair.on_two_hosts:
        trials = counted(pair.on_two_hosts, "trial")
        yield f"{trials} of each side excluded, because they ran on different hosts"
    if pair.is_target_met and speed:
        yield f"{pair.work.noun} {figure(speed)}"
    if pair.a.is_extracting:
        yield (
            f"extraction before it {figure(extraction)}"
            if extraction
            else "extraction not compared, stored features were read"
        )
    sides = (pair.a, pair.b)
    shares = ((cell.backend, notable_outside_share(cell)) for cell in sides)
    notable = [f"{printable(name)}: {100 * s:.0f} %" for name, s in shares if s is not None]
    if notable:
        whose = "its" if len(notable) == 1 else "their"
        yield f"{', '.join(notable)} of a step is outside {whose} computation"
    computation = pair.ratio(log_speed("compute_ms")) if pair.a.track == "equal" else None
    if (
        speed
        and computation
        and (notable or not 1 / NEAR <= speed.times / computation.times <= NEAR)
    ):
        yield f"computation alone {figure(computation)}"
    if pair.a.target_top1 is not None and not pair.is_target_met:
        counts = ", ".join(
            f"by {printable(cell.backend)} in {len(cell.values('time_to_top1_s'))} "
            f"of {len(cell.ok)} trials"
            for cell in sides
        )
        yield f"{pair.a.target_top1:g} validation top-1 reached {counts}"


def _accuracy(accuracy: Accuracy | None) -> Iterator[str]:
    """Yield the accuracies with a verdict, its interval in points, and what lies behind."""
    if accuracy is None:
        return
    difference = accuracy.difference
    middle, low, high = (
        f"{100 * share:+.1f}" for share in (difference.difference, difference.low, difference.high)
    )
    is_tested = difference.p_value is not None and difference.verdict == "different"
    p_value = f", McNemar p = {difference.p_value:.2g}" if is_tested else ""
    yield (
        f"{accuracy.split} top-1 {_top1(accuracy.a)} against {_top1(accuracy.b)}, "
        f"{_verdict(difference)} ({middle} points, 95 % CI {low} to {high}{p_value}; "
        f"{accuracy.a[0].of:,} images)"
    )


def _verdict(difference: AccuracyDifference) -> str:
    """Return what is said of two accuracies: of the frameworks, or of the models at hand alone."""
    equal = f"equal within {100 * difference.margin:g} point"
    if difference.is_of_frameworks or difference.verdict == "undecided":
        return equal if difference.verdict == "equal" else difference.verdict
    models = "these two trained models" if difference.trials == 1 else "these trained models"
    return f"{models} {'differ' if difference.verdict == 'different' else f'are {equal}'}"


def _top1(scores: Sequence[Score]) -> str:
    # The mean, for the difference and its interval are of means.
    values = [score.top1 for score in scores]
    low, middle, high = (f"{value:.3f}" for value in (min(values), fmean(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def _overall(family: Family, machine: str) -> Iterator[SummaryLine]:
    """Yield an answer for the leader on a kind of machine and each other backend."""
    subject = row_name("overall", {}, machine=machine)
    means = [mean for mean in family.means if mean.machine == machine]
    leader = _leader((*mean.backends, mean.ratio()) for mean in means)
    for mean in means:
        if leader not in mean.backends or not mean.ratio():
            continue
        finding = family.finding(mean)
        a, b = map(printable, mean.backends)
        verdicts = Counter(family.finding(pair).verdict for pair in mean.proven)
        won, lost = verdicts["faster"], verdicts["slower"]
        if finding.ratio.log < 0:
            finding, a, b, won, lost = finding.inverse, b, a, lost, won
        beside = [
            f"geometric mean over {len(mean.counted)} benchmarks, one vote each: their typical "
            "ratio",
            f"of {counted(len(mean.proven), 'line')} {a} wins {won}, {b} {lost}, "
            f"equal {verdicts['equal']}, undecided {verdicts['open']}",
            *([f"left out: {mean.left_out}"] if mean.left_out else []),
        ]
        said = format_comparison(mean.measure, finding, a=a, b=b, proof="proven")
        yield SummaryLine(subject=subject, said=said, beside=beside, is_overall=True)
    proven = [m for m in means if len({pair.a.benchmark for pair in m.proven}) > 1]
    if proven and not leader:
        said = "no ratio, because fewer than two benchmarks measured all of the work"
        said = f"{said}: {proven[0].left_out}"
        yield SummaryLine(subject=subject, said=said, is_overall=True)
