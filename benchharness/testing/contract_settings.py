"""Clauses of the contract on settings: reported as they are, and honoured or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    Backend,
    Batches,
    Dense,
    Execution,
    Flatten,
    Optimizer,
    Setting,
    Task,
    Training,
    Work,
)
from benchharness.fairness.settings import deviations, stated
from benchharness.measure.clock import CpuTimer, now_s
from benchharness.measure.machine import usable_cores
from benchharness.testing.assertions import (
    LOGITS,
    WEIGHTS,
    Clause,
    assert_equal,
    assert_near_in_norm,
    assert_near_largest,
    assert_same_arrays,
)
from benchharness.testing.contract_numbers import ADAM_WITH_DECAY, RULES
from benchharness.testing.tasks import (
    learn,
    make_batches,
    make_network,
    make_task,
    make_weights,
    small_cnn,
)

OTHER_CONSTANTS = {"lr": 0.0202, "epsilon": 1e-7, "beta_2": 0.99, "weight_decay": 0.0}
# No compiler is faster; tracing alone is done either way.
COMPILING_S = 0.05


class Settings(Clause):
    """Versions and effective settings are reported as they are."""

    clause = "settings"

    def test_versions_are_told(self, backend: Backend) -> None:
        """Every version that decides the results has a name and a value."""
        versions = dict(backend.versions())

        assert versions, "versions: expected at least one, found none"
        assert all(name and isinstance(text, str) and text for name, text in versions.items()), (
            f"versions: expected text by distribution name, found {versions}"
        )

    @pytest.mark.parametrize("kind", ["feed", "extract", "train"])
    def test_settings_can_be_recorded(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """The settings of every kind of work are plain values that JSON gives back unchanged."""
        network = make_network() if kind == "feed" else small_cnn()

        settings = dict(_settings(backend, kind, make_task(network, execution=execution)))

        assert settings, f"settings of {kind}: expected some, found none"
        assert_equal(json.loads(json.dumps(settings)), settings, what="settings read from JSON")

    @pytest.mark.parametrize("kind", ["feed", "extract"])
    def test_settings_of_work_without_learning_are_as_stated(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """Precision, layout and compiler, each by the core's name for it."""
        network = make_network() if kind == "feed" else small_cnn()
        task = make_task(network, optimizer=None, execution=execution)

        settings = _settings(backend, kind, task)

        assert_equal(deviations(settings, stated(task)), (), what="deviations")

    @pytest.mark.parametrize("weight_decay", [0.0, 0.1], ids=["no_decay", "decay"])
    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_settings_of_training_are_as_stated(
        self, backend: Backend, execution: Execution, rule: Optimizer, weight_decay: float
    ) -> None:
        """The rule and its constants, dropout, and what is trainable, of a network that learns."""
        task = make_task(
            small_cnn(dropout=0.3),
            optimizer=replace(rule, weight_decay=weight_decay),
            trainable=("conv_valid", "logits"),
            execution=execution,
        )

        settings = _settings(backend, "train", task)

        assert_equal(deviations(settings, stated(task)), (), what="deviations")

    @pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
    def test_constants_that_a_rule_lacks_are_not_told(
        self, backend: Backend, execution: Execution, rule: Optimizer
    ) -> None:
        """A momentum beside Adam would be a setting that decides nothing."""
        task = make_task(small_cnn(), optimizer=rule, execution=execution)

        reported, expected = (
            sorted(name for name in settings if name.startswith("optimizer."))
            for settings in (_settings(backend, "train", task), stated(task))
        )

        assert_equal(reported, expected, what="constants")

    @pytest.mark.parametrize("name", OTHER_CONSTANTS)
    def test_another_constant_is_told(
        self, backend: Backend, execution: Execution, name: str
    ) -> None:
        """A learning rate off by 1 %, say, deviates from what is stated, and nothing else does."""
        task = make_task(small_cnn(), optimizer=ADAM_WITH_DECAY, execution=execution)
        rule = replace(ADAM_WITH_DECAY, **{name: OTHER_CONSTANTS[name]})  # type: ignore[arg-type]

        _assert_deviates(backend, replace(task, optimizer=rule), task, setting=f"optimizer.{name}")

    def test_another_dropout_is_told(self, backend: Backend, execution: Execution) -> None:
        """The rates are those of the layers that are built."""
        tasks = [make_task(small_cnn(dropout=rate), execution=execution) for rate in (0.4, 0.5)]

        _assert_deviates(backend, *tasks, setting="dropout")

    def test_another_frozen_layer_is_told(self, backend: Backend, execution: Execution) -> None:
        """The trainable layers are those that are built to learn."""
        trainable = (("logits",), ("hidden", "logits"))
        tasks = [make_task(small_cnn(), trainable=t, execution=execution) for t in trainable]

        _assert_deviates(backend, *tasks, setting="trainable")

    def test_bfloat16_is_told_or_refused(self, backend: Backend, execution: Execution) -> None:
        """Mixed precision is another precision than the float32 stated."""
        task = make_task(small_cnn(), execution=execution)
        other = replace(task, execution=replace(execution, precision="bfloat16"))

        _assert_deviates(backend, other, task, setting="precision")


