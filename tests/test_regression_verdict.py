"""What is said of a sample, by hand, and how often it is wrong, by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.model.quantities import QUANTITIES
from benchharness.regression.verdict import FEWEST_PAIRS, Sample, Verdict, judge

RATE = QUANTITIES["train_images_per_s"]
MEMORY = QUANTITIES["peak_host_bytes"]
TOP1 = QUANTITIES["test_top1"]
SECONDS = QUANTITIES["wall_s"]

Noise = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]


def verdict_of(quantity, pairs, *, threshold: float = 0.05) -> Verdict:
    """Return what is said of pairs (A, B)."""
    return judge(Sample.paired(quantity, pairs), threshold=threshold)


@pytest.mark.parametrize(
    ("quantity", "pair", "word", "change"),
    [
        (RATE, (100.0, 80.0), "slower", 1.25),
        (RATE, (80.0, 100.0), "faster", 0.8),
        (RATE, (100.0, 99.0), "same", 100 / 99),
        (SECONDS, (1.0, 1.25), "slower", 1.25),
        (MEMORY, (1e9, 1.1e9), "more", 1.1),
        (MEMORY, (1.1e9, 1e9), "less", 1 / 1.1),
        (TOP1, (0.9, 0.8), "worse", 0.1),
        (TOP1, (0.8, 0.9), "better", -0.1),
        (TOP1, (0.9, 0.89), "same", 0.01),
    ],
)
def test_six_equal_pairs_say_what_they_are(quantity, pair, word, change):
    """Above 1 B is slower or larger, whichever way the column counts; accuracies are A - B."""
    found = verdict_of(quantity, [pair] * 6)

    assert found.word == word
    assert found.change == pytest.approx(change)
    assert found.low == pytest.approx(change)
    assert found.high == pytest.approx(change)
    assert found.is_worse == (word in ("slower", "more", "worse"))


def test_an_interval_that_straddles_the_threshold_decides_nothing():
    """Between 1.02 and 1.08: perhaps more than 5 %, perhaps not."""
    pairs = [(1.0, ratio) for ratio in (1.02, 1.04, 1.05, 1.06, 1.07, 1.08)]

    found = verdict_of(SECONDS, pairs)

    assert found.word == "undecidable"
    assert found.is_open
    assert (found.low, found.high) == (pytest.approx(1.02), pytest.approx(1.08))


def test_what_nobody_requires_may_stay_undecided():
    """An accuracy that is merely watched keeps nobody waiting."""
    pairs = [(0.9, 0.9 + step) for step in (-0.1, 0.1, 0.0, 0.05, -0.05, 0.02)]

    found = judge(Sample.paired(TOP1, pairs), threshold=0.02, is_required=False)

    assert (found.word, found.is_open) == ("undecidable", False)


def test_fewer_than_six_pairs_decide_nothing():
    """However clear they are."""
    found = verdict_of(RATE, [(100.0, 10.0)] * (FEWEST_PAIRS - 1))

    assert found.word == "undecidable"
    assert (found.low, found.high) == (None, None)
    assert found.change == pytest.approx(10)


def test_sides_that_are_swapped_swap_the_verdict():
    """What makes B slower makes A faster by the same factor."""
    pairs = [(1.0, 1.2), (1.1, 1.3), (0.9, 1.1), (1.0, 1.25), (1.05, 1.2), (1.0, 1.15)]

    one, other = verdict_of(SECONDS, pairs), verdict_of(SECONDS, [(b, a) for a, b in pairs])

    assert (one.word, other.word) == ("slower", "faster")
    assert one.change == pytest.approx(1 / other.change)
    assert one.low == pytest.approx(1 / other.high)


def test_one_wild_pair_of_fourteen_changes_nothing():
    """A burst of noise that makes one trial twice as slow."""
    pairs = [(1.0, 1.0 + 0.001 * step) for step in range(13)] + [(1.0, 2.0)]

    assert verdict_of(SECONDS, pairs).word == "same"


def test_trials_of_different_times_get_a_wider_interval():
    """Each end moves by the drift that equal code has shown; memory does not drift."""
    ours, theirs = [1.0, 1.01, 1.02, 1.03], [1.3, 1.31, 1.32, 1.33]

    still = judge(Sample.unpaired(SECONDS, ours, theirs, drift=0.0), threshold=0.05)
    drifting = judge(Sample.unpaired(SECONDS, ours, theirs, drift=0.1), threshold=0.05)
    memory = judge(Sample.unpaired(MEMORY, ours, theirs, drift=0.1), threshold=0.05)

    assert still.low is not None and still.high is not None
    assert drifting.low == pytest.approx(still.low / 1.1)
    assert drifting.high == pytest.approx(still.high * 1.1)
    assert memory.low == pytest.approx(still.low)
    assert still.low == pytest.approx(1.3 / 1.03)
    assert not still.is_paired


# --- How often it is wrong -----------------------------------------------------------------------

LOOKS = (6, 8, 10, 12, 14, 16, 18, 20)
COMPARISONS = 150


def normal(spread: float) -> Noise:
    """Noise as textbooks have it."""
    return lambda random, shape: random.normal(0, spread, shape)


def heavy(spread: float) -> Noise:
    """Student's t with two degrees of freedom, whose variance is infinite."""
    return lambda random, shape: spread * random.standard_t(2, shape)


