"""The answer lines: who is faster, by how much, how surely, and whether the work was the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from benchharness.measure.accuracy import Difference
from benchharness.measure.statistics import Ratio, geometric_mean_ratio
from benchharness.report.claims import Measure, certainty, claim, times_text
from benchharness.report.lines import Line, backends_of, lines_of, printable
from benchharness.report.outside import clauses_of
from benchharness.report.pairs import Accuracy, Pair
from benchharness.results.record import Record

NATIVE = "native track, each framework as its users write it: "
FEED = Measure(noun="feeding throughput", verb="feeds")
TRAIN = Measure(noun="training throughput", verb="trains")
HEAD = Measure(noun="throughput of the head's training", verb="trains the head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
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
    return answers_of(lines_of(records, backends_of(run, records)))


def answers_in_parts(lines: Sequence[Line]) -> list[Answer]:
    """Return the same answers, not yet put together."""
    return [*_overall(lines), *(answer for line in lines for answer in _of_line(line))]


def pairs_of(line: Line) -> list[Pair]:
    """Return every two backends of a line that have trials to compare, the earlier one as ours."""
    pairs = (Pair(ours=one, theirs=other) for one, other in combinations(line.recorded, 2))
    return [pair for pair in pairs if pair.ratios(pair.rate)]


def _of_line(line: Line) -> Iterator[Answer]:
    pairs = pairs_of(line)
    rates = {
        cell.backend: cell.median(pair.rate) or 0.0
        for pair in pairs
        for cell in (pair.ours, pair.theirs)
    }
    fastest = max(rates, key=rates.__getitem__, default="")
    for pair in pairs:
        if fastest in (pair.ours.backend, pair.theirs.backend):
            yield _answer(line.name, pair)


def _answer(subject: str, pair: Pair) -> Answer:
    measure, ratio, pair = _headline(pair)
    ours, theirs = printable(pair.ours.backend), printable(pair.theirs.backend)
    native = NATIVE if pair.ours.track == "native" else ""
    said = claim(measure, ratio, ours=ours, theirs=theirs, proof=printable(pair.proof))
    beside = (*_beside(pair), *_misses(pair), *_accuracy(pair.accuracy()))
    return Answer(subject=subject, said=f"{native}{said}", beside=beside)


def _headline(pair: Pair) -> tuple[Measure, Ratio, Pair]:
    """Return what to compare first, with the backend that is ahead in it as ours."""
    speed = pair.speed_to_target() if pair.is_target_met else None
    measure = _work(pair) if speed is None else _reaching(pair)
    ratio = speed or pair.speed()
    assert ratio is not None, "pairs without a common trial have no answer"
    return (measure, ratio, pair) if ratio.median >= 1 else (measure, ratio.inverse, pair.swapped)


def _work(pair: Pair) -> Measure:
    return {"dataset": FEED, "bottleneck": HEAD}.get(pair.ours.strategy, TRAIN)


def _reaching(pair: Pair) -> Measure:
    goal = f"{pair.ours.target_top1:g} validation top-1"
    return Measure(noun=f"speed to {goal}", verb=f"reaches {goal}", adverb="sooner")


def _beside(pair: Pair) -> Iterator[str]:
    """Yield the ratios behind the first one, in its order of backends."""
    speed, extraction = pair.speed(), pair.extraction()
    if pair.is_target_met and speed:
        yield f"{_work(pair).noun} {times_text(speed)}x ({certainty(speed)})"
    if pair.ours.strategy == "bottleneck":
        yield (
            f"extraction before it {times_text(extraction)}x ({certainty(extraction)})"
            if extraction
            else "extraction not compared, stored features were read"
        )
    yield from clauses_of(pair)


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


def _overall(lines: Sequence[Line]) -> Iterator[Answer]:
    """Yield an answer for the leader and each other backend, over proven lines of the equal track.

    Feeding does not count: training has it inside already. Two lines are the least.
    """
    found: dict[tuple[str, str], list[Pair]] = {}
    for line in lines:
        for pair in pairs_of(line):
            if pair.ours.track == "equal" and pair.ours.strategy != "dataset":
                names = (pair.ours.backend, pair.theirs.backend)
                found.setdefault(names, []).append(pair)
    standings = [standing for pairs in found.values() if (standing := _standing(pairs))]
    ahead = Counter(standing.leader for standing in standings)
    leader = max(ahead, key=ahead.__getitem__, default="")
    for standing in standings:
        if leader in standing.backends:
            yield standing.answer()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How two backends stand over several lines, the one that is ahead as ours.

    Attributes:
        proven: The pairs that count.
        of: How many there are.
    """

    proven: tuple[Pair, ...]
    ratio: Ratio
    of: int

    @property
    def backends(self) -> tuple[str, str]:
        return self.leader, self.proven[0].theirs.backend

    @property
    def leader(self) -> str:
        return self.proven[0].ours.backend

    def answer(self) -> Answer:
        ours, theirs = map(printable, self.backends)
        speeds = [speed for pair in self.proven if (speed := pair.speed()) and speed.is_decided]
        won = sum(speed.median > 1 for speed in speeds)
        lost, count = len(speeds) - won, len(self.proven)
        some, which = (f"{count} of ", ", the proven ones") if count < self.of else ("", "")
        what = "matrix points" if any(pair.ours.matrix for pair in self.proven) else "benchmarks"
        mean = (
            f"geometric mean over {some}{self.of} {what}{which}: "
            f"{ours} wins {won}, {theirs} {lost}, undecided {count - won - lost}"
        )
        said = claim(TRAIN, self.ratio, ours=ours, theirs=theirs, proof="proven")
        return Answer(subject="overall", said=said, beside=(mean,))


def _standing(pairs: Sequence[Pair]) -> _Standing | None:
    """Return how two backends stand; None where too little is proven or known."""
    proven = [pair for pair in pairs if pair.proof == "proven"]
    ratio = _mean_ratio(proven) if len(proven) > 1 else None
    if ratio is None:
        return None
    if ratio.median < 1:
        proven, ratio = [pair.swapped for pair in proven], ratio.inverse
    return _Standing(proven=tuple(proven), ratio=ratio, of=len(pairs))


def _mean_ratio(pairs: Sequence[Pair]) -> Ratio | None:
    return geometric_mean_ratio([pair.ratios(pair.rate) for pair in pairs])
