"""Keras compiles augmented training like any other, on each engine that has a choice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchharness.api import Backend, Optimizer
from benchharness.plugins import load_backend
from benchharness.testing import BackendContract
from benchharness.testing.assertions import Subject
from benchharness.testing.tasks import CPU, make_task, small_cnn

pytestmark = pytest.mark.full

COMPILED = replace(CPU, compile=True)


@pytest.fixture(scope="module")
def backend() -> Backend:
    """Return Keras on TensorFlow; skipped where the plugin is not installed."""
    pytest.importorskip("benchharness_keras")
    pytest.importorskip("tensorflow")
    return load_backend("keras", options={})


def test_compiled_training_sees_each_image_by_its_own_warp(backend: Backend):
    """XLA resamples inside the compiled step, pixel for pixel as the contract has it."""
    BackendContract().test_training_sees_each_image_by_its_own_warp(Subject(backend, COMPILED))


def test_compiled_losses_on_augmented_batches_are_the_references(backend: Backend):
    """Two epochs, whose last batch is smaller, lose what the reference loses."""
    BackendContract().test_losses_on_augmented_batches_are_the_references(
        Subject(backend, COMPILED)
    )


def test_compiled_augmented_steps_are_replayed(backend: Backend):
    """A replayed step moves the weights as a step of training does."""
    BackendContract().test_replayed_steps_are_those_of_training(
        Subject(backend, COMPILED), rule=Optimizer(name="adam", lr=0.02), is_augmented=True
    )


def test_compiling_is_read_back_with_augmentation(backend: Backend):
    """What was asked is told of the step that is built."""
    task = make_task(small_cnn(), is_augmented=True, execution=COMPILED)

    assert backend.train(task).settings()["compile"] is True
