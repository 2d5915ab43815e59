"""The answer lines: who is faster, by how much, how surely, and whether the work was the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import Any

from benchharness.measure.accuracy import Difference
from benchharness.measure.sequential import Rule, confidence, rule_for
from benchharness.measure.statistics import Ratio
from benchharness.report.comparisons import Finding, Measure, certainty, claim, times_text
from benchharness.report.means import Mean, means_of
from benchharness.report.outside import clauses_of
from benchharness.report.pairs import Accuracy, Pair, pairs_of
from benchharness.report.rows import Line, backends_of, cores_of, lines_of, printable
from benchharness.results.comparisons import family_size
from benchharness.results.record import Record

NATIVE = "native track, each framework as its users write it: "
FEED = Measure(noun="feeding throughput", verb="feeds")
TRAIN = Measure(noun="training throughput", verb="trains")
HEAD = Measure(noun="throughput of the head's training", verb="trains the head")


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryLine:
    """One answer line.

    Attributes:
        subject: What it is about: a line of the table, or ``overall``.
        said: The claim with its verdict.
        beside: What else a reader wants to know, a clause each.
    """

    subject: str
    said: str
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the whole line."""
        return f"{self.subject}: {'; '.join([self.said, *self.beside])}"


def answers_of(lines: Sequence[Line]) -> list[str]:
    """Return the overall answers, then those of each line, the fastest backend against the others.

    A line with fewer than two backends that came to an end has no answer.
    """
    return list(map(str, answers_in_parts(lines)))


