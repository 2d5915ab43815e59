"""Accuracies are counts, compared image by image, and claimed to differ seldom without cause."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from results_records import record

from benchharness.measure.accuracy import Score, accuracy_difference, mcnemar, packed

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from measure_accuracy_claims import Case, measure


def score(hits: list[bool]) -> Score:
    """Return the score of a model that is right where its list says so."""
    return Score(right=sum(hits), of=len(hits), bits=packed(np.array(hits)))


def models(*, both: int, ours: int, theirs: int, neither: int = 0) -> tuple[Score, Score]:
    """Return two models by the images on which both, one or neither is right."""
    return (
        score([True] * (both + ours) + [False] * (theirs + neither)),
        score([True] * both + [False] * ours + [True] * theirs + [False] * neither),
    )


@pytest.mark.parametrize("images", [1, 7, 8, 9, 800])
def test_bits_come_back_as_they_went(images: int):
    """Eight to the byte, the last byte filled up with bits that belong to no image."""
    hits = np.random.default_rng(3).random(images) < 0.7

    text = packed(hits)

    assert Score(right=int(hits.sum()), of=images, bits=text).hits().tolist() == hits.tolist()
    assert len(text) == 4 * math.ceil(math.ceil(images / 8) / 3)


def test_an_older_record_has_a_share_and_no_bits():
    """Its mean in float32 is the count that it was."""
    old = record(metrics={"validation_top1": 0.89999998}, validation_count=40)

    found = Score.of_record(old, "validation")

    assert found == Score(right=36, of=40)
    assert found.top1 == 0.9
    with pytest.raises(ValueError, match="one per image"):
        found.hits()


@pytest.mark.parametrize("bits", [None, "", "AAAA", "no base64", 7])
def test_bits_of_another_number_of_images_are_left_out(bits: object):
    """A record whose bits cannot be those of its images is as good as an older one."""
    found = Score.of_record(
        record(metrics={"test_top1": 0.5}, test_count=800, test_bits=bits), "test"
    )

    assert found == Score(right=400, of=800)


@pytest.mark.parametrize(
    "changes", [{"metrics": {}}, {"metrics": {"test_top1": math.nan}}, {"test_count": None}]
)
def test_what_was_not_scored_has_no_score(changes: dict):
    """Unknown is not zero."""
    assert Score.of_record(record(**changes), "test") is None


def test_mcnemar_tosses_a_coin_for_each_disagreement():
    """Worked by hand: one of nine, or none, on the smaller side, twice: 2 x (1 + 9) / 512."""
    ours, theirs = models(both=80, ours=8, theirs=1, neither=11)

    assert mcnemar(ours.hits(), theirs.hits()) == pytest.approx(2 * 10 / 512)
    assert mcnemar(ours.hits(), ours.hits()) == 1


def test_one_trial_is_compared_image_by_image():
    """93 against 95 of 100 on the same images: 1 to 3 disagreements are none, 20 in 1,000 are."""
    few = accuracy_difference(*([side] for side in models(both=92, ours=1, theirs=3, neither=4)))
    many = accuracy_difference(
        *([side] for side in models(both=920, ours=10, theirs=30, neither=40))
    )

    assert few.verdict == "undecided"
    assert (many.verdict, many.is_of_frameworks) == ("different", False)
    assert many.p_value == pytest.approx(0.0022, abs=1e-4)
    # Worked by hand: 40 of 1,000 disagree, and the mean is -0.02.
    reach = 1.959964 * math.sqrt((0.04 - 0.02**2) / 999)
    assert (many.low, many.high) == (pytest.approx(-0.02 - reach), pytest.approx(-0.02 + reach))


def test_mcnemar_tosses_thousands_of_coins():
    """As many disagreements as a large test has: all on one side, or half on either."""
    one_sided, even = np.ones(3000, bool), np.arange(3000) % 2 == 0

    assert mcnemar(one_sided, ~one_sided) == pytest.approx(0.0, abs=1e-300)
    assert mcnemar(even, ~even) == pytest.approx(1.0)


def test_comparisons_of_a_report_share_the_probability_of_error():
    """McNemar's p of 8 against 1 is 0.039: enough alone, and not among four."""
    ours, theirs = models(both=91, ours=8, theirs=1)

    alone, among = (accuracy_difference([ours], [theirs], comparisons=n) for n in (1, 4))

    assert alone.p_value == pytest.approx(20 / 512)
    assert (alone.verdict, among.verdict) == ("different", "undecided")
    assert (alone.low, alone.high) == (among.low, among.high)


