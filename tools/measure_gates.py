"""Measure how often ``benchharness compare``, ``noise`` and ``history`` are right, by simulation.

Trials are drawn, not run: epoch by epoch, with the noise of a machine, and handed to the functions
that decide real ones, look by look.

    python tools/measure_gates.py --repeats 1000

prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.noise import NoiseFloor
from benchharness.compare.plan import CellPair
from benchharness.compare.sampling import (
    ERROR,
    FEWEST_PAIRS,
    PairSeries,
    level_of,
    planned_looks,
    scatter_of,
)
from benchharness.compare.verdict import Criteria, Sample, Trials, Verdict, decide
from benchharness.history.changepoints import find_segments
from benchharness.measure.blocks import Block, best_epoch
from benchharness.model.quantities import QUANTITIES
from benchharness.results.record import Record
from benchharness.suite.plan import PlannedCell
from benchharness.suite.settings import settings_from_dict

Random = np.random.Generator
Values = NDArray[np.float64]

EPOCHS, IMAGES, PAIRS = 20, 1000, 20
SECONDS = QUANTITIES["wall_s"]
SPEED = Criteria(columns=("best_epoch_s", "train_images_per_s"))
TARGET = Criteria(columns=("time_to_top1_s",), is_chosen=True)
CELL = PlannedCell(
    benchmark="cnn",
    strategy="simple_cnn",
    backend="torch",
    track="equal",
    matrix={},
    settings=settings_from_dict({"strategy": "simple_cnn"}),
    published=None,
    trials=1,
)
# Two hours of equal code then differ by 5 %, the deviation that a shared machine has shown.
DRIFT = 0.05 / math.sqrt(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The noise of a machine.

    Attributes:
        costs: Draws so many logarithms of B / A of equal code.
        burst: How much longer one epoch of ten lasts on average, on either side, a share.
    """

    costs: Callable[[Random, int], Values]
    burst: float = 0.0


def normal(random: Random, pairs: int, *, spread: float) -> Values:
    """Draw noise as textbooks have it."""
    return random.normal(0, spread, pairs)


def heavy(random: Random, pairs: int, *, spread: float) -> Values:
    """Draw Student's t with two degrees of freedom, whose variance is infinite."""
    return spread * random.standard_t(2, pairs)


def bursts(random: Random, pairs: int, *, spread: float) -> Values:
    """Slow down one trial in eight by 15 % on average, on either side."""
    hit = random.random((2, pairs)) < 0.12
    sides = random.normal(0, spread, (2, pairs)) + hit * random.exponential(0.15, (2, pairs))
    return np.diff(sides, axis=0)[0]


def wandering(random: Random, pairs: int, *, spread: float) -> Values:
    """Let the machine's speed wander from trial to trial; every other pair runs B first."""
    return _in_turn(random.normal(0, spread, 2 * pairs).cumsum())


def two_speeds(random: Random, pairs: int, *, gap: float) -> Values:
    """Change between two speeds in one trial of ten; every other pair runs B first."""
    mode = (random.random(2 * pairs) < 0.1).cumsum() % 2
    return _in_turn(gap * mode + random.normal(0, 0.01, 2 * pairs))


def _in_turn(speed: Values) -> Values:
    costs = speed[1::2] - speed[::2]
    costs[1::2] *= -1
    return costs


