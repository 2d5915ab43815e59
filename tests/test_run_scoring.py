"""Scores are believed when the core finds the same, from logits and from weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchharness.api import Batch, Scores
from benchharness.run.trial.scoring import ScoreCheck, judged, margins
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import CLASSES, learn, make_batches, make_task, small_cnn


def check(spoil: Callable[[Any], None] = lambda training: None, *, output: str = "softmax") -> str:
    """Return what is wrong with the scores of a training that a test has spoilt."""
    outputs = CLASSES if output == "softmax" else 1
    task = make_task(small_cnn(outputs=outputs), output=output)
    training = NumpyBackend(dtype="float32").train(task)
    classes = CLASSES if output == "softmax" else 2
    batches = make_batches(sizes=(6, 6, 3), classes=classes)
    learn(training, batches)
    spoil(training)
    flops = task.network.flops_per_image()
    return ScoreCheck(
        training=training, task=task, batches=batches, seconds=0.0, flops=flops
    ).trouble()


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_honest_scores_are_believed(output: str):
    """Of both kinds of output, after some learning."""
    assert check(output=output) == ""


def test_a_framework_with_its_own_rule_is_checked_as_well():
    """In the native track the task states no optimizer."""
    task = make_task(small_cnn())
    training, batches = NumpyBackend(dtype="float32").train(task), make_batches()
    flops = task.network.flops_per_image()

    native = replace(task, optimizer=None)
    found = ScoreCheck(training=training, task=native, batches=batches, seconds=0.0, flops=flops)

    assert found.trouble() == ""


def scores(training: Any, change: Callable[[list[Batch], Scores], Scores]) -> None:
    """Change what a training scores."""
    original = training.evaluate
    training.evaluate = lambda batches: change(list(batches), original(batches))


def test_a_count_that_lacks_images_is_told():
    """The smaller last batch was left out, and the scores say so."""
    found = check(lambda t: scores(t, lambda batches, found: replace(found, count=6)))

    assert found == "evaluation: scored 6 of 9 images"


def test_images_left_out_in_secret_show_in_the_loss():
    """The count is as planned; the mean is that of other images."""

    def spoil(training: Any) -> None:
        original = training.evaluate
        training.evaluate = lambda batches: replace(original(batches[:1]), count=9)

    assert check(spoil).startswith("evaluation: scored a loss of ")


def test_another_number_of_right_guesses_is_told():
    """A share that no image's logits give."""
    found = check(lambda t: scores(t, lambda batches, own: replace(own, top1=own.top1 - 4 / 9)))

    assert "images right where its logits give" in found


def test_logits_and_scores_that_agree_on_something_else_are_told():
    """Both come from a network other than the one whose weights are given out."""

    def spoil(training: Any) -> None:
        arrays = training.weights()
        own = {name: np.array(array) for name, array in arrays.items()}
        training.weights = lambda: {name: 1.1 * array for name, array in own.items()}

    assert "off those that its weights give" in check(spoil)


def test_a_loss_that_is_no_number_is_no_small_distance():
    """NaN fails whatever the tolerance."""
    found = check(lambda t: scores(t, lambda batches, own: replace(own, loss=float("nan"))))

    assert found.startswith("evaluation: scored a loss of nan")


def test_a_check_that_fails_takes_nothing_from_what_was_measured():
    """Memory runs out in it: the trial goes on, unproven, with the reason."""

    def spoil(training: Any) -> None:
        def full(batch: Batch) -> None:
            raise MemoryError

        training.logits = full

    assert check(spoil) == "evaluation: could not be checked (MemoryError)"


def test_without_the_reference_logits_alone_are_compared(monkeypatch: pytest.MonkeyPatch):
    """Whoever leaves the plugin numpy alone has no check by it, and no failure."""
    monkeypatch.setattr("benchharness.run.trial.scoring.installed", dict)

    def spoil(training: Any) -> None:
        own = {name: 1.1 * array for name, array in training.weights().items()}
        training.weights = lambda: own

    assert check(spoil) == ""


def test_cross_entropy_and_guesses_are_those_of_the_formula():
    """Two images, one right: -log softmax of the label, by hand."""
    logits = np.array([[0.0, np.log(3.0)], [0.0, np.log(3.0)]], np.float32)

    found = judged(logits, np.array([1, 0], np.int32), output="softmax")

    assert found.loss == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert (found.top1, found.count) == (0.5, 2)


def test_one_logit_is_that_of_the_second_class():
    """A sigmoid's logit against zero."""
    found = judged(np.array([[np.log(3.0)]], np.float32), np.array([1], np.int32), output="sigmoid")

    assert found.loss == pytest.approx(-np.log(0.75))
    assert margins(np.array([[-2.0]], np.float32)).tolist() == [2.0]
