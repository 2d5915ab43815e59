"""Memory of a trial, against sums done by hand."""

from __future__ import annotations

import pytest

from benchharness.model.network import Conv, Dense, Flatten, MaxPool, Network
from benchharness.run.estimate import memory_needs, optimizer_states, peak_activation_bytes
from benchharness.suite.settings import (
    BottleneckSettings,
    FeedSettings,
    FineTuneSettings,
    SimpleCnnSettings,
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
CONV_PARAMS, DENSE_PARAMS = 9 * 2 * 3 + 3, 12 * 5 + 5 + 5 * 1 + 1


def workload(network: Network, trainable: tuple[str, ...]) -> Workload:
    """Return a workload without a backbone."""
    return Workload(backbone=None, front=None, learner=network, trainable=trainable)


@pytest.mark.parametrize(
    ("name", "momentum", "states"),
    [("sgd", 0.0, 0), ("sgd", 0.9, 1), ("rmsprop", 0.0, 1), ("adam", 0.0, 2)],
)
def test_an_optimizer_keeps_as_many_arrays_as_its_rule_has_moments(name, momentum, states):
    """Plain descent keeps nothing; Adam keeps two."""
    assert optimizer_states(name, momentum=momentum) == states


def test_training_holds_every_output_and_the_gradients_of_one_layer():
    """Input 72, outputs 48, 12, 5, 1; going back, the convolution's input and output on top."""
    found = peak_activation_bytes(
        workload(SMALL, SMALL.learning_layers()), batch_size=10, precision="float32"
    )

    assert found == 10 * 4 * (72 + 48 + 12 + 5 + 1 + (72 + 48))


def test_frozen_layers_hold_one_layer_at_a_time():
    """Only the dense layers learn: the convolution's input and output are the most at once."""
    found = peak_activation_bytes(
        workload(SMALL, ("hidden", "logits")), batch_size=1, precision="float32"
    )

    assert found == 4 * (72 + 48)


def test_half_the_precision_is_half_the_activations():
    """Mixed precision keeps outputs in 16 bits."""
    whole, half = (
        peak_activation_bytes(workload(SMALL, ("conv",)), batch_size=1, precision=precision)
        for precision in ("float32", "bfloat16")
    )

    assert whole == 2 * half


def test_the_published_cnn_wants_eleven_gigabytes_with_adam():
    """698,561,410 parameters: weights, gradients and two moments of 4 bytes each."""
    settings = SimpleCnnSettings(image_size=150, batch_size=200)
    needs = memory_needs(
        settings,
        build_workload(settings, channels=3, classes=2),
        channels=3,
        images=2800,
        device="cpu",
    )

    assert needs.learning_bytes == 698_561_410 * 4 * 4
    assert needs.host["weights"] == needs.host["gradients"] == 698_561_410 * 4
    assert needs.host["dataset"] == 2800 * (150 * 150 * 3)
    assert needs.host["batches"] == 200 * 150 * 150 * 3 * 5 * 2
    assert needs.host_bytes == sum(needs.host.values()) > 25e9


def test_on_a_gpu_the_host_keeps_the_copies():
    """What learns is on the device; what was drawn and is read back is not."""
    settings = SimpleCnnSettings(image_size=64)
    made = build_workload(settings, channels=3, classes=2)
    cpu, gpu = (
        memory_needs(settings, made, channels=3, images=100, device=device)
        for device in ("cpu", "gpu")
    )

    assert cpu.device == {} and set(gpu.host) == {"framework", "copies", "dataset"}
    assert gpu.device["optimizer"] == cpu.host["optimizer"]
    assert gpu.learning_bytes == cpu.learning_bytes


def test_only_what_learns_has_gradients_and_moments():
    """Fine-tuning block 5: 15,470,081 of 23,105,345 learn, with momentum."""
    settings = FineTuneSettings(image_size=150)
    needs = memory_needs(
        settings,
        build_workload(settings, channels=3, classes=2),
        channels=3,
        images=1,
        device="cpu",
    )

    assert needs.host["weights"] == 4 * 23_105_345
    assert needs.host["gradients"] == needs.host["optimizer"] == 4 * 15_470_081


def test_stored_features_are_mapped_and_the_front_passes_layer_by_layer():
    """The bottleneck trains a head; its backbone's largest layers are the peak of activations."""
    settings = BottleneckSettings(image_size=96, batch_size=50)
    made = build_workload(settings, channels=3, classes=2)
    needs = memory_needs(settings, made, channels=3, images=10, device="cpu")

    assert needs.host["dataset"] == 10 * (96 * 96 * 3 + 4 * 3 * 3 * 512)
    assert needs.host["activations"] == 50 * 4 * (2 * 96 * 96 * 64)


def test_feeding_needs_the_framework_and_its_images():
    """There is nothing to learn."""
    settings = FeedSettings(image_size=8, batch_size=2)
    needs = memory_needs(
        settings,
        build_workload(settings, channels=3, classes=2),
        channels=3,
        images=5,
        device="cpu",
        framework_bytes=1000,
    )

    assert needs.learning_bytes == 0
    assert needs.host_bytes == 1000 + 5 * 8 * 8 * 3 + 2 * 8 * 8 * 3 * 5 * 2