def answers_in(run: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the answers of a run.

    Args:
        run: As in run.json.
        records: The last of each trial.
    """
    return answers_of(lines_of(records, backends_of(run, records), cores=cores_of(run)))


def answers_in_parts(lines: Sequence[Line]) -> list[SummaryLine]:
    """Return the same answers, not yet put together."""
    family = Family.of(lines)
    return [*_overall(family), *(answer for line in lines for answer in _of_line(line, family))]


@dataclass(frozen=True, kw_only=True)
class Family:
    """All comparisons of a report that may name a winner, judged together.

    Attributes:
        pairs: Every two backends of each line that have trials to compare.
        means: Every two backends over several benchmarks.
        size: How many comparisons there are, those counted too that have no trial to compare.
        scored: How many of the pairs have accuracies to compare.
        rule: When one is decided.
    """

    pairs: Mapping[str, Sequence[Pair]]
    means: Sequence[Mean]
    size: int
    scored: int
    rule: Rule

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Family:
        """Return the family of the lines of a report."""
        pairs = {line.name: pairs_of(line) for line in lines}
        means = means_of(pair for of_line in pairs.values() for pair in of_line)
        size = family_size(cell for line in lines for cell in line.recorded)
        compared: list[Pair | Mean] = [*chain(*pairs.values()), *means]
        ratios = [pair.ratio() for pair in compared if _may_decide(pair)]
        rule = rule_for(
            [ratio for ratio in ratios if ratio],
            comparisons=max(size, 1),
            max_trials=max((pair.max_trials or 0 for pair in compared), default=0),
        )
        scored = sum(pair.accuracy() is not None for pair in chain(*pairs.values()))
        return cls(pairs=pairs, means=means, size=size, scored=scored, rule=rule)

    def finding(self, pair: Pair | Mean) -> Finding:
        """Return what a pair of the family, or one of its means, shows."""
        ratio = pair.ratio()
        assert ratio is not None, "what cannot be compared has no answer"
        if not pair.is_separate_run:
            level = confidence(ratio.trials, max_trials=pair.max_trials, comparisons=self.size)
            ratio = replace(ratio, confidence=level)
        return Finding(
            ratio=ratio,
            verdict=self.rule.verdict(ratio) if _may_decide(pair) else "open",
            rule=self.rule,
            comparisons=self.size,
            is_separate_run=pair.is_separate_run,
            is_disturbed=pair.is_disturbed,
        )


def _may_decide(pair: Pair | Mean) -> bool:
    """Whether a ratio may name a winner, or call two backends equal."""
    return not (pair.is_separate_run or pair.is_disturbed)


def measure_of(pair: Pair) -> Measure:
    """Return what decides who is faster."""
    if not pair.is_target_met:
        return _work(pair)
    goal = f"{pair.ours.target_top1:g} validation top-1"
    return Measure(noun=f"speed to {goal}", verb=f"reaches {goal}", adverb="sooner")


def _of_line(line: Line, family: Family) -> Iterator[SummaryLine]:
    pairs = family.pairs[line.name]
    rates = {
        cell.backend: cell.median(pair.rate) or 0.0
        for pair in pairs
        for cell in (pair.ours, pair.theirs)
    }
    fastest = max(rates, key=rates.__getitem__, default="")
    for pair in pairs:
        if fastest in (pair.ours.backend, pair.theirs.backend):
            yield _answer(line.name, pair, family)


def _answer(subject: str, pair: Pair, family: Family) -> SummaryLine:
    finding = family.finding(pair)
    if finding.ratio.log < 0:
        finding, pair = finding.inverse, pair.swapped
    ours, theirs = printable(pair.ours.backend), printable(pair.theirs.backend)
    native = NATIVE if pair.ours.track == "native" else ""
    said = claim(measure_of(pair), finding, ours=ours, theirs=theirs, proof=printable(pair.proof))
    beside = (*_details(pair), *_misses(pair), *_accuracy(pair.accuracy(comparisons=family.scored)))
    return SummaryLine(subject=subject, said=f"{native}{said}", beside=beside)


def _work(pair: Pair) -> Measure:
    return {"dataset": FEED, "bottleneck": HEAD}.get(pair.ours.strategy, TRAIN)


def _details(pair: Pair) -> Iterator[str]:
    """Yield the ratios behind the first one, in its order of backends."""
    speed, extraction = pair.speed(), pair.extraction()
    if pair.apart and not pair.is_separate_run:
        trials = "1 trial" if pair.apart == 1 else f"{pair.apart} trials"
        yield f"{trials} of each side left out, which did not run next to each other"
    if pair.is_target_met and speed:
        yield f"{_work(pair).noun} {times_text(speed)}x ({_certainty(speed, pair)})"
    if pair.ours.strategy == "bottleneck":
        yield (
            f"extraction before it {times_text(extraction)}x ({_certainty(extraction, pair)})"
            if extraction
            else "extraction not compared, stored features were read"
        )
    yield from clauses_of(pair)


def _certainty(ratio: Ratio, pair: Pair) -> str:
    return certainty(ratio, is_disturbed=pair.is_disturbed)


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


def _verdict(difference: Difference) -> str:
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
    p_value = difference.p_value
    tested = (
        f", McNemar p = {p_value:.2g}"
        if p_value is not None and difference.verdict == "different"
        else ""
    )
    return f"{middle} points, 95 % CI {low} to {high}{tested}; {images:,} images"


def _top1(values: Sequence[float]) -> str:
    # The mean, for the difference and its interval are of means.
    low, middle, high = (f"{value:.3f}" for value in (min(values), fmean(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def _overall(family: Family) -> Iterator[SummaryLine]:
    """Yield an answer for the leader and each other backend."""
    found = [(mean, family.finding(mean)) for mean in family.means if mean.ratio()]
    ahead = Counter(mean.backends[0 if finding.ratio.log >= 0 else 1] for mean, finding in found)
    leader = max(ahead, key=ahead.__getitem__, default="")
    for mean, finding in found:
        if leader in mean.backends:
            yield _overall_answer(mean, finding, family)
    if not found and (reasons := [mean.left_out for mean in family.means if mean.is_proven]):
        said = "no ratio, for fewer than two benchmarks measured all of the work"
        yield SummaryLine(subject="overall", said=f"{said}: {reasons[0]}")


def _overall_answer(mean: Mean, finding: Finding, family: Family) -> SummaryLine:
    ours, theirs = map(printable, mean.backends)
    verdicts = Counter(family.finding(pair).verdict for pair in mean.proven)
    won, lost = verdicts["faster"], verdicts["slower"]
    if finding.ratio.log < 0:
        finding, ours, theirs, won, lost = finding.inverse, theirs, ours, lost, won
    lines = len(mean.proven)
    beside = [
        f"geometric mean over {len(mean.counted)} benchmarks, one vote each: their typical ratio",
        f"of {lines} line{'s' if lines > 1 else ''} {ours} wins {won}, {theirs} {lost}, "
        f"equal {verdicts['equal']}, undecided {verdicts['open']}",
    ]
    if mean.left_out:
        beside.append(f"left out: {mean.left_out}")
    said = claim(mean.measure, finding, ours=ours, theirs=theirs, proof="proven")
    return SummaryLine(subject="overall", said=said, beside=tuple(beside))
