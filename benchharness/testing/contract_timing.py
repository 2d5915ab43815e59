"""Clauses of the contract on time: waiting for the device, and what a step adds to its replay.

What a step of ``train`` takes beyond its replay is spent outside the framework's computation: in
Python around a step, in gathering batches too slowly, in reading results back after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf
from typing import Protocol

import pytest

from benchharness.api import (
    AfterStep,
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
from benchharness.measure.sync_check import (
    Stretches,
    UnsynchronizedError,
    require_synchronize,
    stretch_steps,
)
from benchharness.testing.assertions import WEIGHTS, Clause, assert_equal, assert_near_in_norm
from benchharness.testing.contract_numbers import RULES
from benchharness.testing.tasks import (
    learn,
    make_batches,
    make_network,
    make_task,
    make_witness,
    movement,
    small_cnn,
)

# Images that take a device longer than handing them over does; where a step is shorter than half
# a step can be told from noise, the batch is larger, up to so many times.
SHAPE, SIZE = (32, 32, 3), 16
_STEP_S, _TIMES_LARGER = 0.008, 128
# As many steps as are recorded at most: reading back waits for a step only where it is.
_MOST_RECORDED = 64


class Synchronization(Clause):
    """Synchronize waits until the device has finished."""

    clause = "synchronize"

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_synchronize_waits_for_the_device(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """After it, results of the last step are read back without waiting for any more."""
        task = make_task(
            make_network(*(() if kind == "feed" else small_cnn().layers), input_shape=SHAPE),
            execution=execution,
            witness=make_witness(shape=SHAPE, steps=range(_MOST_RECORDED)),
        )
        shortest_s = min(map(_step_s, _ways(backend, task, kind, size=SIZE)))
        larger = max(1, min(_TIMES_LARGER, ceil(_STEP_S / shortest_s)))
        for way in _ways(backend, task, kind, size=SIZE * larger):
            step_s = _step_s(way)
            steps = min(_MOST_RECORDED, stretch_steps(step_s))
            try:
                require_synchronize(way, steps=steps, step_s=step_s)
            except UnsynchronizedError as error:
                pytest.fail(f"synchronize: {error}", pytrace=False)


def _ways(backend: Backend, task: Task, kind: str, *, size: int) -> Iterator[Stretches]:
    """Yield every way in which a backend takes steps of a kind of work."""
    (batch,) = make_batches(sizes=(size,), shape=SHAPE)
    if kind == "feed":
        feeding = backend.feed(replace(task, optimizer=None))
        yield Stretches(
            work=lambda steps, after_step: feeding.feed([batch] * steps, after_step=after_step),
            synchronize=feeding.synchronize,
            read_back=feeding.consumed,
            now=now_s,
        )
        return
    training = backend.train(task)
    stretches = partial(
        Stretches,
        synchronize=training.synchronize,
        read_back=lambda: training.evaluate([batch]),
        now=now_s,
    )

    def train(steps: int, after_step: AfterStep) -> None:
        training.train([[batch] * steps], after_step=after_step, after_epoch=lambda scores: None)

    yield stretches(work=train)
    if isinstance(training, Replayable):
        step = training.replay(batch)

        def replay(steps: int, after_step: AfterStep) -> None:
            for _ in range(steps):
                step()
                after_step()

        yield stretches(work=replay)


def _step_s(way: Stretches) -> float:
    """Return about how long a step takes, whoever waits for it."""
    few, times_s = 4, []
    # The first steps may compile something; of the others the fastest, since noise only adds.
    way.run(few)
    for _ in range(3):
        began_s = way.now()
        way.run(few)
        times_s.append((way.now() - began_s) / few)
    return min(times_s)


REPLAYED_RULES = {name: RULES[name] for name in ("momentum", "adam")}
REPLAYS = 4
# A step of training may cost so much more than its replay, whichever is more.
ADDED_S, ADDED_SHARE = 1e-3, 0.1
# Before the clause is broken.
_ATTEMPTS = 8


class Replay(Clause):
    """A replayed step is the step of training, and training adds little to it."""

    clause = "replay"

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    @pytest.mark.parametrize("rule", REPLAYED_RULES.values(), ids=REPLAYED_RULES)
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
        learn(trained, [batch] * REPLAYS)
        replayed = _replayable(backend, task)
        learn(replayed, batches)

        step = replayed.replay(batch)
        for _ in range(REPLAYS):
            step()
        replayed.synchronize()

        found, expected = movement(replayed, task), movement(trained, task)
        assert_near_in_norm(found, expected, tolerance=WEIGHTS, what="movement by replay")

    def test_a_replay_records_nothing(self, backend: Backend, execution: Execution) -> None:
        """The record stays that of the last epoch."""
        witness = make_witness(images=4, steps=(0, 2))
        task = make_task(small_cnn(), execution=execution, witness=witness)
        training, batches = _replayable(backend, task), make_batches()
        learn(training, batches)
        before = training.consumed()

        step = training.replay(batches[1])
        for _ in range(REPLAYS):
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
        timer = replay_timer(backend, execution)
        for _ in range(_ATTEMPTS):
            step_s, replay_s = timer.compare()
            allowed_s = max(ADDED_S, ADDED_SHARE * replay_s)
            if step_s - replay_s <= allowed_s:
                return
        pytest.fail(
            f"train: expected at most {1e3 * allowed_s:.1f} ms a step beyond its replay of "
            f"{1e3 * replay_s:.2f} ms, found {1e3 * step_s:.2f} ms a step: what is around the "
            "computation is slow",
            pytrace=False,
        )


class ReplayableTraining(Training, Replayable, Protocol):
    """A training that can be replayed."""


def _replayable(backend: Backend, task: Task) -> ReplayableTraining:
    training = backend.train(task)
    if not isinstance(training, Replayable):
        raise UnsupportedError(
            "replay: this training has none, so what a step spends outside the framework's "
            "computation stays unknown"
        )
    return training


# Steps between two edges: as many as take about so long, and between so many.
_STRETCH_S, _FEWEST, _MOST = 0.01, 3, 32
# Steps of a call before the first edge: by then a framework has entered its loop and its queues.
_LEAD = 3
_TURNS = 12


@dataclass(slots=True, kw_only=True)
class ReplayTimer:
    """Timer of steps, trained and replayed in turns, the device finished at both edges.

    Attributes:
        train_steps: Between two edges of training.
        replay_steps: Likewise, of replay.
        fastest_s: Seconds of a step of training and of a replayed step.
    """

    training: Training
    batch: Batch
    replay: Callable[[], None]
    train_steps: int = _FEWEST
    replay_steps: int = _FEWEST
    fastest_s: tuple[float, float] = (inf, inf)

    def compare(self) -> tuple[float, float]:
        """Return the fastest so far, after some more turns; a busy machine only ever adds time."""
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
            if done in (_LEAD, _LEAD + self.train_steps):
                self.training.synchronize()
                edges_s.append(now_s())

        # One step more, so that leaving the loop is beyond the last edge.
        batches = [self.batch] * (_LEAD + self.train_steps + 1)
        self.training.train([batches], after_step=after_step, after_epoch=lambda scores: None)
        first_s, last_s = edges_s
        return (last_s - first_s) / self.train_steps

    def replay_s(self) -> float:
        """Return the seconds of a replayed step."""
        self.replay()
        self.training.synchronize()
        began_s = now_s()
        for _ in range(self.replay_steps):
            self.replay()
        self.training.synchronize()
        return (now_s() - began_s) / self.replay_steps


def replay_timer(backend: Backend, execution: Execution) -> ReplayTimer:
    """Return a timer of a small network, compiled, with stretches of a sensible length."""
    shape = (16, 16, 3)
    # The first step of a call is recorded, before the first edge.
    witness = make_witness(shape=shape, steps=(0,))
    network = replace(small_cnn(), input_shape=shape)
    task = make_task(network, is_augmented=True, execution=execution, witness=witness)
    training = _replayable(backend, task)
    batch = make_batches(sizes=(16,), shape=shape, is_augmented=True)[0]
    timer = ReplayTimer(training=training, batch=batch, replay=training.replay(batch))
    # The first may compile something.
    timer.train_s()
    timer.replay_s()
    timer.train_steps, timer.replay_steps = (
        max(_FEWEST, min(_MOST, round(_STRETCH_S / max(step_s, 1e-9))))
        for step_s in (timer.train_s(), timer.replay_s())
    )
    return timer
