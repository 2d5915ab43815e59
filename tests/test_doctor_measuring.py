"""Measuring a backend: a made one whose clock goes on by what each piece of work costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchharness.api import Batch, Execution, Scores, Task
from benchharness.doctor.calibrate import Calibrator, Sample, explain
from benchharness.run.estimate.costs import Cost, optimizer_states, training_step

CALL_S, FLOP_S, ACTIVATION_BYTE_S, PARAMETER_BYTE_S = 1e-3, 5e-12, 2e-10, 3e-10
BUILD_S, LAYER_S, SCORE_S, PIXEL_S, WARP_S = 0.5, 0.04, 0.02, 1e-8, 7e-8
CPU = Execution(device="cpu", threads=2)


class Clockwork:
    """A backend that does nothing but let its clock go on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        """Return the clock's reading."""
        return self.now_s

    def versions(self) -> dict[str, str]:
        """Return no versions."""
        return {}

    def feed(self, task: Task) -> Any:
        """Return something that feeds."""
        return Feeding(self, task)

    def train(self, task: Task) -> Any:
        """Return something that trains, which takes time to build."""
        self.now_s += BUILD_S + LAYER_S * len(task.network.layers)
        return Training(self, task)


class Feeding:
    """Takes so much a pixel."""

    def __init__(self, clock: Clockwork, task: Task) -> None:
        self._clock, self._task = clock, task

    def feed(self, batches: list[Batch], *, after_step: Callable[[], None]) -> None:
        """Let the clock go on by every pixel."""
        for batch in batches:
            height, width = batch.inputs.shape[1:3]
            pixel_s = PIXEL_S + (WARP_S if batch.warp is not None else 0.0)
            self._clock.now_s += len(batch) * height * width * pixel_s
            after_step()

    def synchronize(self) -> None:
        """Nothing is under way."""

    def settings(self) -> dict[str, Any]:
        """Return what it runs on."""
        return {"device": "clockwork", "threads": 2}


class Training:
    """Takes what the cost of a step says."""

    def __init__(self, clock: Clockwork, task: Task) -> None:
        self._clock, self._task = clock, task

    def train(self, epochs, *, after_step, after_epoch) -> None:
        """Let the clock go on by every step."""
        task = self._task
        for batches in epochs:
            for batch in batches:
                cost = training_step(
                    task.network,
                    task.trainable,
                    batch_size=len(batch),
                    states=optimizer_states(task.optimizer.name),
                )
                self._clock.now_s += (
                    CALL_S
                    + cost.flops * FLOP_S
                    + cost.activation_bytes * ACTIVATION_BYTE_S
                    + cost.parameter_bytes * PARAMETER_BYTE_S
                )
                after_step()
            after_epoch(Scores(loss=1.0, top1=0.5, count=1))

    def evaluate(self, batches) -> Scores:
        """Let the clock go on by the call."""
        self._clock.now_s += SCORE_S
        return Scores(loss=1.0, top1=0.5, count=1)

    def synchronize(self) -> None:
        """Nothing is under way."""


def measuring() -> Calibrator:
    """Return the measuring of a backend of known speed."""
    clock = Clockwork()
    return Calibrator(backend=clock, execution=CPU, now=clock.now, product=lambda: 2e11)


def test_four_networks_tell_what_a_backend_takes_for_each():
    """Seconds per call, operation and byte come out as they were put in."""
    found = measuring().measures()

    assert found["call_s"] == pytest.approx(CALL_S, rel=1e-3)
    assert found["flop_s"] == pytest.approx(FLOP_S, rel=1e-3)
    assert found["activation_byte_s"] == pytest.approx(ACTIVATION_BYTE_S, rel=1e-3)
    assert found["parameter_byte_s"] == pytest.approx(PARAMETER_BYTE_S, rel=1e-3)
    assert found["spread"] == pytest.approx(1.0)


def test_building_scoring_and_feeding_are_told_apart():
    """The first step's own seconds are no building."""
    found = measuring().measures()

    assert found["build_s"] == pytest.approx(BUILD_S, rel=1e-3)
    assert found["build_layer_s"] == pytest.approx(LAYER_S, rel=1e-3)
    assert found["score_s"] == pytest.approx(SCORE_S)
    assert found["pixel_s"] == pytest.approx(PIXEL_S)
    assert found["warp_s"] == pytest.approx(WARP_S)
    assert found["product_flops_per_s"] == 2e11


def test_looking_at_a_backend_feeds_it_and_reads_its_settings():
    """What it runs on is its own word."""
    assert measuring().settings() == {"device": "clockwork", "threads": 2}


def sample(step_s: float, **counts: float) -> Sample:
    """Return a measured step."""
    return Sample(
        layers=1,
        cost=Cost(calls=1, **counts),
        step_s=step_s,
        median_s=step_s,
        build_s=0.0,
        score_s=0.0,
    )


def test_no_rate_is_negative_however_odd_the_times():
    """More operations in less time: the operations come out as free, not as a gift."""
    found = explain([sample(1.0, flops=1e9), sample(0.5, flops=1e12)])

    assert found["flop_s"] >= 0
    assert found["call_s"] == pytest.approx(2 / 3, rel=0.2)
