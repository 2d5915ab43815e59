"""Numbers that cannot be right are flagged; honest bad luck is not."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_records import record

from benchharness.measure.sanity import EXPLANATIONS, explain, flags, lower_tail


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
def test_the_tail_is_the_exact_binomial_sum(draws, share, classes):
    """It agrees with the sum in exact fractions."""
    successes, chance = int(share * draws), Fraction(1, classes)

    exact = sum(
        math.comb(draws, count) * chance**count * (1 - chance) ** (draws - count)
        for count in range(successes + 1)
    )

    tail = lower_tail(successes=successes, draws=draws, chance=1 / classes)
    assert tail == pytest.approx(float(exact), rel=1e-9)


def test_the_tail_of_many_draws_does_not_underflow():
    """By symmetry, half of 200,000 tosses or fewer have probability just above one half."""
    tail = lower_tail(successes=100_000, draws=200_000, chance=0.5)

    assert tail == pytest.approx(0.5 + 0.5 * math.sqrt(2 / (math.pi * 200_000)), rel=1e-5)


@pytest.mark.parametrize(("factor", "is_stuck"), [(0.979, False), (0.981, True), (1.019, True),
                                                  (1.021, False)])  # fmt: skip
@pytest.mark.parametrize("classes", [2, 10])
def test_a_loss_within_two_percent_of_guessing_is_stuck(classes, factor, is_stuck):
    """Guessing costs ln(classes) nats."""
    loss = factor * math.log(classes)

    found = flags(record(metrics={"train_loss": loss}, classes=classes))

    assert found == (("stuck_at_chance",) if is_stuck else ())


def test_one_epoch_is_too_short_to_be_stuck():
    """The mean of the first epoch begins at guessing in any sound run."""
    assert flags(record(metrics={"train_loss": math.log(2)}, epochs=1)) == ()


@pytest.mark.parametrize("changes", [{"metrics": {}}, {"classes": None}, {"classes": 1}])
def test_unknown_numbers_raise_no_flag(changes):
    """A failed trial knows nothing, and one class cannot be guessed wrong."""
    assert flags(record(**{"metrics": {"train_loss": 0.0, "test_top1": 0.0}} | changes)) == ()


def test_every_flag_is_explained_with_what_to_check():
    """Each has a sentence."""
    metrics = {"train_loss": math.log(2), "test_top1": 0.1, "test_loss": math.inf}
    bad = record(metrics=metrics, held_bytes=2**30)

    assert set(flags(bad)) == set(EXPLANATIONS)
    assert all(len(explain(flag)) > 40 for flag in flags(bad))


@pytest.mark.parametrize("score", ["validation_loss", "test_loss", "test_top1"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_flagged_also_after_storing(score, value):
    """JSON has no word for it, so the flag itself carries the news."""
    found = flags(record(metrics={score: value}))

    stored = record(metrics={score: None}, flags=list(found))
    assert found == flags(stored) == ("not_a_number",)


def test_a_loss_that_passes_the_start_on_its_way_down_is_not_stuck():
    """Nine of ten training images told apart: dropout alone keeps the loss near ln(2)."""
    learnt = record(metrics={"train_loss": 0.69, "train_top1": 0.9}, epochs=2, train_count=400)
    guessed = record(metrics={"train_loss": 0.69, "train_top1": 0.52}, epochs=2, train_count=400)

    assert "stuck_at_chance" not in flags(learnt)
    assert "stuck_at_chance" in flags(guessed)
