"""Measure how often ``benchharness compare`` is right, by simulation over its own functions.

Trials are drawn, not run: epoch by epoch, with the noise of a machine, and handed to the functions
that judge real ones, look by look.

    python tools/measure_gates.py --repeats 1000

prints the tables of docs/statistics.md: errors at the limit, planted changes, recorded runs, and
what ``noise`` promises.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchharness.measure.blocks import Block, best_epoch
from benchharness.model.quantities import QUANTITIES
from benchharness.regression.comparison import CellComparison, Comparison, Trials
from benchharness.regression.criteria import Criteria
from benchharness.regression.looks import FEWEST_PAIRS, level_of, planned
from benchharness.regression.verdict import Sample, judge
from benchharness.results.record import Record

Random = np.random.Generator
# Logarithms of how much slower than usual each pair's sides are; shape (pairs,).
Noise = Callable[[Random, int], NDArray[np.float64]]

EPOCHS, IMAGES = 20, 1000
PAIRS = 20
SPEED = Criteria(columns=("best_epoch_s", "train_images_per_s"))
TARGET = Criteria(columns=("time_to_top1_s",), is_chosen=True)


def normal(spread: float) -> Noise:
    """Noise as textbooks have it."""
    return lambda random, pairs: random.normal(0, spread, pairs)


def heavy(spread: float) -> Noise:
    """Student's t with two degrees of freedom, whose variance is infinite."""
    return lambda random, pairs: spread * random.standard_t(2, pairs)


def bursts(spread: float) -> Noise:
    """One trial in eight is slowed down by 15 % on average, on either side."""

    def side(random: Random, pairs: int) -> NDArray[np.float64]:
        hit = random.random(pairs) < 0.12
        return random.normal(0, spread, pairs) + hit * random.exponential(0.15, pairs)

    return lambda random, pairs: side(random, pairs) - side(random, pairs)


def drift(spread: float) -> Noise:
    """Noise of a machine whose speed wanders from trial to trial; every other pair runs B first."""

    def differences(random: Random, pairs: int) -> NDArray[np.float64]:
        speed = random.normal(0, spread, 2 * pairs).cumsum()
        found = speed[1::2] - speed[::2]
        found[1::2] *= -1
        return found

    return differences


def two_speeds(gap: float) -> Noise:
    """Noise of a machine with two speeds, which changes from one to the other in one trial of ten."""

    def differences(random: Random, pairs: int) -> NDArray[np.float64]:
        mode = (random.random(2 * pairs) < 0.1).cumsum() % 2
        speed = gap * mode + random.normal(0, 0.01, 2 * pairs)
        found = speed[1::2] - speed[::2]
        found[1::2] *= -1
        return found

    return differences


NOISES: dict[str, Noise] = {
    "quiet, 1 %": normal(0.01),
    "normal, 3 %": normal(0.03),
    "normal, 5 %": normal(0.05),
    "heavy tails": heavy(0.02),
    "bursts": bursts(0.01),
    "drift": drift(0.03),
    "two speeds": two_speeds(0.15),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is planted in B.

    Attributes:
        slower: Of every epoch, a share.
        every_tenth: Of every tenth epoch alone.
        misses: How often it never reaches its target, 0-1.
    """

    slower: float = 0.0
    every_tenth: float = 0.0
    misses: float = 0.0


CHANGES: dict[str, tuple[Change, Criteria]] = {
    "equal code": (Change(), SPEED),
    "every epoch 10 % longer": (Change(slower=0.1), SPEED),
    "every tenth epoch double": (Change(every_tenth=1.0), SPEED),
    "equal code, with a target": (Change(), TARGET),
    "target missed in half the trials": (Change(misses=0.5), TARGET),
    "target never reached": (Change(misses=1.0), TARGET),
    "target never reached, nobody asks": (Change(misses=1.0), SPEED),
}


def trial(number: int, seconds: NDArray[np.float64], *, is_missed: bool) -> Record:
    """Return a record of a trial.

    Args:
        number: From 1.
        seconds: Of the halves of its epochs, shape (epochs, 2).
        is_missed: Whether it never reached its target; else it did after half of its epochs.
    """
    halves = [[Block(1, first), Block(1, second)] for first, second in seconds]
    to_target_s = float(seconds[: EPOCHS // 2].sum())
    return {
        "trial": number,
        "status": "ok",
        "settings": {"target_top1": 0.9},
        "metrics": {
            "best_epoch_s": best_epoch(halves),
            "train_images_per_s": IMAGES * EPOCHS / float(seconds.sum()),
            "time_to_top1_s": None if is_missed else to_target_s,
        },
        "started": "2026-11-24T12:00:00+00:00",
    }


def pairs_of(
    noise: Noise, change: Change, random: Random, hit=0.0
) -> Iterator[tuple[Record, Record]]:
    """Yield pairs of trials, of A and of B; half of the noise is of whole trials."""
    for number, cost in enumerate(noise(random, PAIRS), start=1):
        ours, theirs = np.exp(random.normal(0, 0.02, (2, EPOCHS, 2)))
        if hit:
            ours, theirs = (
                e * (1 + (random.random(EPOCHS) < 0.1) * random.exponential(hit, EPOCHS))[:, None]
                for e in (ours, theirs)
            )
        theirs = theirs * math.exp(cost) * (1 + change.slower)
        theirs[9::10] *= 1 + change.every_tenth
        is_missed = bool(random.random() < change.misses)
        yield trial(number, ours, is_missed=False), trial(number, theirs, is_missed=is_missed)


def compare(pairs: Sequence[tuple[Record, Record]], criteria: Criteria) -> tuple[int, int]:
    """Return the exit code of a comparison, and after how many pairs it ends."""
    looks = planned(FEWEST_PAIRS, PAIRS)
    for look in looks:
        ours, theirs = zip(*pairs[:look], strict=True)
        verdicts = Trials(ours=ours, theirs=theirs).verdicts(criteria, "cnn", level=level_of(looks))
        if not any(verdict.is_open for verdict in verdicts):
            break
    cell = CellComparison(label="cnn", identity={}, verdicts=verdicts)
    return outcome(cell), look


def outcome(cell: CellComparison) -> int:
    """Return the exit code of a comparison of one cell."""
    return Comparison(
        suite="", a="A", b="B", how="interleaved", machine="", cells=(cell,)
    ).exit_code


def at_the_limit(noise: Noise, repeats: int, random: Random) -> Counter[str]:
    """Return what is said of a change of exactly the limit, look by look."""
    quantity, looks = QUANTITIES["wall_s"], planned(FEWEST_PAIRS, PAIRS)
    words: Counter[str] = Counter()
    for _ in range(repeats):
        costs = math.log1p(0.05) + noise(random, PAIRS)
        for look in looks:
            sample = Sample(
                quantity=quantity, costs=tuple(costs[:look].tolist()), trials=(look, look)
            )
            word = judge(sample, threshold=0.05, level=level_of(looks)).word
            if word != "undecidable":
                break
        words[word] += 1
    return words


def main() -> int:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    random = np.random.default_rng(2026)
    for name, noise in NOISES.items():
        words = at_the_limit(noise, repeats, random)
        print(name, dict(words))
    for what, (change, criteria) in CHANGES.items():
        for name, noise in NOISES.items():
            codes = Counter()
            looks = []
            for _ in range(repeats):
                code, look = compare([*pairs_of(noise, change, random)], criteria)
                codes[code] += 1
                looks.append(look)
            print(what, "|", name, dict(codes), np.mean(looks))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
