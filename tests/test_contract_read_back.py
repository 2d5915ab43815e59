"""Effective settings come from the framework's own objects, not from the task."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from frameworks import require

from benchharness.api import Optimizer
from benchharness.fairness.settings import deviations, stated
from benchharness.testing.tasks import CPU, make_task, small_cnn

pytestmark = pytest.mark.full

TASK = make_task(small_cnn(dropout=0.3), optimizer=Optimizer(name="adam", lr=0.01))


def training_of(package: str, task: Any = TASK) -> Any:
    """Return a training of a plugin's backend; skipped where the plugin is not installed."""
    require(package.removeprefix("benchharness_"))
    return import_module(f"{package}.plugin").benchharness_backend(options={}).train(task)


def test_pytorch_is_asked_for_what_it_computes_with():
    """What is changed in PyTorch's objects behind the task's back is told."""
    training = training_of("benchharness_torch")
    training._optimizer.param_groups[0].update(lr=0.0101, eps=1e-8)
    training._model.dropout.p = 0.4
    training._model.conv_same.requires_grad_(False)

    found = deviations(training.settings(), stated(TASK))

    assert found == (
        "optimizer.lr: 0.0101 instead of 0.01",
        "optimizer.epsilon: 1e-08 instead of 1e-07",
        "dropout: 0.4 instead of 0.3",
        "trainable: conv_valid, hidden, logits instead of conv_same, conv_valid, hidden, logits",
    )


def test_pytorchs_own_adam_is_told_apart():
    """Its weight decay is another formula, so its name is another."""
    training = training_of("benchharness_torch")
    torch = import_module("torch")
    training._optimizer = torch.optim.Adam(training._model.parameters(), lr=0.01, eps=1e-7)

    found = deviations(training.settings(), stated(TASK))

    assert found[0] == "optimizer.name: Adam instead of adam"


def test_pytorchs_determinism_ends_with_the_task_that_asked():
    """It is the whole process's, and a timed task after a proof gets it off again."""
    execution = replace(CPU, is_deterministic=True)

    told = [
        training_of("benchharness_torch", replace(TASK, execution=how)).settings()["deterministic"]
        for how in (execution, CPU)
    ]

    assert told == [True, False]


def test_keras_is_asked_for_what_it_computes_with():
    """What is changed in Keras's objects behind the task's back is told."""
    training = training_of("benchharness_keras")
    training._program.optimizer.learning_rate = 0.0101
    training._program.optimizer.epsilon = 1e-8
    training._program.learner.get_layer("dropout").rate = 0.4
    training._program.learner.get_layer("conv_same").trainable = False

    found = deviations(training.settings(), stated(TASK))

    assert found == (
        "optimizer.lr: 0.0101 instead of 0.01",
        "optimizer.epsilon: 1e-08 instead of 1e-07",
        "dropout: 0.4 instead of 0.3",
        "trainable: conv_valid, hidden, logits instead of conv_same, conv_valid, hidden, logits",
    )


def test_keras_own_adam_is_told_apart():
    """Its epsilon stands elsewhere, so its name is another."""
    training = training_of("benchharness_keras")
    adam = import_module("keras").optimizers.Adam(0.01, epsilon=1e-7)
    training._program = replace(training._program, optimizer=adam)

    found = deviations(training.settings(), stated(TASK))

    assert found[0] == "optimizer.name: Adam instead of adam"


def test_jax_is_asked_for_what_it_computes_with():
    """What is changed in the state of Optax or in Flax's modules behind the task's back is told."""
    training = training_of("benchharness_jax")
    constants = training._state.optimizer.hyperparams
    constants |= {"learning_rate": 0.0101, "eps": 1e-8}
    frozen = {name: array for name, array in training._state.learnt.items() if "same" in name}
    training._state = replace(
        training._state,
        learnt={n: a for n, a in training._state.learnt.items() if n not in frozen},
    )
    training._frozen |= frozen
    model = import_module("benchharness_jax.network").merge(training._graph, training._weights)
    model.layers["dropout"].rate = 0.4
    training._graph = import_module("flax.nnx").graphdef(model)

    found = deviations(training.settings(), stated(TASK))

    assert found == (
        "optimizer.lr: 0.0101 instead of 0.01",
        "optimizer.epsilon: 1e-08 instead of 1e-07",
        "dropout: 0.4 instead of 0.3",
        "trainable: conv_valid, hidden, logits instead of conv_same, conv_valid, hidden, logits",
    )


def test_jax_compiles_unasked_and_says_so():
    """Not a deviation, for nothing was asked; and a task that asks gets it."""
    execution = replace(CPU, compile=True)

    told = [
        training_of("benchharness_jax", replace(TASK, execution=how)).settings()["compile"]
        for how in (CPU, execution)
    ]

    assert told == [True, True]


def test_optax_own_rmsprop_is_told_apart():
    """Its epsilon stands inside the root, so its name is another."""
    training = training_of("benchharness_jax")
    optimizers = import_module("benchharness_jax.optimizers")
    training._rule = optimizers.build_native_optimizer(stated={"name": "rmsprop", "lr": 0.01})

    assert training.settings()["optimizer.name"] == "optax.rmsprop"
