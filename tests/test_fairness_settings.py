"""Settings: what the core states, what deviates from it, and in what backends differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchharness.api import Execution, Optimizer, Setting
from benchharness.fairness.settings import (
    SettingDifference,
    decides_work,
    deviations,
    differences,
    stated,
)
from benchharness.testing.tasks import CPU, make_network, make_task, small_cnn

ADAM = Optimizer(name="adam", lr=0.001, beta_1=0.8, epsilon=1e-7)


def test_a_training_states_its_rule_dropout_and_trainable_layers():
    """Only Adam's own constants are stated; layers come in the network's order."""
    task = make_task(small_cnn(dropout=0.3), optimizer=ADAM, trainable=("logits", "hidden"))

    found = stated(task)

    assert found == {
        "precision": "float32",
        "tf32": False,
        "layout": "channels_last",
        "optimizer.name": "adam",
        "optimizer.lr": 0.001,
        "optimizer.beta_1": 0.8,
        "optimizer.beta_2": 0.999,
        "optimizer.epsilon": 1e-7,
        "optimizer.weight_decay": 0.0,
        "dropout": "0.3",
        "trainable": "hidden, logits",
        "initialiser": "given",
    }


@pytest.mark.parametrize(
    ("precision", "has_tf32"), [("float32", False), ("tf32", True), ("bfloat16", False)]
)
def test_tf32_is_stated_where_it_is_the_precision(precision: str, has_tf32: bool):
    """Float32 and bfloat16 both forbid TF32 for what they compute in float32."""
    execution = Execution(device="gpu", threads=1, precision=precision)

    found = stated(make_task(small_cnn(), execution=execution))

    assert (found["precision"], found["tf32"]) == (precision, has_tf32)


def test_extraction_states_how_it_computes_and_nothing_of_learning():
    """Without an optimizer neither a rule nor what is trainable is stated."""
    task = make_task(small_cnn(), optimizer=None, execution=replace(CPU, compile=True))

    assert stated(task) == {
        "precision": "float32",
        "tf32": False,
        "layout": "channels_last",
        "compile": True,
    }


def test_feeding_states_only_what_images_meet():
    """Without a network there is no precision to keep and nothing to compile."""
    assert stated(make_task(make_network(), optimizer=None)) == {
        "tf32": False,
        "layout": "channels_last",
    }


def test_a_deviation_names_what_is_and_what_was_stated():
    """Each in one sentence, in the order of what is stated."""
    wanted: dict[str, Setting] = {"optimizer.epsilon": 1e-7, "tf32": False, "dropout": "0.5"}

    found = deviations({"dropout": "", "tf32": True, "optimizer.epsilon": 1e-8}, wanted)

    assert found == (
        "optimizer.epsilon: 1e-08 instead of 1e-07",
        "tf32: True instead of False",
        "dropout: nothing instead of 0.5",
    )


def test_a_stated_setting_that_is_not_reported_deviates():
    """Silence is no proof; what is reported beyond the stated is no deviation."""
    assert deviations({"threads": 2}, {"compile": False}) == (
        "compile: not reported instead of False",
    )


@pytest.mark.parametrize(
    ("told", "wanted", "is_same"),
    [
        # As float32 holds them, however a framework writes them.
        (0.10000000149011612, 0.1, True),
        (0, 0.0, True),
        ("0.3", "0.30000000000000004", True),
        ("0.3, 0.5", "0.30000000000000004, 0.5", True),
        ("0", "0.0", True),
        ("float32", "float32", True),
        # A millionth more, another or fewer numbers, another word.
        (0.1000002, 0.1, False),
        (1.01e-7, 1e-7, False),
        ("0.3", "0.4", False),
        ("0.3, 0.5", "0.3", False),
        ("", "0.3", False),
        ("adam", "sgd", False),
        # A truth value is no number, nor are nothing and a word.
        (1, True, False),
        (True, 1, False),
        (0, False, False),
        (None, 0.0, False),
        ("1", 1, False),
    ],
)
def test_numbers_are_compared_as_numbers(told: Setting, wanted: Setting, is_same: bool):
    """And anything else as it is."""
    assert (deviations({"x": told}, {"x": wanted}) == ()) is is_same


def test_differences_that_decide_the_work_come_first():
    """Then those of speed; what all report alike is not listed, what one omits is."""
    by_backend: dict[str, dict[str, Setting]] = {
        "keras": {"threads": 2, "autotune": False, "optimizer.lr": 0.1, "dropout": "0.3"},
        "torch": {"threads": 1, "optimizer.lr": 0.1, "dropout": "0.5", "autotune": False},
        "other": {"threads": 2, "optimizer.lr": 0.1, "dropout": "0.5"},
    }

    found = differences(by_backend)

    assert found == [
        SettingDifference(
            setting="dropout",
            values={"keras": "0.3", "torch": "0.5", "other": "0.5"},
            decides_work=True,
        ),
        SettingDifference(
            setting="threads", values={"keras": 2, "torch": 1, "other": 2}, decides_work=False
        ),
        SettingDifference(
            setting="autotune",
            values={"keras": False, "torch": False, "other": None},
            decides_work=False,
        ),
    ]


def test_one_backend_differs_from_none():
    """Nor do no backends at all."""
    assert differences({"torch": {"threads": 1}}) == []
    assert differences({}) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("layout threads compile engine autotune", False),
        ("precision tf32 optimizer.epsilon dropout trainable initialiser", True),
    ],
)
def test_rounding_and_rule_decide_the_work_and_speed_does_not(names: str, expected: bool):
    """With another of those that decide, other numbers come out."""
    assert {decides_work(name) for name in names.split()} == {expected}
