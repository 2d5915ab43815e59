"""Networks and their counts, as published."""

from __future__ import annotations

import pytest

from benchharness.model.network import Conv, Dense, Flatten, MaxPool, Network
from benchharness.suite.settings import (
    BottleneckSettings,
    FeedSettings,
    FineTuneSettings,
    SimpleCnnSettings,
)
from benchharness.suite.workload import build_workload


def test_vgg16_with_its_head_has_the_published_counts():
    """23,105,345 in all; 15,470,081 learn with block 5; the head has 8,390,657."""
    tuned = build_workload(FineTuneSettings(image_size=150), channels=3, classes=2)
    head = build_workload(BottleneckSettings(image_size=150), channels=3, classes=2)

    assert tuned.params == head.params == 23_105_345
    assert tuned.trainable_params == 15_470_081
    assert head.trainable_params == 8_390_657
    assert head.front.count() == 14_714_688


def test_the_published_cnn_has_698_million_parameters():
    """Flatten and a dense layer of 1024 units at 150 pixels."""
    workload = build_workload(SimpleCnnSettings(image_size=150), channels=3, classes=2)

    assert workload.params == workload.trainable_params == 698_561_410


@pytest.mark.parametrize(
    ("trainable", "count"), [("head", 8_390_657), ("block5", 15_470_081), ("all", 23_105_345)]
)
def test_what_learns_does_not_depend_on_whether_frozen_blocks_are_reused(trainable, count):
    """Storing what the frozen blocks give changes the work, not the network."""
    plain = FineTuneSettings(image_size=150, trainable=trainable)
    workloads = [build_workload(plain, channels=3, classes=2)]
    if trainable != "all":
        stored = plain.model_copy(update={"reuse_frozen": True})
        workloads.append(build_workload(stored, channels=3, classes=2))

    assert {workload.trainable_params for workload in workloads} == {count}
    assert {workload.params for workload in workloads} == {23_105_345}
    assert {workload.flops_per_image for workload in workloads} == {workloads[0].flops_per_image}


def test_feeding_has_no_network():
    """The dataset strategy computes nothing."""
    workload = build_workload(FeedSettings(), channels=3, classes=2)

    assert (workload.params, workload.flops_per_image) == (0, 0)


def test_a_sigmoid_over_more_than_two_classes_is_refused():
    """One logit tells two classes apart, not ten."""
    with pytest.raises(ValueError, match="10"):
        build_workload(SimpleCnnSettings(output="sigmoid"), channels=1, classes=10)


def test_images_too_small_for_the_network_are_refused():
    """Feature maps must not shrink to nothing."""
    settings = SimpleCnnSettings(image_size=8, filters=(4, 4, 4), pool="each")
    with pytest.raises(ValueError, match="too small"):
        build_workload(settings, channels=3, classes=2)


def test_flops_count_each_multiply_add_as_two():
    """By hand: conv 3x3 of 2 channels into 4 on 6x6 (valid: 4x4), dense 16 into 3."""
    network = Network(
        input_shape=(6, 6, 2),
        layers=(
            Conv(name="c", filters=4),
            MaxPool(name="p"),
            Flatten(name="f"),
            Dense(name="d", units=3),
        ),
    )

    assert network.flops_per_image() == 2 * 9 * 2 * 4 * 16 + 2 * 16 * 3


def test_splitting_a_network_loses_nothing():
    """Front and rest have all layers, and the rest begins where the front ends."""
    network = build_workload(SimpleCnnSettings(image_size=32), channels=3, classes=2).learner

    front, rest = network.split(after="pool2")

    assert front.layers + rest.layers == network.layers
    assert rest.input_shape == front.output_shape
    assert rest.output_shape == network.output_shape
