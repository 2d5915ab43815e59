"""Numbers that cannot be right are flagged; honest bad luck is not."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_records import record

from benchharness.measure.sanity import EXPLANATIONS, explain, flags, learning


def scored(top1: float, *, classes: int, count: int | None) -> dict:
    """Return a record with a test accuracy."""
    return record(metrics={"test_top1": top1}, classes=classes, test_count=count)


def test_the_published_accuracy_far_below_chance_is_flagged():
    """0.0562 on 10,000 images of 10 classes is a data error."""
    assert flags(scored(0.0562, classes=10, count=10_000)) == ("below_chance",)


@pytest.mark.parametrize(
    ("top1", "classes", "count"),
    [
        (0.4963, 2, 800),  # published, batch 5: a coin toss, no error
        (0.9187, 2, 800),
        (0.0970, 10, 10_000),  # one standard error below a tenth
        (0.0, 2, 9),  # 1 of 512: too few images to tell
    ],
)
def test_honest_results_are_not_flagged(top1, classes, count):
    """Guessing, good results and small samples raise no alarm."""
    assert flags(scored(top1, classes=classes, count=count)) == ()


def test_ten_wrong_of_ten_are_beyond_luck_for_two_classes():
    """1 of 1024 is below one in a thousand, 1 of 512 is not: the limit lies between 9 and 10."""
    assert flags(scored(0.0, classes=2, count=10)) == ("below_chance",)


@pytest.mark.parametrize("count", [None, 0])
def test_without_a_count_nothing_is_claimed(count):
    """An accuracy of unknown size cannot be improbable."""
    assert flags(scored(0.0, classes=10, count=count)) == ()


def test_validation_counts_too_where_its_size_is_known():
    """A validation accuracy below chance is flagged like a test accuracy."""
    metrics = {"validation_top1": 0.01}

    assert flags(record(metrics=metrics, validation_count=400)) == ("below_chance",)
    assert flags(record(metrics=metrics)) == ()


@given(
    draws=st.integers(1, 60),
    share=st.floats(0, 1),
    classes=st.integers(2, 12),
)
def test_accuracy_is_below_chance_by_the_exact_binomial_sum(draws, share, classes):
    """The flag agrees with the sum in exact fractions."""
    successes, chance = int(share * draws), Fraction(1, classes)

    exact = sum(
        math.comb(draws, count) * chance**count * (1 - chance) ** (draws - count)
        for count in range(successes + 1)
    )

    is_flagged = "below_chance" in flags(scored(successes / draws, classes=classes, count=draws))
    assert is_flagged == (exact < Fraction(1, 1000) and Fraction(successes, draws) < chance)


@pytest.mark.parametrize(("right", "is_flagged"), [(99_200, True), (99_400, False)])
def test_the_tail_of_many_draws_does_not_underflow(right: int, is_flagged: bool):
    """Of 200,000 tosses these are 3.6 and 2.7 standard deviations below half: p 0.0002, 0.004."""
    found = flags(scored(right / 200_000, classes=2, count=200_000))

    assert ("below_chance" in found) == is_flagged


def trained(
    *,
    train: tuple[int, int],
    test: tuple[int, int] | None = None,
    loss: float = math.log(2),
    shares: tuple[float, ...] = (0.5, 0.5),
    epochs: int = 2,
) -> dict:
    """Return a record with right answers of images, the classes in the same shares everywhere."""
    scores = {"train": train} | ({"test": test} if test else {})
    return record(
        metrics={"train_loss": loss}
        | {f"{split}_top1": right / of for split, (right, of) in scores.items()},
        epochs=epochs,
        classes=len(shares),
        class_counts={
            split: [round(share * of) for share in shares] for split, (_, of) in scores.items()
        },
        **{f"{split}_count": of for split, (_, of) in scores.items()},
    )


@pytest.mark.parametrize(
    "found",
    [
        # 64 training images under dropout and augmentation: the test shows what was learnt.
        trained(train=(37, 64), test=(640, 800), loss=0.69),
        # The other way round: all training images known by heart, nothing of the others.
        trained(train=(400, 400), test=(100, 200), loss=0.01),
        # As often right as the largest class, and surer where it matters.
        trained(train=(1800, 2000), test=(720, 800), loss=0.2, shares=(0.9, 0.1)),
        trained(train=(1700, 2000), test=(680, 800), loss=0.5, shares=(0.7, 0.3)),
    ],
)
def test_who_has_learnt_is_not_flagged(found):
    """One accuracy above guessing is enough, and so is a loss below it."""
    assert learning(found) == "learnt"
    assert flags(found) == ()


@pytest.mark.parametrize(
    "found",
    [
        trained(train=(208, 400)),
        trained(train=(1012, 2000), test=(398, 800), loss=5.0),
        # The largest class of uneven ones, always: 0.61 nats, far below ln(2).
        trained(train=(1400, 2000), test=(560, 800), loss=0.611, shares=(0.7, 0.3)),
        trained(train=(900, 2000), test=(360, 800), loss=1.95, shares=(0.45, *[0.055] * 10)),
        # The rarest class, always.
        trained(train=(110, 2000), test=(44, 800), loss=2.0, shares=(0.45, *[0.055] * 10)),
    ],
)
def test_who_guesses_is_stuck_whatever_the_classes_shares(found):
    """Nothing is better than the largest class, and the images would have shown it."""
    assert learning(found) == "stuck"
    assert flags(found) == ("stuck_at_chance",)


@pytest.mark.parametrize(
    "found",
    [trained(train=(24, 48), test=(10, 20)), trained(train=(1000, 2000), test=(10, 20))],
)
def test_few_images_tell_nothing(found):
    """Ten of twenty fit a guess and a network that is right on seven of ten."""
    assert learning(found) == "too few images"
    assert flags(found) == ()


@pytest.mark.parametrize(
    "found",
    [
        trained(train=(1000, 2000), epochs=1),  # the first epoch begins at guessing
        record(metrics={"train_loss": math.log(2), "test_top1": 0.5}),
    ],
)
def test_without_a_training_accuracy_to_judge_nothing_is_said(found):
    """Neither of a single epoch nor of a loss alone."""
    assert learning(found) == "unknown"
    assert flags(found) == ()


def test_the_validation_images_count_where_there_is_no_test():
    """They are held out as well."""
    found = record(
        metrics={"train_loss": 0.69, "train_top1": 0.5, "validation_top1": 0.7},
        train_count=400,
        validation_count=100,
    )

    assert learning(found) == "learnt"


def test_a_rare_class_always_guessed_is_no_data_error():
    """0.02 is what that class gives; only less than it is below chance."""
    uneven = {"classes": 10, "class_counts": {"test": [820, *[20] * 9]}, "test_count": 1000}

    assert flags(record(metrics={"test_top1": 0.02}, **uneven)) == ()
    assert flags(record(metrics={"test_top1": 0.001}, **uneven)) == ("below_chance",)


def test_guessers_are_told_from_learners_by_counts():
    """500 networks that toss a coin, and 500 that are right on three of four, 400 images each."""
    draw = random.Random(5)

    def drawn(share: float) -> str:
        train, test = (sum(draw.random() < share for _ in range(400)) for _ in range(2))
        return learning(trained(train=(train, 400), test=(test, 400)))

    guessing, knowing = (
        Counter(drawn(0.5) for _ in range(500)),
        Counter(drawn(0.75) for _ in range(500)),
    )
    assert guessing["stuck"] > 400
    assert guessing["learnt"] < 50
    assert knowing == {"learnt": 500}


@pytest.mark.parametrize("changes", [{"metrics": {}}, {"classes": None}, {"classes": 1}])
def test_unknown_numbers_raise_no_flag(changes):
    """A failed trial knows nothing, and one class cannot be guessed wrong."""
    assert flags(record(**{"metrics": {"train_loss": 0.0, "test_top1": 0.0}} | changes)) == ()


def test_every_flag_is_explained_with_what_to_check():
    """Each has a sentence."""
    metrics = {"train_top1": 0.5, "test_top1": 0.1, "test_loss": math.inf}
    bad = record(metrics=metrics, train_count=2000, unreleased_device_bytes=2**30)

    assert set(flags(bad)) == set(EXPLANATIONS)
    assert all(len(explain(flag)) > 40 for flag in flags(bad))


@pytest.mark.parametrize("score", ["validation_loss", "test_loss", "test_top1"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_flagged_also_after_storing(score, value):
    """JSON has no word for it, so the flag itself carries the news."""
    found = flags(record(metrics={score: value}))

    stored = record(metrics={score: None}, flags=list(found))
    assert found == flags(stored) == ("not_a_number",)
