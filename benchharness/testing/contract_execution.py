"""Clauses of the contract on execution: settings reported and honoured, waiting, and replay.

What a step of ``train`` takes beyond its replay is spent outside the framework's computation: in
Python around a step, in gathering batches too slowly, in reading results back after each step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import ceil, inf
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AfterStep,
    Backend,
    Batches,
    Dense,
    Execution,
    Flatten,
    Optimizer,
    Replayable,
    Setting,
    Task,
    Training,
    UnsupportedError,
)
from benchharness.fairness.settings import deviations, stated
from benchharness.measure.clock import CpuTimer, now_s
from benchharness.measure.machine import usable_cores
from benchharness.measure.sync_check import (
    Stretches,
    UnsynchronizedError,
    require_synchronize,
    stretch_steps,
)
from benchharness.testing.assertions import (
    LOGITS,
    WEIGHTS,
    Clause,
    Subject,
    assert_equal,
    assert_near_in_norm,
    assert_near_largest,
    assert_same_arrays,
)
from benchharness.testing.tasks import (
    ADAM_WITH_DECAY,
    RULES,
    learn,
    make_batches,
    make_fingerprint_spec,
    make_network,
    make_task,
    make_weights,
    movement,
    small_cnn,
)

# By the setting that differs, what is done and what was asked: a rate off by 1 %, say.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        f"optimizer.{name}": ({"optimizer": done}, {"optimizer": ADAM_WITH_DECAY})
        for name, done in {
            "lr": replace(ADAM_WITH_DECAY, lr=0.0202),
            "epsilon": replace(ADAM_WITH_DECAY, epsilon=1e-7),
            "beta_2": replace(ADAM_WITH_DECAY, beta_2=0.99),
            "weight_decay": replace(ADAM_WITH_DECAY, weight_decay=0.0),
        }.items()
    },
    "dropout": ({"network": small_cnn(dropout=0.4)}, {"network": small_cnn(dropout=0.5)}),
    "trainable": ({"trainable": ("logits",)}, {"trainable": ("hidden", "logits")}),
    "precision": ({"precision": "bfloat16"}, {}),
}
# No compiler is faster; tracing alone is done either way.
COMPILING_S = 0.05


class Settings(Clause, name="settings"):
    """Versions and effective settings are reported as they are."""

    def test_versions_are_told(self, subject: Subject) -> None:
        """Every version that decides the results has a name and a value."""
        versions = dict(subject.backend.versions())

        assert versions, "versions: expected at least one, found none"
        assert all(name and isinstance(text, str) and text for name, text in versions.items()), (
            f"versions: expected text by distribution name, found {versions}"
        )

    @pytest.mark.parametrize("kind", ["feed", "extract", "train"])
    def test_settings_of_each_kind_of_work_are_as_stated(self, subject: Subject, kind: str) -> None:
        """Precision, layout and compiler, by the core's names; plain values that JSON keeps."""
        learning = {} if kind == "train" else {"optimizer": None}
        settings, task = _settings(subject, kind, **learning)

        assert settings, f"settings of {kind}: expected some, found none"
        assert_equal(json.loads(json.dumps(settings)), settings, what="settings read from JSON")
        assert_equal(deviations(settings, stated(task)), (), what="deviations")

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1], ids=["no_decay", "decay"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_settings_of_training_are_as_stated(
        self, subject: Subject, rule: Optimizer, weight_decay: float
    ) -> None:
        """The constants of the rule and of no other, dropout, and what is trainable."""
        settings, task = _settings(
            subject,
            network=small_cnn(dropout=0.3),
            optimizer=replace(rule, weight_decay=weight_decay),
            trainable=("conv_valid", "logits"),
        )

        expected = stated(task)
        assert_equal(deviations(settings, expected), (), what="deviations")
        # A momentum beside Adam would be a setting that decides nothing.
        constants = (
            sorted(name for name in names if name.startswith("optimizer."))
            for names in (settings, expected)
        )
        assert_equal(*constants, what="constants")

    @pytest.mark.parametrize("setting", OTHERS)
    def test_another_setting_is_told(self, subject: Subject, setting: str) -> None:
        """It deviates from what is stated, and nothing else does; or it is refused."""
        done, asked = (dict(options) for options in OTHERS[setting])
        if precision := done.pop("precision", None):
            done["execution"] = replace(subject.execution, precision=precision)
        settings, _ = _settings(subject, **done)

        texts = deviations(settings, stated(subject.task(**asked)))
        assert_equal([text.partition(":")[0] for text in texts], [setting], what="deviations")


def _settings(
    subject: Subject, kind: str = "train", **options: Any
) -> tuple[dict[str, Setting], Task]:
    """Return what a backend reports of a kind of work, and the task."""
    task = subject.task(**({"network": make_network()} if kind == "feed" else {}), **options)
    return dict(getattr(subject.backend, kind)(task).settings()), task


# Switches of a framework are often the whole process's, so in these tests one training is over
# and its numbers read before the next is built.
class Switches(Clause, name="switches"):
    """Layout, compiler, threads and precision are honoured or refused."""

    def test_another_layout_changes_no_number(self, subject: Subject) -> None:
        """Channels first is how maps lie in memory: the logits stay, or the layout is refused."""
        logits, expected = _logits(subject, layout="channels_first"), _logits(subject)

        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")

    def test_compiling_changes_no_number(self, subject: Subject) -> None:
        """Compiled, two steps end where they end otherwise, or compiling is refused."""
        # Batches of one size: a compiler takes tens of seconds for each graph.
        batches = make_batches(sizes=(6, 6))
        # The first training of a process may load what later ones find loaded.
        learn(subject.train(), batches)
        plain = subject.train()
        plain_s = _epoch_s(plain, batches)
        is_always = plain.settings().get("compile") is True
        expected = plain.weights()
        compiled = subject.train(execution=replace(subject.execution, compile=True))
        compiled_s = _epoch_s(compiled, batches)

        what = "weights after training"
        assert_near_in_norm(compiled.weights(), expected, tolerance=WEIGHTS, what=what)
        assert is_always or compiled_s > plain_s + COMPILING_S, (
            f"compile: requested, but the first steps took {compiled_s:.2f} s, not longer than "
            f"the {plain_s:.2f} s without: nothing was compiled"
        )

    def test_threads_share_a_long_step(self, subject: Subject) -> None:
        """Of two threads that were asked for, each does a fair part of a large product."""
        if subject.execution.device != "cpu" or usable_cores() < 2:
            pytest.skip("threads: only seen where a CPU computes, on two cores or more")
        layers = [Dense(name=name, units=1024) for name in ("hidden", "logits")]
        network = make_network(Flatten(name="flatten"), *layers, input_shape=(16, 16, 3))
        batches = make_batches(sizes=(256,) * 2, shape=(16, 16, 3), classes=1024)
        training = subject.train(network, execution=replace(subject.execution, threads=2))
        learn(training, batches)
        # While one thread waits for a core, another may spin for it.
        for _ in range(_ATTEMPTS):
            processor = CpuTimer()
            # Threads are counted in hundredths of a second.
            while max(processor.threads.values(), default=0.0) < 0.3:
                processor.start()
                learn(training, batches)
                training.synchronize()
                processor.stop()
            if processor.sharing > 1:
                return
        pytest.fail("threads: 2 requested, but 1 did all the work", pytrace=False)

    def test_bfloat16_is_honoured_or_refused(self, subject: Subject) -> None:
        """It rounds logits to 8 bits, and keeps weights that it could not hold in float32."""
        mixed = subject.train(execution=replace(subject.execution, precision="bfloat16"))
        weights, logits = mixed.weights(), mixed.logits(make_batches()[0])
        expected = _logits(subject)

        assert_same_arrays(weights, make_weights(small_cnn()), what="weights in bfloat16")
        assert_near_largest(logits, expected, tolerance=0.05, what="logits in bfloat16")
        rounding = float(np.abs(logits - expected).max() / np.abs(expected).max())
        assert rounding > 1e-4, "precision: bfloat16 requested, but float32 computed"


def _epoch_s(training: Training, batches: Batches) -> float:
    """Return processor seconds, those of compilers that it starts included: waiting is no work."""
    began_s = sum(os.times()[:4])
    learn(training, batches)
    training.synchronize()
    return sum(os.times()[:4]) - began_s


def _logits(subject: Subject, **switches: Any) -> NDArray[np.float32]:
    execution = replace(subject.execution, **switches)
    return subject.train(execution=execution).logits(make_batches()[0])


# Images that take a device longer than handing them over does; where a step is shorter than half
# a step can be told from noise, the batch is larger, up to so many times.
SHAPE, SIZE = (32, 32, 3), 16
_STEP_S, _TIMES_LARGER = 0.008, 128
# As many steps as are recorded at most: reading back waits for a step only where it is.
_MOST_RECORDED = 64


class Synchronization(Clause, name="synchronize"):
    """Synchronize waits until the device has finished."""

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_synchronize_waits_for_the_device(self, subject: Subject, kind: str) -> None:
        """After it, results of the last step are read back without waiting for any more."""
        shortest_s = min(map(_step_s, _ways(subject, kind, size=SIZE)))
        larger = max(1, min(_TIMES_LARGER, ceil(_STEP_S / shortest_s)))
        for way in _ways(subject, kind, size=SIZE * larger):
            step_s = _step_s(way)
            steps = min(_MOST_RECORDED, stretch_steps(step_s))
            try:
                require_synchronize(way, steps=steps, step_s=step_s)
            except UnsynchronizedError as error:
                pytest.fail(f"synchronize: {error}", pytrace=False)


def _ways(subject: Subject, kind: str, *, size: int) -> Iterator[Stretches]:
    """Yield every way in which a backend takes steps of a kind of work."""
    (batch,) = make_batches(sizes=(size,), shape=SHAPE)
    network = make_network(*(() if kind == "feed" else small_cnn().layers), input_shape=SHAPE)
    task = subject.task(
        network, fingerprint_spec=make_fingerprint_spec(shape=SHAPE, steps=range(_MOST_RECORDED))
    )
    if kind == "feed":
        feeding = subject.backend.feed(replace(task, optimizer=None))
        yield Stretches(
            work=lambda steps, after_step: feeding.feed([batch] * steps, after_step=after_step),
            synchronize=feeding.synchronize,
            read_back=feeding.consumed,
        )
        return
    training = subject.backend.train(task)
    stretches = partial(
        Stretches,
        synchronize=training.synchronize,
        read_back=lambda: training.evaluate([batch]),
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
        began_s = now_s()
        way.run(few)
        times_s.append((now_s() - began_s) / few)
    return min(times_s)


REPLAYED_RULES = {name: RULES[name] for name in ("momentum", "adam")}
REPLAYS = 4
# A step of training may cost so much more than its replay, whichever is more.
ADDED_S, ADDED_SHARE = 1e-3, 0.1
# Before the clause is broken.
_ATTEMPTS = 24


class Replay(Clause, name="replay"):
    """A replayed step is the step of training, and training adds little to it."""

    @pytest.mark.parametrize("is_augmented", [False, True], ids=["plain", "augmented"])
    @pytest.mark.parametrize("rule", REPLAYED_RULES.values(), ids=REPLAYED_RULES)
    def test_replayed_steps_are_those_of_training(
        self, subject: Subject, rule: Optimizer, is_augmented: bool
    ) -> None:
        """After an epoch, so many calls move the weights as so many equal batches do."""
        task = subject.task(optimizer=rule, is_augmented=is_augmented)
        batches = make_batches(is_augmented=is_augmented)
        trained = _replayable(subject.backend, task)
        learn(trained, batches)
        learn(trained, [batches[1]] * REPLAYS)
        replayed = _replayable(subject.backend, task)
        learn(replayed, batches)
        step = replayed.replay(batches[1])
        for _ in range(REPLAYS):
            step()
        replayed.synchronize()

        moved, expected = movement(replayed, task), movement(trained, task)
        assert_near_in_norm(moved, expected, tolerance=WEIGHTS, what="movement by replay")

    def test_a_replay_records_nothing(self, subject: Subject) -> None:
        """The record stays that of the last epoch."""
        task = subject.task(fingerprint_spec=make_fingerprint_spec(images=4, steps=(0, 2)))
        training, batches = _replayable(subject.backend, task), make_batches()
        learn(training, batches)
        before = training.consumed()
        step = training.replay(batches[1])
        for _ in range(REPLAYS):
            step()

        after = training.consumed()
        for part in ("labels", "fingerprints"):
            now, then = getattr(after, part).tolist(), getattr(before, part).tolist()
            assert_equal(now, then, what=f"{part} recorded")

    def test_training_adds_little_to_its_replay(self, subject: Subject) -> None:
        """On gathered batches, a step takes at most a millisecond or a tenth longer than replay."""
        timer = ReplayTimer(subject.backend, subject.execution)
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


class ReplayTimer:
    """Timer of steps, trained and replayed in turns, the device finished at both edges."""

    def __init__(self, backend: Backend, execution: Execution) -> None:
        shape = (16, 16, 3)
        task = make_task(
            replace(small_cnn(), input_shape=shape),
            is_augmented=True,
            execution=execution,
            # The first step of a call is recorded, before the first edge.
            fingerprint_spec=make_fingerprint_spec(shape=shape, steps=(0,)),
        )
        (self._batch,) = make_batches(sizes=(16,), shape=shape, is_augmented=True)
        self._training = _replayable(backend, task)
        self._replay = self._training.replay(self._batch)
        # As many steps of either: a wait for a core weighs the same in both.
        self._steps = _FEWEST
        self._fastest_s = (inf, inf)
        # The first may compile something.
        self._train_s()
        self._replay_s()
        step_s = max(self._train_s(), self._replay_s(), 1e-9)
        self._steps = max(_FEWEST, min(_MOST, round(_STRETCH_S / step_s)))

    def compare(self) -> tuple[float, float]:
        """Return the seconds of a step of training and of a replayed one, after some more turns.

        They are the fastest so far: a busy machine only ever adds time.
        """
        for _ in range(_TURNS):
            step_s, replay_s = self._fastest_s
            self._fastest_s = min(step_s, self._train_s()), min(replay_s, self._replay_s())
        return self._fastest_s

    def _train_s(self) -> float:
        """Return the seconds of a step inside one call of ``train``."""
        done, edges_s = 0, []

        def after_step() -> None:
            nonlocal done
            done += 1
            if done in (_LEAD, _LEAD + self._steps):
                self._training.synchronize()
                edges_s.append(now_s())

        # One step more, so that leaving the loop is beyond the last edge.
        batches = [self._batch] * (_LEAD + self._steps + 1)
        self._training.train([batches], after_step=after_step, after_epoch=lambda scores: None)
        first_s, last_s = edges_s
        return (last_s - first_s) / self._steps

    def _replay_s(self) -> float:
        """Return the seconds of a replayed step."""
        self._replay()
        self._training.synchronize()
        began_s = now_s()
        for _ in range(self._steps):
            self._replay()
        self._training.synchronize()
        return (now_s() - began_s) / self._steps