def bursts(spread: float) -> Noise:
    """One trial in eight is slowed down by 15 % on average, on either side."""

    def side(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
        hit = random.random(shape) < 0.12
        return random.normal(0, spread, shape) + hit * random.exponential(0.15, shape)

    return lambda random, shape: side(random, shape) - side(random, shape)


def drifting(spread: float) -> Noise:
    """A machine whose speed wanders from trial to trial; every other pair runs B first."""

    def differences(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
        speed = random.normal(0, spread, (shape[0], 2 * shape[1])).cumsum(axis=1)
        found = speed[:, 1::2] - speed[:, ::2]
        found[:, 1::2] *= -1
        return found

    return differences


NOISES = {
    "quiet": normal(0.01),
    "normal": normal(0.03),
    "heavy tails": heavy(0.02),
    "bursts": bursts(0.01),
    "drift": drifting(0.03),
}


def compare(costs: NDArray[np.float64]) -> tuple[str, int]:
    """Return the word at which a sequence of pairs ends, and how many it took."""
    for pairs in LOOKS:
        sample = Sample(
            quantity=SECONDS, costs=tuple(costs[:pairs].tolist()), trials=(pairs, pairs)
        )
        word = judge(sample, threshold=0.05).word
        if word != "undecidable":
            return word, pairs
    return "undecidable", LOOKS[-1]


def simulate(noise: Noise, *, slower: float) -> list[tuple[str, int]]:
    """Return how comparisons end, and after how many pairs, when B is so much slower."""
    random = np.random.default_rng(12345)
    costs = math.log1p(slower) + noise(random, (COMPARISONS, LOOKS[-1]))
    return [compare(row) for row in costs]


@pytest.mark.parametrize("name", NOISES)
def test_equal_code_is_hardly_ever_called_slower(name: str):
    """At most one comparison in a hundred, and most are called the same."""
    words = [word for word, _ in simulate(NOISES[name], slower=0.0)]

    assert words.count("slower") <= COMPARISONS // 100
    assert words.count("same") >= 0.85 * COMPARISONS


@pytest.mark.parametrize("name", NOISES)
def test_twice_the_threshold_is_hardly_ever_missed(name: str):
    """A tenth slower is called the same at most once in a hundred, and slower nine times in ten."""
    found = simulate(NOISES[name], slower=0.1)
    words = [word for word, _ in found]

    assert words.count("same") <= COMPARISONS // 100
    assert words.count("slower") >= 0.9 * COMPARISONS
    assert np.mean([pairs for _, pairs in found]) < 11


@pytest.mark.parametrize("name", ["normal", "heavy tails"])
def test_the_threshold_itself_is_called_either_way_as_rarely_as_promised(name: str):
    """One time in twenty each, over all eight looks; with room for chance in 150 comparisons."""
    words = [word for word, _ in simulate(NOISES[name], slower=0.05)]

    assert words.count("slower") <= 0.1 * COMPARISONS
    assert words.count("same") <= 0.1 * COMPARISONS


def test_the_noisier_the_machine_the_more_pairs_it_takes():
    """And where it is far too noisy it says so, and raises no alarm."""
    quiet, noisy, hopeless = (simulate(normal(spread), slower=0.0) for spread in (0.01, 0.05, 0.3))

    assert np.mean([pairs for _, pairs in quiet]) == 6
    assert 8 < np.mean([pairs for _, pairs in noisy]) < 16
    assert [word for word, _ in hopeless].count("undecidable") > 0.95 * COMPARISONS
