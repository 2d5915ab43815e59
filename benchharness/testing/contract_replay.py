"""Contract's part on replay: the same step again, and nothing slow around it.

What a step of ``train`` takes beyond its replay is spent outside the framework's computation: in
Python around a step, in gathering batches too slowly, in reading results back after each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    Backend,
    Batch,
    Execution,
    Optimizer,
    Replayable,
    Task,
    Training,
    UnsupportedError,
)
from benchharness.measure.clock import now_s
from benchharness.testing.compare import WEIGHTS, assert_equal, assert_near_in_norm
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import learn, make_batches, make_task, make_witness, small_cnn

RULES = {
    "momentum": Optimizer(name="sgd", lr=0.1, momentum=0.8),
    "adam": Optimizer(name="adam", lr=0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
}
STEPS = 4
SHAPE, SIZE = (16, 16, 3), 16
# A step of training may cost so much more than its replay, whichever is more.
ADDED_S, ADDED_SHARE = 1e-3, 0.1
# Steps between two edges: as many as take about so long, and between so many.
_STRETCH_S, _FEWEST, _MOST = 0.01, 3, 32
# Steps of a call before the first edge: by then a framework has entered its loop and its queues.
_LEAD = 3
_TURNS = 12
# Before a refusal.
_ATTEMPTS = 8


class ReplayContract(Contract):
    """A training that can be replayed repeats its own step."""

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_replayed_steps_are_those_of_training(
        self, backend: Backend, execution: Execution, rule: Optimizer, is_augmented: bool
    ) -> None:
        """After an epoch, so many calls move the weights as so many equal batches do."""
        task = make_task(
            small_cnn(), optimizer=rule, is_augmented=is_augmented, execution=execution
        )
        batches = make_batches(is_augmented=is_augmented)
        batch = batches[1]
        trained = _replayable(backend, task)
        learn(trained, batches)
        learn(trained, [batch] * STEPS)
        replayed = _replayable(backend, task)
        learn(replayed, batches)

        step = replayed.replay(batch)
        for _ in range(STEPS):
            step()
        replayed.synchronize()

        found, expected = _movement(replayed, task), _movement(trained, task)
        assert_near_in_norm(found, expected, tolerance=WEIGHTS, what="movement by replay")

    def test_a_replay_records_nothing(self, backend: Backend, execution: Execution) -> None:
        """The record stays that of the last epoch."""
        witness = make_witness(images=4, steps=(0, 2))
        training = _replayable(
            backend, make_task(small_cnn(), execution=execution, witness=witness)
        )
        batches = make_batches()
        learn(training, batches)
        before = training.consumed()

        step = training.replay(batches[1])
        for _ in range(STEPS):
            step()

        after = training.consumed()
        assert_equal(after.labels.tolist(), before.labels.tolist(), what="labels recorded")
        assert_equal(
            after.fingerprints.tolist(), before.fingerprints.tolist(), what="fingerprints recorded"
        )

    def test_training_adds_little_to_its_replay(
        self, backend: Backend, execution: Execution
    ) -> None:
        """On gathered batches, a step takes at most a millisecond or a tenth longer than replay."""
        stretches = _stretches(backend, execution)
        for _ in range(_ATTEMPTS):
            step_s, replay_s = stretches.compare()
            if step_s - replay_s <= max(ADDED_S, ADDED_SHARE * replay_s):
                return
        pytest.fail(
            f"train: expected at most {1e3 * max(ADDED_S, ADDED_SHARE * replay_s):.1f} ms a step "
            f"beyond its replay of {1e3 * replay_s:.2f} ms, found {1e3 * step_s:.2f} ms a step: "
            "what is around the computation is slow",
            pytrace=False,
        )


class _Training(Training, Replayable, Protocol):
    """A training that can be replayed."""


def _replayable(backend: Backend, task: Task) -> _Training:
    training = backend.train(task)
    if not isinstance(training, Replayable):
        raise UnsupportedError(
            "replay: this training has none, so what a step spends outside the framework's "
            "computation stays unknown"
        )
    return training


def _movement(training: Training, task: Task) -> dict[str, NDArray[np.float32]]:
    return {name: array - task.weights[name] for name, array in training.weights().items()}


@dataclass(slots=True, kw_only=True)
class _Stretches:
    """Stretches of steps, trained and replayed in turns, the device finished at both edges."""

    training: Training
    batch: Batch
    replay: Callable[[], None]
    steps: int = _FEWEST
    fastest_s: tuple[float, float] = (inf, inf)

    def compare(self) -> tuple[float, float]:
        """Return the seconds of a step of training and of a replayed step, the fastest so far.

        A busy machine only ever adds time.
        """
        for _ in range(_TURNS):
            step_s, replay_s = self.fastest_s
            self.fastest_s = min(step_s, self.train_s()), min(replay_s, self.replay_s())
        return self.fastest_s

    def train_s(self) -> float:
        """Return the seconds of a step inside one call of ``train``."""
        done, edges_s = 0, []

        def after_step() -> None:
            nonlocal done
            done += 1
            if done in (_LEAD, _LEAD + self.steps):
                self.training.synchronize()
                edges_s.append(now_s())

        # One step more, so that leaving the loop is beyond the last edge.
        batches = [self.batch] * (_LEAD + self.steps + 1)
        self.training.train([batches], after_step=after_step, after_epoch=lambda scores: None)
        first_s, last_s = edges_s
        return (last_s - first_s) / self.steps

    def replay_s(self) -> float:
        """Return the seconds of a replayed step."""
        self.replay()
        self.training.synchronize()
        began_s = now_s()
        for _ in range(self.steps):
            self.replay()
        self.training.synchronize()
        return (now_s() - began_s) / self.steps


def _stretches(backend: Backend, execution: Execution) -> _Stretches:
    """Return stretches of a small network, compiled, and of a sensible length."""
    # The first step of a call is recorded, before the first edge.
    witness = make_witness(shape=SHAPE, steps=(0,))
    network = replace(small_cnn(), input_shape=SHAPE)
    task = make_task(network, is_augmented=True, execution=execution, witness=witness)
    training = _replayable(backend, task)
    batch = make_batches(sizes=(SIZE,), shape=SHAPE, is_augmented=True)[0]
    stretches = _Stretches(training=training, batch=batch, replay=training.replay(batch))
    # The first may compile something.
    stretches.train_s()
    stretches.replay_s()
    step_s = max(stretches.replay_s(), 1e-9)
    stretches.steps = max(_FEWEST, min(_MOST, round(_STRETCH_S / step_s)))
    return stretches
