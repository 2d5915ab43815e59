"""Verdicts on a sample, by hand, and how often they are wrong, by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.compare.sampling import FEWEST_PAIRS, level_of, planned_looks
from benchharness.compare.verdict import Sample, Verdict, decide, decide_misses
from benchharness.model.quantities import QUANTITIES

RATE = QUANTITIES["train_images_per_s"]
MEMORY = QUANTITIES["peak_host_bytes"]
TOP1 = QUANTITIES["test_top1"]
SECONDS = QUANTITIES["wall_s"]

LOOKS = planned_looks(FEWEST_PAIRS, 20)
LEVEL = level_of(LOOKS)

Noise = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]


def verdict_of(quantity, pairs, *, threshold: float = 0.05) -> Verdict:
    """Return what is said of pairs (A, B)."""
    return decide(Sample.paired(quantity, pairs), threshold=threshold, level=LEVEL)


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
    assert found.is_undecided
    assert (found.low, found.high) == (pytest.approx(1.02), pytest.approx(1.08))


def test_what_nobody_requires_may_stay_undecided():
    """An accuracy that is merely watched keeps nobody waiting."""
    pairs = [(0.9, 0.9 + step) for step in (-0.1, 0.1, 0.0, 0.05, -0.05, 0.02)]

    found = decide(Sample.paired(TOP1, pairs), threshold=0.02, level=LEVEL, is_required=False)

    assert (found.word, found.is_undecided) == ("undecidable", False)


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
    a, b = [1.0, 1.01, 1.02, 1.03], [1.3, 1.31, 1.32, 1.33]

    still, drifting, memory = (
        decide(Sample.unpaired(quantity, a, b, drift=drift), threshold=0.05, level=LEVEL)
        for quantity, drift in ((SECONDS, 0.0), (SECONDS, 0.1), (MEMORY, 0.1))
    )

    assert still.low is not None and still.high is not None
    assert drifting.low == pytest.approx(still.low / 1.1)
    assert drifting.high == pytest.approx(still.high * 1.1)
    assert memory.low == pytest.approx(still.low)
    assert still.low == pytest.approx(1.3 / 1.03)
    assert not still.is_paired


def test_of_trials_that_are_no_pairs_the_change_is_the_median_of_all_quotients():
    """By hand: of 1 and 2 against 2, 4 and 8 the quotients are 1, 2, 2, 4, 4 and 8."""
    found = decide(
        Sample.unpaired(SECONDS, [1.0, 2.0], [2.0, 4.0, 8.0], drift=0.0),
        threshold=0.05,
        level=LEVEL,
    )

    assert found.change == pytest.approx(math.sqrt(8))


# --- Targets that are missed ---------------------------------------------------------------------

NEVER = math.inf


def test_a_target_that_b_never_reaches_takes_infinitely_long():
    """Slower, by a factor that no number can tell."""
    found = verdict_of(SECONDS, [(1.0, NEVER)] * 6)

    assert (found.word, found.change, found.low) == ("slower", None, None)


@pytest.mark.parametrize("is_paired", [True, False])
def test_a_target_missed_in_half_the_trials_is_not_the_same_time(is_paired: bool):
    """Six trials of twelve as long as A's, six without an end."""
    a, b = [1.0] * 12, [1.0, NEVER] * 6
    sample = (
        Sample.paired(SECONDS, list(zip(a, b, strict=True)))
        if is_paired
        else Sample.unpaired(SECONDS, a, b, drift=0.0)
    )

    found = decide(sample, threshold=0.05, level=LEVEL)

    assert found.word == "undecidable"
    assert found.high is None
    assert found.low == pytest.approx(1)


def test_pairs_that_neither_side_ends_tell_nothing_of_time():
    """Whatever the rest says is said; without a rest nothing is."""
    pairs = [(1.0, 1.01)] * 6

    both = verdict_of(SECONDS, [*pairs, (NEVER, NEVER), (NEVER, NEVER)])
    nothing = verdict_of(SECONDS, [(NEVER, NEVER)] * 8)
    unpaired = decide(
        Sample.unpaired(SECONDS, [NEVER] * 8, [NEVER] * 8, drift=0.0), threshold=0.05, level=LEVEL
    )

    assert (both.word, both.change) == ("same", pytest.approx(1.01))
    assert both.pairs == 8
    assert [(one.word, one.change) for one in (nothing, unpaired)] == [("undecidable", None)] * 2


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (0, 6, "missed"),
        (6, 0, "reached"),
        (0, 5, "undecidable"),
        # Of what A reaches, B misses none of six.
        (6, 6, "same"),
        (12, 12, "undecidable"),
    ],
)
def test_who_misses_a_target_more_often_is_told_by_the_pairs_that_disagree(
    a: int, b: int, word: str
):
    """Six in one direction and none in the other happen by chance once in 64 times."""
    missed = ([True] * a + [False] * (12 - a), [True] * b + [False] * (12 - b))

    found = decide_misses(*missed, is_paired=True, level=LEVEL)

    assert found.word == word
    assert found.misses == ((a, 12), (b, 12))
    assert found.is_worse == (word == "missed")
    # Twelve that neither side reaches tell nothing, and look no worse.
    assert found.is_undecided == (a == 0 and word == "undecidable")


def test_misses_of_trials_that_are_no_pairs_are_told_by_their_numbers():
    """None of eight against six: 28 ways of 8,008 (Fisher), one in 286; five: one in 78."""
    six = decide_misses([False] * 8, [True] * 6 + [False] * 2, is_paired=False, level=0.0035)
    five = decide_misses([False] * 8, [True] * 5 + [False] * 3, is_paired=False, level=0.0128)
    surer = decide_misses([False] * 8, [True] * 5 + [False] * 3, is_paired=False, level=0.0129)

    assert (six.word, five.word, surer.word) == ("missed", "undecidable", "missed")


# --- How often it is wrong -----------------------------------------------------------------------

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
            quantity=SECONDS, log_ratios=tuple(costs[:pairs].tolist()), trials=(pairs, pairs)
        )
        word = decide(sample, threshold=0.05, level=LEVEL).word
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
