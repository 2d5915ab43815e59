"""Memory of a trial, against sums done by hand."""

from __future__ import annotations

import pytest

from benchharness.model.network import Conv, Dense, Flatten, MaxPool, Network
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate import memory_needs, optimizer_states, peak_activation_bytes
from benchharness.suite.plan import PlannedCell, Trial
from benchharness.suite.settings import (
    BottleneckSettings,
    FeedSettings,
    FineTuneSettings,
    SimpleCnnSettings,
    StrategySettings,
)
from benchharness.suite.workload import Workload, build_workload

# 6 x 6 x 2 -> conv 4 x 4 x 3 -> pool 2 x 2 x 3 -> 12 -> 5 -> 1.
SMALL = Network(
    input_shape=(6, 6, 2),
    layers=(
        Conv(name="conv", filters=3),
        MaxPool(name="pool"),
        Flatten(name="flatten"),
        Dense(name="hidden", units=5, activation="relu"),
        Dense(name="logits", units=1),
    ),
)


def needs(settings: StrategySettings, *, images: int, device: str = "cpu", **more: int):
    """Return the memory of a trial on colour pictures of two classes."""
    cell = PlannedCell(
        benchmark="some",
        strategy="some",
        backend="some",
        track="equal",
        matrix={},
        settings=settings,
        published=None,
        trials=1,
    )
    preview = TrialPreview(
        trial=Trial(cell=cell, index=1, seed=0),
        steps=1,
        train_images=images,
        validation_images=0,
        test_images=0,
        workload=build_workload(settings, channels=3, classes=2),
        channels=3,
    )
    return memory_needs(preview, device=device, **more)


@pytest.mark.parametrize(
    ("name", "momentum", "states"),
    [("sgd", 0.0, 0), ("sgd", 0.9, 1), ("rmsprop", 0.0, 1), ("adam", 0.0, 2)],
)
def test_an_optimizer_keeps_as_many_arrays_as_its_rule_has_moments(name, momentum, states):
    """Plain descent keeps nothing; Adam keeps two."""
    assert optimizer_states(name, momentum=momentum) == states


@pytest.mark.parametrize(
    ("trainable", "values"),
    [
        # Input 72, outputs 48, 12, 5, 1; going back, the convolution's input and output on top.
        (SMALL.learning_layers(), 72 + 48 + 12 + 5 + 1 + (72 + 48)),
        # Only the dense layers learn: the convolution's input and output are the most at once.
        (("hidden", "logits"), 72 + 48),
    ],
)
@pytest.mark.parametrize(("precision", "value_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_training_holds_outputs_and_the_gradients_of_one_layer(
    trainable, values, precision, value_bytes
):
    """Frozen layers hold one layer at a time; mixed precision keeps outputs in 16 bits."""
    workload = Workload(backbone=None, front=None, learner=SMALL, trainable=tuple(trainable))

    found = peak_activation_bytes(workload, batch_size=10, precision=precision)

    assert found == 10 * value_bytes * values


def test_the_published_cnn_wants_eleven_gigabytes_with_adam():
    """698,561,410 parameters: weights, gradients and two moments of 4 bytes each."""
    found = needs(SimpleCnnSettings(image_size=150, batch_size=200), images=2800)

    assert found.learning_bytes == 698_561_410 * 4 * 4
    assert found.host["weights"] == found.host["gradients"] == 698_561_410 * 4
    assert found.host["dataset"] == 2800 * (150 * 150 * 3)
    assert found.host["batches"] == 200 * 150 * 150 * 3 * 5 * 2
    assert found.host_bytes == sum(found.host.values()) > 25e9


def test_on_a_gpu_the_host_keeps_the_copies():
    """What learns is on the device; what was drawn and is read back is not."""
    settings = SimpleCnnSettings(image_size=64)
    cpu, gpu = (needs(settings, images=100, device=device) for device in ("cpu", "gpu"))

    assert cpu.device == {} and set(gpu.host) == {"framework", "copies", "dataset"}
    assert gpu.device["optimizer"] == cpu.host["optimizer"]
    assert gpu.learning_bytes == cpu.learning_bytes


def test_only_what_learns_has_gradients_and_moments():
    """Fine-tuning block 5: 15,470,081 of 23,105,345 learn, with momentum."""
    found = needs(FineTuneSettings(image_size=150), images=1)

    assert found.host["weights"] == 4 * 23_105_345
    assert found.host["gradients"] == found.host["optimizer"] == 4 * 15_470_081


def test_stored_features_are_mapped_and_the_front_passes_layer_by_layer():
    """The bottleneck trains a head; its backbone's largest layers are the peak of activations."""
    found = needs(BottleneckSettings(image_size=96, batch_size=50), images=10)

    assert found.host["dataset"] == 10 * (96 * 96 * 3 + 4 * 3 * 3 * 512)
    assert found.host["activations"] == 50 * 4 * (2 * 96 * 96 * 64)


def test_feeding_needs_the_framework_and_its_images():
    """There is nothing to learn."""
    found = needs(FeedSettings(image_size=8, batch_size=2), images=5, framework_bytes=1000)

    assert found.learning_bytes == 0
    assert found.host_bytes == 1000 + 5 * 8 * 8 * 3 + 2 * 8 * 8 * 3 * 5 * 2
