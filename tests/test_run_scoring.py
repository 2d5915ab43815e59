"""Scores are believed when the core finds the same, from logits and from weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchharness.api import Batch, PluginError, Scores, Task
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import CLASSES, learn, make_batches, make_task, small_cnn
from benchharness.worker.checks import answers_to, judged, margins, score_trouble


def check(spoil: Callable[[Any], None] = lambda training: None, *, output: str = "softmax") -> str:
    """Return what is wrong with the scores of a training that a test has spoilt."""
    outputs = CLASSES if output == "softmax" else 1
    task = make_task(small_cnn(outputs=outputs), output=output)
    training = NumpyBackend(dtype="float32").train(task)
    classes = CLASSES if output == "softmax" else 2
    batches = make_batches(sizes=(6, 6, 3), classes=classes)
    learn(training, batches)
    spoil(training)
    return trouble(training, task, batches)


def trouble(training: Any, task: Task, batches: list[Batch], *, seconds: float = 0.0) -> str:
    """Return what is wrong with a training whose answers the core has scored in some seconds."""
    answers = answers_to(batches, training=training, output=task.output)
    flops = task.network.flops_per_image()
    return score_trouble(training, task, batches, answers, seconds=seconds, flops=flops)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_honest_scores_are_believed(output: str):
    """Of both kinds of output, after some learning."""
    assert check(output=output) == ""


def test_a_framework_with_its_own_rule_is_checked_as_well():
    """In the native track the task states no optimizer."""
    task = make_task(small_cnn())
    training, batches = NumpyBackend(dtype="float32").train(task), make_batches()

    native = replace(task, optimizer=None)

    assert trouble(training, native, batches) == ""


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
        def full(batches: list[Batch]) -> None:
            raise MemoryError

        training.evaluate = full

    assert check(spoil) == "evaluation: could not be checked (MemoryError)"


def test_without_the_reference_logits_alone_are_compared(monkeypatch: pytest.MonkeyPatch):
    """Whoever leaves the plugin numpy alone has no check by it, and no failure."""
    monkeypatch.setattr("benchharness.worker.checks.installed", dict)

    def spoil(training: Any) -> None:
        own = {name: 1.1 * array for name, array in training.weights().items()}
        training.weights = lambda: own

    assert check(spoil) == ""


def test_cross_entropy_and_guesses_are_those_of_the_formula():
    """Two images, one right: -log softmax of the label, by hand."""
    logits = np.array([[0.0, np.log(3.0)], [0.0, np.log(3.0)]], np.float32)

    found = judged(logits, np.array([1, 0], np.int32), output="softmax")

    assert found.losses == pytest.approx([-np.log(0.75), -np.log(0.25)])
    assert found.hits.tolist() == [True, False]
    assert (found.scores.right, found.scores.count) == (1, 2)
    assert found.scores.loss == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)


def test_a_guess_among_no_numbers_is_not_right():
    """NaN has a largest value for NumPy: the first."""
    found = judged(np.array([[np.nan, 0.0]], np.float32), np.array([0], np.int32), output="softmax")

    assert not found.hits.any()
    assert np.isnan(found.scores.loss)


def test_one_logit_is_that_of_the_second_class():
    """A sigmoid's logit against zero."""
    found = judged(np.array([[np.log(3.0)]], np.float32), np.array([1], np.int32), output="sigmoid")

    assert found.losses == pytest.approx([-np.log(0.75)])
    assert margins(np.array([[-2.0]], np.float32)).tolist() == [2.0]


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_every_image_is_answered_in_its_place(output: str):
    """The bits of all batches agree with the backend's scores and with each batch by itself."""
    task = make_task(small_cnn(outputs=CLASSES if output == "softmax" else 1), output=output)
    training = NumpyBackend(dtype="float32").train(task)
    batches = make_batches(sizes=(6, 6, 3), classes=CLASSES if output == "softmax" else 2)

    found = answers_to(batches, training=training, output=output)

    alone = [answers_to([batch], training=training, output=output).hits for batch in batches]
    assert found.hits.tolist() == np.concatenate(alone).tolist()
    assert found.scores.right == training.evaluate(batches).right
    assert found.scores.loss == pytest.approx(training.evaluate(batches).loss, rel=1e-5)


def test_logits_of_too_few_images_are_refused():
    """A row that is missing would shift all others."""
    task = make_task(small_cnn())
    training = NumpyBackend(dtype="float32").train(task)
    original = training.logits
    training.logits = lambda batch: original(batch)[:-1]

    with pytest.raises(PluginError, match="expected a row for each of 6 images, found 5"):
        answers_to(make_batches(sizes=(6,)), training=training, output="softmax")


@pytest.mark.parametrize(("seconds", "images"), [(0.0, 9), (0.9, 3)])
def test_a_costly_network_scores_its_last_batch_alone(seconds: float, images: int):
    """The core has all logits by then; what the check adds is a backend's scores of a sample."""
    task = make_task(small_cnn())
    training, batches = NumpyBackend(dtype="float32").train(task), make_batches(sizes=(6, 6, 3))
    scored: list[int] = []
    scores(training, lambda given, own: scored.append(own.count) or own)

    assert trouble(training, task, batches, seconds=seconds) == ""
    assert scored == [images]


def test_a_share_in_float32_is_a_count():
    """36 of 40 are nine tenths, whatever a framework's mean says."""
    share = float(np.float32(0.9))

    assert share != 0.9
    assert Scores(loss=0.1, top1=share, count=40).right == 36
    assert Scores(loss=0.1, top1=0.89999998, count=40).right == 36
    assert Scores(loss=0.1, top1=float("nan"), count=40).right is None