def test_without_answers_by_image_the_sides_count_as_independent():
    """Worked by hand: 9 and 5 of 18 become 10 and 6 of 20; one trial alone never differs."""
    found = accuracy_difference([Score(right=9, of=18)], [Score(right=5, of=18)])

    reach = 1.959964 * math.sqrt((0.5 * 0.5 + 0.3 * 0.7) / 20)
    assert found.high - found.difference == pytest.approx(reach)
    far = accuracy_difference([Score(right=900, of=1000)], [Score(right=500, of=1000)])
    assert (far.verdict, far.p_value) == ("undecided", None)


def test_two_trials_never_speak_of_the_frameworks():
    """Two seeds may end apart by more than two frameworks are."""
    ours, theirs = models(both=500, ours=400, theirs=0, neither=100)

    found = accuracy_difference([ours] * 2, [theirs] * 2)

    assert (found.verdict, found.is_of_frameworks) == ("undecided", False)


def test_three_trials_have_students_interval_of_their_differences():
    """Worked by hand: 1, 0 and -1 points, each on images of its own: t is 4.3027."""
    apart = (
        models(both=900, ours=10, theirs=0, neither=90),
        models(both=900, ours=0, theirs=0, neither=100),
        models(both=900, ours=0, theirs=10, neither=90),
    )
    ours, theirs = zip(*apart, strict=True)

    found = accuracy_difference(ours, theirs)

    assert found.high == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    assert (found.verdict, found.is_of_frameworks) == ("undecided", True)


def test_images_that_one_framework_always_gets_right_count_once():
    """Ten trials see the same 200 images: together they are no more certain than one."""
    pair = models(both=180, ours=10, theirs=2, neither=8)
    one = accuracy_difference(*([side] for side in pair))

    ten = accuracy_difference(*([side] * 10 for side in pair))

    assert (ten.low, ten.high) == (pytest.approx(one.low), pytest.approx(one.high))


def test_few_images_without_a_disagreement_do_not_make_equal():
    """200 images that agree leave room for one point; 2,000 do not."""
    few, many = (models(both=images, ours=0, theirs=0) for images in (200, 2000))

    assert accuracy_difference(*([side] * 5 for side in few)).verdict == "undecided"
    assert accuracy_difference(*([side] * 5 for side in many)).verdict == "equal"


def test_swapping_the_sides_turns_the_interval_over():
    """The verdict stays."""
    ours, theirs = models(both=920, ours=10, theirs=30, neither=40)

    found, swapped = accuracy_difference([ours], [theirs]), accuracy_difference([theirs], [ours])

    assert (found.low, found.high) == (pytest.approx(-swapped.high), pytest.approx(-swapped.low))
    assert (found.verdict, found.p_value) == (swapped.verdict, swapped.p_value)


def test_sides_of_unequal_length_are_refused():
    """A trial without its partner cannot be paired."""
    ours, theirs = models(both=9, ours=1, theirs=0)
    with pytest.raises(ValueError, match="argument"):
        accuracy_difference([ours, ours], [theirs])


@pytest.mark.parametrize(
    "case",
    [
        Case(trials=3, images=800, scatter=0.02),
        Case(trials=3, images=800, lasting=0.5),
        Case(trials=5, images=2000, scatter=0.005, lasting=0.5),
        Case(trials=1, images=800),
        Case(trials=2, images=800, scatter=0.02),
    ],
)
def test_equal_accuracies_seldom_differ(case: Case):
    """400 comparisons, seeds scattering or images kept: at most 7.5 %, and the truth is covered."""
    rates = measure(case, repetitions=400)

    assert rates.different <= 0.075
    assert rates.covered >= 0.925


def test_equal_frameworks_are_found_equal_and_others_are_not():
    """Five trials on 2,000 images of which 5 % divide two models: nine times in ten."""
    equal = measure(Case(trials=5, images=2000), repetitions=400)
    apart = measure(Case(trials=5, images=2000, gap=0.01), repetitions=400)

    assert equal.equal > 0.9
    assert apart.equal <= 0.075
