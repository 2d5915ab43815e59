"""The contract's part on effective settings: told in the core's words, and as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from benchharness.api import (
    Backend,
    Batches,
    Execution,
    Optimizer,
    Setting,
    Task,
    Training,
    UnsupportedError,
    Work,
)
from benchharness.fairness.settings import deviations, stated
from benchharness.testing.compare import assert_equal, assert_same_arrays
from benchharness.testing.contract_numbers import RULES
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import (
    learn,
    make_batches,
    make_network,
    make_task,
    small_cnn,
)

RULE = Optimizer(name="adam", lr=0.02, epsilon=1e-5, weight_decay=0.1)
OTHERS = {
    "lr": replace(RULE, lr=0.0202),
    "epsilon": replace(RULE, epsilon=1e-7),
    "beta_2": replace(RULE, beta_2=0.99),
    "weight_decay": replace(RULE, weight_decay=0.0),
}


class MessagesContract(Contract):
    """What the core states is reported as stated, and another setting as another."""

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

        settings = _settings(backend, "train", task)

        told = sorted(name for name in settings if name.startswith("optimizer."))
        wanted = sorted(name for name in stated(task) if name.startswith("optimizer."))
        assert_equal(told, wanted, what="constants")

    @pytest.mark.parametrize("name", OTHERS)
    def test_another_constant_is_told(
        self, backend: Backend, execution: Execution, name: str
    ) -> None:
        """A learning rate off by 1 %, say, deviates from what is stated, and nothing else does."""
        task = make_task(small_cnn(), optimizer=RULE, execution=execution)
        other = replace(task, optimizer=OTHERS[name])

        _assert_deviates(backend, other, task, setting=f"optimizer.{name}")

    def test_another_dropout_is_told(self, backend: Backend, execution: Execution) -> None:
        """The rates are those of the layers that are built."""
        tasks = [make_task(small_cnn(dropout=rate), execution=execution) for rate in (0.4, 0.5)]

        _assert_deviates(backend, *tasks, setting="dropout")

    def test_another_frozen_layer_is_told(self, backend: Backend, execution: Execution) -> None:
        """The trainable layers are those that are built to learn."""
        fronts = (("logits",), ("hidden", "logits"))
        tasks = [make_task(small_cnn(), trainable=f, execution=execution) for f in fronts]

        _assert_deviates(backend, *tasks, setting="trainable")

    def test_bfloat16_is_told_or_refused(self, backend: Backend, execution: Execution) -> None:
        """Mixed precision is another precision than the float32 stated."""
        task = make_task(small_cnn(), execution=execution)
        other = replace(task, execution=replace(execution, precision="bfloat16"))

        try:
            _assert_deviates(backend, other, task, setting="precision")
        except UnsupportedError as refusal:
            pytest.skip(f"refused, as the contract allows: {refusal}")

    def test_deterministic_trainings_repeat_every_bit(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Asked for determinism, two trainings, dropout and all, end at the same bits, or refuse.

        Two threads, because one adds in one order only.
        """
        how = replace(execution, is_deterministic=True, threads=2)
        task = make_task(small_cnn(dropout=0.5), optimizer=RULE, is_augmented=True, execution=how)
        epochs = [make_batches(sizes=(6, 6, 2), is_augmented=True, seed=seed) for seed in (1, 2)]

        try:
            first, again = (_trained(backend, task, epochs) for _ in range(2))
        except UnsupportedError as refusal:
            pytest.skip(f"refused, as the contract allows: {refusal}")

        told = [training.settings().get("deterministic") for training in (first, again)]
        assert_equal(told, [True, True], what="deterministic")
        what = "weights of the second training"
        assert_same_arrays(again.weights(), first.weights(), what=what)


def _settings(backend: Backend, kind: str, task: Task) -> Mapping[str, Setting]:
    work: Work = getattr(backend, kind)(task)
    return work.settings()


def _trained(backend: Backend, task: Task, epochs: Sequence[Batches]) -> Training:
    training = backend.train(task)
    learn(training, *epochs)
    return training


def _assert_deviates(backend: Backend, done: Task, asked: Task, *, setting: str) -> None:
    """Fail unless work on one task deviates from the other in the named setting alone."""
    found = deviations(_settings(backend, "train", done), stated(asked))
    assert_equal([text.partition(":")[0] for text in found], [setting], what="deviations")