MACHINES: dict[str, Machine] = {
    "normal, 1 %": Machine(costs=partial(normal, spread=0.01)),
    "normal, 3 %": Machine(costs=partial(normal, spread=0.03)),
    "normal, 5 %": Machine(costs=partial(normal, spread=0.05)),
    "heavy tails": Machine(costs=partial(heavy, spread=0.02)),
    "bursts in trials": Machine(costs=partial(bursts, spread=0.01)),
    "bursts in epochs": Machine(costs=partial(normal, spread=0.01), burst=0.25),
    "drift": Machine(costs=partial(wandering, spread=0.03)),
    "two speeds": Machine(costs=partial(two_speeds, gap=0.15)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What is planted in B, and what is compared.

    Attributes:
        slower: How much longer every epoch lasts, a share.
        every_tenth: How much longer every tenth epoch lasts, a share.
        misses: Returns whether a trial, counted from 1, never reaches its target.
        misses_of_both: Likewise; of either side, each drawn by itself.
    """

    criteria: Criteria = SPEED
    slower: float = 0.0
    every_tenth: float = 0.0
    misses: Callable[[Random, int], bool] = lambda random, trial: False
    misses_of_both: Callable[[Random, int], bool] = lambda random, trial: False


def half(random: Random, trial: int) -> bool:
    """Return true in half of trials, at random."""
    return bool(random.random() < 0.5)


PLANTED: dict[str, Planted] = {
    "equal code": Planted(),
    "equal code, time to target": Planted(criteria=TARGET),
    "equal code, both miss half": Planted(criteria=TARGET, misses_of_both=half),
    "equal code, both miss half, usual columns": Planted(misses_of_both=half),
    "every epoch 10 % longer": Planted(slower=0.1),
    "every tenth epoch double": Planted(every_tenth=1.0),
    "target missed in every other trial": Planted(
        criteria=TARGET, misses=lambda random, trial: trial % 2 == 0
    ),
    "target missed in half the trials, at random": Planted(criteria=TARGET, misses=half),
    "target missed in half the trials, usual columns": Planted(misses=half),
    "target never reached": Planted(criteria=TARGET, misses=lambda random, trial: True),
    "target never reached, usual columns": Planted(misses=lambda random, trial: True),
}


def record(trial: int, halves: Values, *, is_missed: bool = False, started: str = "") -> Record:
    """Return the record of a trial.

    Args:
        trial: Its number, from 1.
        halves: Seconds of the halves of its epochs, shape (epochs, 2).
        is_missed: Whether it never reached its target; else it did after half of its epochs.
        started: ISO 8601; empty for any time.
    """
    blocks = [[Block(1, first), Block(1, second)] for first, second in halves]
    seconds = halves.sum(axis=1)
    return {
        "trial": trial,
        "status": "ok",
        "settings": {"target_top1": 0.9},
        "metrics": {
            "best_epoch_s": best_epoch(blocks),
            "train_images_per_s": IMAGES * len(halves) / float(seconds.sum()),
            "time_to_top1_s": None if is_missed else float(seconds[: len(halves) // 2].sum()),
        },
        "epochs": [{"train_s": float(value)} for value in seconds],
        "started": started or "2026-11-24T12:00:00+00:00",
    }


def pairs_of(machine: Machine, planted: Planted, random: Random) -> Iterator[tuple[Record, Record]]:
    """Yield pairs of trials, of A and of B."""
    # As many as there may be where a target is missed.
    for trial, cost in enumerate(machine.costs(random, 2 * PAIRS), start=1):
        sides = np.exp(random.normal(0, 0.02, (2, EPOCHS, 2)))
        hit = random.random((2, EPOCHS, 1)) < 0.1
        ours, theirs = sides * (1 + hit * random.exponential(machine.burst, hit.shape))
        theirs = theirs * math.exp(cost) * (1 + planted.slower)
        theirs[9::10] *= 1 + planted.every_tenth
        yield (
            record(trial, ours, is_missed=planted.misses_of_both(random, trial)),
            record(
                trial,
                theirs,
                is_missed=planted.misses(random, trial) or planted.misses_of_both(random, trial),
            ),
        )


def compare(machine: Machine, planted: Planted, random: Random) -> tuple[int, int]:
    """Return the exit code of a comparison, and after how many pairs it ends."""
    series = PairSeries(
        cells=CellPair(a=CELL, b=CELL, backend="torch"),
        looks=planned_looks(FEWEST_PAIRS, PAIRS),
    )
    for ours, theirs in pairs_of(machine, planted, random):
        series.a.append(ours)
        series.b.append(theirs)
        series.decide(planted.criteria)
        if series.is_over:
            break
    return exit_code(series.verdicts), series.pairs


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return the exit code of a comparison of one cell."""
    cell = CellComparison(label="cnn", identity={}, verdicts=tuple(verdicts))
    return Comparison(
        suite="", a="A", b="B", how="interleaved", machine="", cells=(cell,)
    ).exit_code


def decided(costs: Values, *, threshold: float, most: int) -> str:
    """Return the word at which a sequence of pairs ends."""
    looks, word = planned_looks(FEWEST_PAIRS, most), "undecidable"
    for look in looks:
        sample = Sample(
            quantity=SECONDS, log_ratios=tuple(costs[:look].tolist()), trials=(look, look)
        )
        word = decide(sample, threshold=threshold, level=level_of(looks)).word
        if word != "undecidable":
            break
    return word


def at_the_limit(
    machine: Machine, random: Random, repeats: int, *, most: int = PAIRS
) -> Counter[str]:
    """Return what is said of a change of exactly the limit."""
    return Counter(
        decided(math.log1p(0.05) + machine.costs(random, most), threshold=0.05, most=most)
        for _ in range(repeats)
    )


def noise_promise(
    machine: Machine, random: Random, repeats: int, *, pairs: int
) -> tuple[float, float, float]:
    """Return how often what ``noise`` shows is kept, on machines that it has measured.

    Returns:
        How often equal code is called the same, how often twice the threshold is called slower,
        and the median of the thresholds that are shown.
    """
    same, slower, shown = [], [], []
    for _ in range(repeats):
        costs = tuple(machine.costs(random, pairs).tolist())
        floor = NoiseFloor(log_ratios={"wall_s": costs}, pair_s=1.0, measured="")
        threshold = floor.smallest_detectable("wall_s", pairs)
        shown.append(threshold)
        if math.isinf(threshold):
            continue
        for _ in range(10):
            again, worse = machine.costs(random, pairs), machine.costs(random, pairs)
            worse += math.log1p(2 * threshold)
            same.append(decided(again, threshold=threshold, most=pairs) == "same")
            slower.append(decided(worse, threshold=threshold, most=pairs) == "slower")
    return float(np.mean(same)), float(np.mean(slower)), float(np.median(shown))


def recorded(
    random: Random, *, slower: float, hours: int, trials: int, threshold: float | None = None
) -> int:
    """Return the exit code of two recorded sides.

    Args:
        random: Draws them.
        slower: B, a share.
        hours: At which each side ran.
        trials: Of a side at each of them.
        threshold: Stated; None for the one that follows from the drift.
    """
    sides = []
    for side, change in enumerate((0.0, slower)):
        records = []
        for hour, speed in enumerate(random.normal(0, DRIFT, hours)):
            started = f"2026-11-{1 + 2 * hour + side:02}T12:00:00+00:00"
            for noise in random.normal(0, 0.02, trials):
                halves = np.full((2, 2), math.exp(speed + noise) * (1 + change))
                records.append(record(len(records) + 1, halves, started=started))
        sides.append(records)
    requested = {} if threshold is None else {"train_images_per_s": threshold}
    criteria = Criteria(columns=("train_images_per_s",), requested=requested)
    both = Trials(a=sides[0], b=sides[1], is_paired=False, drift=criteria.drift)
    return exit_code(both.verdicts(criteria, "cnn", level=ERROR, level_of_misses=ERROR))


def advice(random: Random, *, within: float, between: float) -> bool:
    """Return whether longer trials are advised, of 12 pairs of 12 epochs that take 3 s to start.

    Args:
        random: Draws them.
        within: Deviation of an epoch's cost.
        between: Of a pair's.
    """
    ours = [record(trial, np.full((12, 2), 0.25)) for trial in range(12)]
    theirs = [
        record(trial, 0.25 * np.exp(np.tile(random.normal(cost, within, (12, 1)), 2)))
        for trial, cost in enumerate(random.normal(0, between, 12))
    ]
    scatter = scatter_of(ours, theirs, pair_s=3 + 12)
    assert scatter is not None
    return scatter.are_longer_trials_better


def independent(random: Random, runs: int) -> Values:
    """Draw a history whose runs know nothing of each other."""
    return random.normal(0, 0.03, runs)


def heavy_tailed(random: Random, runs: int) -> Values:
    """Draw a history with the tails of Student's t with three degrees of freedom."""
    return random.standard_t(3, runs) * 0.03 / math.sqrt(3)


def with_outliers(random: Random, runs: int) -> Values:
    """Draw a history one run of ten of which is eight times as far off."""
    return np.where(random.random(runs) < 0.1, 8, 1) * random.normal(0, 0.03, runs)


def correlated(random: Random, runs: int, *, by: float) -> Values:
    """Draw a history whose neighbouring runs are alike: a first-order autoregression."""
    values = random.normal(0, 0.03, runs)
    for place in range(1, runs):
        values[place] = by * values[place - 1] + math.sqrt(1 - by**2) * values[place]
    return values


def changing(random: Random, runs: int, *, share: float) -> Values:
    """Draw a history that changes between two speeds, 15 % apart, in a share of its runs."""
    mode = (random.random(runs) < share).cumsum() % 2
    return 0.15 * mode + random.normal(0, 0.01, runs)


HISTORIES: dict[str, Callable[[Random, int], Values]] = {
    "independent": independent,
    "heavy tails": heavy_tailed,
    "outliers": with_outliers,
    "correlated by 0.3": partial(correlated, by=0.3),
    "correlated by 0.5": partial(correlated, by=0.5),
    "correlated by 0.7": partial(correlated, by=0.7),
    "two speeds, a change in 10 runs": partial(changing, share=0.1),
    "two speeds, a change in 5 runs": partial(changing, share=0.2),
    "two speeds, a change in 3 runs": partial(changing, share=1 / 3),
    "two speeds, a change in 2 runs": partial(changing, share=0.5),
}


def false_steps(
    history: Callable[[Random, int], Values], random: Random, repeats: int, *, runs: int
) -> float:
    """Return the share of histories of equal code that have a step."""
    return float(
        np.mean([len(find_segments([*history(random, runs)]).levels) > 1 for _ in range(repeats)])
    )


def found_steps(
    history: Callable[[Random, int], Values], random: Random, repeats: int, *, after: int
) -> float:
    """Return the share of histories in which a step of 15 % after 20 runs is found in time."""

    def is_found() -> bool:
        values = history(random, 20 + after)
        values[20:] += 0.15
        return any(abs(level.first - 20) <= 1 for level in find_segments([*values]).levels[1:])

    return float(np.mean([is_found() for _ in range(repeats)]))


def tables(repeats: int) -> Iterator[str]:
    """Yield lines of all tables, in Markdown."""
    random = np.random.default_rng(2026)
    yield from ("| pairs | looks | level of each |", "|---|---|---|")
    for fewest, most in ((12, 12), (6, 8), (6, 12), (6, 20), (10, 20), (6, 40), (6, 100)):
        looks = planned_looks(fewest, most)
        yield f"| {fewest} to {most} | {len(looks)} | {level_of(looks):.2%} |"
    yield from ("", "| noise | limit called slower | limit called the same |", "|---|---|---|")
    for name, machine in MACHINES.items():
        if machine.burst:
            continue
        words = at_the_limit(machine, random, repeats)
        shares = " | ".join(_per_cent(words[word], repeats) for word in ("slower", "same"))
        yield f"| {name} | {shares} |"
    for what, planted in PLANTED.items():
        yield from ("", f"| {what}: noise | exit 0 | 3 | 4 | pairs |", "|---|---|---|---|---|")
        for name, machine in MACHINES.items():
            ends = [compare(machine, planted, random) for _ in range(repeats)]
            codes = Counter(code for code, _ in ends)
            shares = " | ".join(_per_cent(codes[code], repeats) for code in (0, 3, 4))
            yield f"| {name} | {shares} | {np.mean([pairs for _, pairs in ends]):.1f} |"
    yield from ("", "| recorded | B | exit 0 | 3 | 4 |", "|---|---|---|---|---|")
    for what, hours, trials, threshold, changes in (
        ("one hour of 10 trials each", 1, 10, None, (0.0, 0.1, 0.2, 0.4)),
        ("one hour of 100 trials each", 1, 100, None, (0.0, 0.2, 0.4)),
        ("8 hours of 5 trials each, limit 5 %", 8, 5, 0.05, (0.0, 0.05, 0.2)),
        ("8 hours of 5 trials each, limit 10 %", 8, 5, 0.1, (0.0, 0.1, 0.2)),
    ):
        for slower in changes:
            codes = Counter(
                recorded(random, slower=slower, hours=hours, trials=trials, threshold=threshold)
                for _ in range(repeats)
            )
            shares = " | ".join(_per_cent(codes[code], repeats) for code in (0, 3, 4))
            yield f"| {what} | {slower:.0%} slower | {shares} |"
    yield from (
        "",
        "| noise measured in | noise | same | slower | shows |",
        "|---|---|---|---|---|",
    )
    for pairs in (12, 20):
        for name, machine in MACHINES.items():
            if not machine.burst:
                same, slower, shown = noise_promise(machine, random, repeats // 5, pairs=pairs)
                yield f"| {pairs} pairs | {name} | {same:.1%} | {slower:.1%} | {shown:.1%} |"
    yield from ("", "| of a pair's scatter | longer trials advised |", "|---|---|")
    for within, between in ((0.05, 0.0), (0.05, 0.005), (0.05, 0.02), (0.02, 0.03)):
        longer = sum(advice(random, within=within, between=between) for _ in range(repeats))
        yield f"| epochs {within:.1%}, trials {between:.1%} | {_per_cent(longer, repeats)} |"
    heading = "| history | 12 runs | 24 | 40 | 80 | step found in 5 | in 10 |"
    yield from ("", heading, "|---|---|---|---|---|---|---|")
    for name, history in HISTORIES.items():
        less = max(1, repeats // 4)
        alarms = [false_steps(history, random, less, runs=runs) for runs in (12, 24, 40, 80)]
        found = [found_steps(history, random, less, after=after) for after in (5, 10)]
        # Of a machine with two speeds the planted step is one of many.
        shown = ["" if "two" in name else f"{share:.0%}" for share in found]
        yield f"| {name} | {' | '.join([f'{share:.1%}' for share in alarms] + shown)} |"


def _per_cent(count: int, repeats: int) -> str:
    return f"{count / repeats:.1%}"


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000, help="simulations of each case")
    for line in tables(parser.parse_args().repeats):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
