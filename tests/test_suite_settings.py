"""Settings: the strategies' own defaults, and the way to a worker and back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest

from benchharness.model import task
from benchharness.suite.settings import (
    STRATEGIES,
    AugmentationSettings,
    BottleneckSettings,
    FineTuneSettings,
    OptimizerSettings,
    SimpleCnnSettings,
    settings_from_dict,
)

PARTS = ("load", "resolve")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settings_reach_a_worker_unchanged(strategy: str) -> None:
    """Settings are equal after JSON, and of the class of their strategy."""
    settings = STRATEGIES[strategy].model_validate({"augmentation": {"zoom": 0.1}, "threads": 2})

    received = settings_from_dict(json.loads(json.dumps(settings.model_dump(mode="json"))))

    assert received == settings
    assert type(received) is STRATEGIES[strategy]


def test_strategies_differ_in_the_defaults_that_their_recipes_state() -> None:
    """The small network ends in softmax, those on a backbone in what the classes decide."""
    assert (SimpleCnnSettings().output, SimpleCnnSettings().dropout) == ("softmax", 0.3)
    assert (BottleneckSettings().output, BottleneckSettings().dropout) == ("auto", 0.5)
    assert BottleneckSettings().optimizer == OptimizerSettings(name="adam", lr=1e-3)
    assert FineTuneSettings().optimizer == OptimizerSettings(name="sgd", lr=1e-4, momentum=0.9)


@pytest.mark.parametrize(("classes", "output"), [(2, "sigmoid"), (3, "softmax"), (10, "softmax")])
def test_an_output_of_auto_is_one_logit_for_two_classes(classes: int, output: str) -> None:
    """And one for each of more; what is stated is kept."""
    assert SimpleCnnSettings(output="auto").output_for(classes) == output
    assert SimpleCnnSettings(output="softmax").output_for(classes) == "softmax"


def test_words_are_those_of_the_model() -> None:
    """Names that settings accept are the names that a backend's task knows."""
    words = {"precision": task.Precision, "layout": task.Layout}
    outputs = get_args(SimpleCnnSettings.model_fields["output"].annotation)

    assert all(
        SimpleCnnSettings.model_fields[key].annotation == known for key, known in words.items()
    )
    assert set(outputs) == {"auto", *get_args(task.Output)}
    assert get_args(OptimizerSettings.model_fields["name"].annotation) == get_args(
        task.OptimizerName
    )


def test_optimizer_has_the_constants_of_the_model() -> None:
    """Every setting of the optimizer is an argument of the task's, with equal defaults."""
    settings = OptimizerSettings(name="adam")

    built = task.Optimizer(**settings.model_dump())

    assert built == task.Optimizer(name="adam", lr=1e-3)


@pytest.mark.parametrize("key", AugmentationSettings.model_fields)
def test_any_amount_of_augmentation_is_augmentation(key: str) -> None:
    """Images stay as they are only while every amount is zero."""
    amount = key.startswith("flip") or 0.5

    assert AugmentationSettings().is_identity
    assert not AugmentationSettings.model_validate({key: amount}).is_identity


def test_suites_are_read_without_numpy_or_a_framework() -> None:
    """What ``--help`` and a wrong suite need starts in a moment."""
    imports = ", ".join(["sys", *(f"benchharness.suite.{part}" for part in PARTS)])
    heavy = "{'numpy', 'pandas', 'rich', 'torch', 'keras', 'tensorflow'}"

    run = subprocess.run(
        [sys.executable, "-c", f"import {imports}; print({heavy} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.strip() == "set()"
