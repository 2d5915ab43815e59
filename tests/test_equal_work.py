"""The real frameworks, given the same task, do the same work.

Each framework has a process of its own, as in a run: in one process, PyTorch 2.15 after
TensorFlow 2.21 aborts.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from frameworks import require

from benchharness.api import Batch, Conv, Dense, Flatten, MaxPool, Network, Optimizer, Scores, Task
from benchharness.data.batches import BatchSequence, EpochSequence, epoch_order
from benchharness.suite.settings import BottleneckSettings, FineTuneSettings, SimpleCnnSettings
from benchharness.suite.workload import build_workload
from benchharness.testing.tasks import make_preprocessing, make_task
from benchharness.weights.initial import initial_weights

pytestmark = pytest.mark.full

BACKENDS = ("keras", "torch", "jax")


@functools.cache
def process(name: str) -> ProcessPoolExecutor:
    """Return the process in which a framework works."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def apart(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``work`` gives in the process of a backend, skipping where it is missing."""
    require(name)
    return process(name).submit(work, name, *arguments).result(timeout=300)


@pytest.fixture(autouse=True, scope="module")
def ended_processes():
    """End the frameworks' processes with the last test."""
    yield
    for name in BACKENDS:
        process(name).shutdown()


def backend(name: str) -> Any:
    """Return a backend, straight from its hook."""
    module = importlib.import_module(f"benchharness_{name}.plugin")
    return module.benchharness_backend(options={})


def task_of(network: Network, **changes: Any) -> Task:
    """Return a task with initial weights as the core draws them, dropout off."""
    layers = tuple(
        replace(layer, rate=0.0) if hasattr(layer, "rate") else layer for layer in network.layers
    )
    network = replace(network, layers=layers)
    return replace(make_task(network), weights=initial_weights(network, seed=5), seed=5, **changes)


def learn(name: str, task: Task, epochs: Any) -> tuple[list[Scores], dict[str, np.ndarray]]:
    """Return each epoch's scores and the weights after them."""
    training = backend(name).train(task)
    scores: list[Scores] = []
    training.train(epochs, after_step=lambda: None, after_epoch=scores.append)
    return scores, dict(training.weights())


def train(name: str, task: Task, epochs: Any) -> tuple[list[Scores], dict[str, np.ndarray]]:
    """Do the same in the backend's own process."""
    return apart(name, learn, task, [list(epoch) for epoch in epochs])


def count(name: str, task: Task, batch: Batch) -> tuple[int, int]:
    """Return how many values a framework holds, and how many have a gradient."""
    training = backend(name).train(task)
    held = sum(array.size for array in training.weights().values())
    return held, sum(array.size for array in training.gradients(batch).values())


def batches(inputs: np.ndarray, classes: int, *, batch_size: int, order: Any = None) -> Any:
    """Return the inputs as batches, labels drawn."""
    labels = np.random.default_rng(3).integers(0, classes, len(inputs)).astype(np.int32)
    ids = np.arange(len(inputs)) if order is None else order
    return BatchSequence(inputs, labels, ids, batch_size=batch_size)


def images(count: int, size: int) -> np.ndarray:
    """Return random RGB images."""
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_first_training_loss_of_the_simple_cnn_agrees():
    """Same seed, same weights, same pixels: within 1e-5."""
    network = build_workload(
        SimpleCnnSettings(image_size=32, dense=64), channels=3, classes=2
    ).learner
    task = task_of(network, output="softmax")
    plan = [batches(images(20, 32), 2, batch_size=20)]

    losses = [train(name, task, plan)[0][0].loss for name in BACKENDS]

    assert losses[1:] == pytest.approx(losses[:1] * 2, abs=1e-5)


def test_the_first_training_loss_of_the_head_agrees():
    """The same for the head on stored features, of the published size."""
    learner = build_workload(BottleneckSettings(image_size=150), channels=3, classes=2).learner
    task = task_of(learner, output="sigmoid", preprocessing=None)
    features = np.random.default_rng(2).random((20, 4, 4, 512), dtype=np.float32)

    losses = [
        train(name, task, [batches(features, 2, batch_size=20)])[0][0].loss for name in BACKENDS
    ]

    assert losses[1:] == pytest.approx(losses[:1] * 2, abs=1e-5)


def test_the_batch_order_is_the_cores_in_every_framework():
    """Over two epochs of plain SGD, in which order decides, all end at the same weights.

    The same images in another order end elsewhere, so the agreement is no accident.
    """
    network = Network(
        input_shape=(12, 12, 3),
        layers=(
            Conv(name="c", filters=4),
            MaxPool(name="p"),
            Flatten(name="f"),
            Dense(name="d", units=2),
        ),
    )
    task = task_of(
        network,
        output="softmax",
        optimizer=Optimizer(name="sgd", lr=0.3),
        preprocessing=make_preprocessing("unit", shape=(12, 12, 3)),
    )
    pictures = images(23, 12)

    def plan(seed: int) -> EpochSequence:
        ids = np.arange(23)
        return EpochSequence(
            2,
            make=lambda epoch: batches(
                pictures, 2, batch_size=5, order=epoch_order(ids, seed=seed, epoch=epoch)
            ),
        )

    ends = {name: train(name, task, plan(1))[1] for name in BACKENDS}
    elsewhere = train("torch", task, plan(2))[1]

    for part, array in ends["torch"].items():
        np.testing.assert_allclose(ends["keras"][part], array, atol=1e-5)
        np.testing.assert_allclose(ends["jax"][part], array, atol=1e-5)
    assert np.abs(elsewhere["c/kernel"] - ends["torch"]["c/kernel"]).max() > 1e-3


@pytest.mark.parametrize("name", BACKENDS)
def test_vgg16_with_its_head_has_the_published_counts_in_the_framework(name: str):
    """What the framework itself holds: 23,105,345 values, of which 15,470,081 have gradients."""
    workload = build_workload(FineTuneSettings(image_size=150), channels=3, classes=2)
    task = replace(task_of(workload.learner, output="sigmoid"), trainable=workload.trainable)
    batch = batches(images(1, 150), 2, batch_size=1)[0]

    assert apart(name, count, task, batch) == (23_105_345, 15_470_081)