# Switches of a framework are often the whole process's, so in these tests one training is over
# and its numbers read before the next is built.
class Switches(Clause):
    """Layout, compiler, threads and precision are honoured or refused."""

    clause = "switches"

    def test_another_layout_changes_no_number(self, backend: Backend, execution: Execution) -> None:
        """Channels first is how maps lie in memory: the logits stay, or the layout is refused."""
        logits = _logits(_train(backend, replace(execution, layout="channels_first")))

        expected = _logits(_train(backend, execution))
        assert_near_largest(logits, expected, tolerance=LOGITS, what="logits")

    def test_compiling_changes_no_number(self, backend: Backend, execution: Execution) -> None:
        """Compiled, two steps end where they end otherwise, or compiling is refused."""
        # Batches of one size: a compiler takes tens of seconds for each graph.
        batches = make_batches(sizes=(6, 6))
        # The first training of a process may load what later ones find loaded.
        learn(_train(backend, execution), batches)
        plain = _train(backend, execution)
        plain_s = _epoch_s(plain, batches)
        is_always = plain.settings().get("compile") is True
        expected = plain.weights()

        compiled = _train(backend, replace(execution, compile=True))
        compiled_s = _epoch_s(compiled, batches)

        what = "weights after training"
        assert_near_in_norm(compiled.weights(), expected, tolerance=WEIGHTS, what=what)
        assert is_always or compiled_s > plain_s + COMPILING_S, (
            f"compile: requested, but the first steps took {compiled_s:.2f} s, not longer than "
            f"the {plain_s:.2f} s without: nothing was compiled"
        )

    def test_threads_share_a_long_step(self, backend: Backend, execution: Execution) -> None:
        """Of two threads that were asked for, each does a fair part of a large product."""
        if execution.device != "cpu" or usable_cores() < 2:
            pytest.skip("threads: only seen where a CPU computes, on two cores or more")
        layers = [Dense(name=name, units=1024) for name in ("hidden", "logits")]
        network = make_network(Flatten(name="flatten"), *layers, input_shape=(16, 16, 3))
        batches = make_batches(sizes=(256,) * 2, shape=(16, 16, 3), classes=1024)
        training = backend.train(make_task(network, execution=replace(execution, threads=2)))
        learn(training, batches)
        processor = CpuTimer()

        # Threads are counted in hundredths of a second.
        while max(processor.threads.values(), default=0.0) < 0.3:
            processor.start()
            learn(training, batches)
            training.synchronize()
            processor.stop()

        assert processor.sharing > 1, "threads: 2 requested, but 1 did all the work"

    def test_bfloat16_is_honoured_or_refused(self, backend: Backend, execution: Execution) -> None:
        """Mixed precision rounds to 8 bits, near float32's logits and not equal to them."""
        logits = _logits(_train(backend, replace(execution, precision="bfloat16")))

        expected = _logits(_train(backend, execution))
        assert_near_largest(logits, expected, tolerance=0.05, what="logits in bfloat16")
        rounding = float(np.abs(logits - expected).max() / np.abs(expected).max())
        assert rounding > 1e-4, "precision: bfloat16 requested, but float32 computed"

    def test_bfloat16_keeps_weights_in_float32(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Mixed precision stores weights that bfloat16 could not hold, and hands them out."""
        training = _train(backend, replace(execution, precision="bfloat16"))

        weights = training.weights()

        assert_same_arrays(weights, make_weights(small_cnn()), what="weights in bfloat16")


def _settings(backend: Backend, kind: str, task: Task) -> Mapping[str, Setting]:
    work: Work = getattr(backend, kind)(task)
    return work.settings()


def _assert_deviates(backend: Backend, done: Task, asked: Task, *, setting: str) -> None:
    """Fail unless work on one task deviates from the other in the named setting alone."""
    texts = deviations(_settings(backend, "train", done), stated(asked))
    assert_equal([text.partition(":")[0] for text in texts], [setting], what="deviations")


def _train(backend: Backend, execution: Execution) -> Training:
    return backend.train(make_task(small_cnn(), execution=execution))


def _epoch_s(training: Training, batches: Batches) -> float:
    began_s = now_s()
    learn(training, batches)
    training.synchronize()
    return now_s() - began_s


def _logits(training: Training) -> NDArray[np.float32]:
    return training.logits(make_batches()[0])
