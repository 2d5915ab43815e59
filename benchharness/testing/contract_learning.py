"""The contract's part on weights: what they are called, which move, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from benchharness.api import Backend, Execution, Optimizer
from benchharness.model.task import OptimizerName
from benchharness.testing.compare import (
    LOGITS,
    REPEATED_LOSS,
    assert_equal,
    assert_loss,
    assert_near_largest,
    assert_other_loss,
    assert_same_arrays,
)
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import learn, make_batches, make_task, make_weights, small_cnn

FRONTS = {
    "head": ("hidden", "logits"),
    "last": ("logits",),
    "front": ("conv_same",),
    "middle": ("conv_valid", "hidden"),
}


class LearningContract(Contract):
    """Weights have the network's names and shapes, and only what is trainable moves."""

    def test_weights_are_those_of_the_network(self, backend: Backend, execution: Execution) -> None:
        """Names, shapes and dtypes are canonical, and no learnt array is missing or added."""
        network = small_cnn()

        weights = backend.train(make_task(network, execution=execution)).weights()

        shapes = {name: parameter.shape for name, parameter in network.parameters().items()}
        found = {name: array.shape for name, array in weights.items()}
        assert_equal(found, shapes, what="weights")
        assert_equal({str(array.dtype) for array in weights.values()}, {"float32"}, what="dtype")

    def test_training_starts_from_the_given_weights(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Before the first step the weights are the task's, bit for bit."""
        task = make_task(small_cnn(), execution=execution)

        training = backend.train(task)

        assert_same_arrays(training.weights(), task.weights, what="initial weights")

    def test_weights_survive_a_round_trip(self, backend: Backend, execution: Execution) -> None:
        """What is loaded is what is read back, bit for bit."""
        other = make_weights(small_cnn(), seed=1)
        training = backend.train(make_task(small_cnn(), execution=execution))

        training.load_weights(other)

        assert_same_arrays(training.weights(), other, what="loaded weights")

    def test_loaded_weights_are_computed_with(self, backend: Backend, execution: Execution) -> None:
        """Logits after loading are those of a training that began with these weights."""
        other, batch = make_weights(small_cnn(), seed=1), make_batches()[0]
        training = backend.train(make_task(small_cnn(), execution=execution))
        training.logits(batch)
        began = backend.train(make_task(small_cnn(), weights=other, execution=execution))

        training.load_weights(other)

        assert_near_largest(
            training.logits(batch), began.logits(batch), tolerance=LOGITS, what="logits"
        )

    def test_weights_handed_out_do_not_change(self, backend: Backend, execution: Execution) -> None:
        """Arrays read before a step still hold the old values after it."""
        task = make_task(small_cnn(), execution=execution)
        training = backend.train(task)
        before = training.weights()

        learn(training, make_batches())

        assert_same_arrays(before, task.weights, what="weights read before training")

    @pytest.mark.parametrize("layers", FRONTS.values(), ids=FRONTS)
    def test_only_trainable_layers_move(
        self, backend: Backend, execution: Execution, layers: tuple[str, ...]
    ) -> None:
        """Frozen arrays stay bit for bit, decay or not, and every trainable one moves."""
        rule = Optimizer(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.1)
        task = make_task(small_cnn(), trainable=layers, optimizer=rule, execution=execution)
        training = backend.train(task)

        learn(training, make_batches())

        after = training.weights()
        moved = {name for name in after if not np.array_equal(after[name], task.weights[name])}
        learning = {name for name in after if name.split("/")[0] in layers}
        assert_equal(moved, learning, what="arrays that moved")

    @pytest.mark.parametrize("layers", FRONTS.values(), ids=FRONTS)
    def test_trainable_count_is_that_of_the_network(
        self, backend: Backend, execution: Execution, layers: tuple[str, ...]
    ) -> None:
        """Gradients exist for exactly the values that the network counts as trainable."""
        task = make_task(small_cnn(), trainable=layers, execution=execution)

        gradients = backend.train(task).gradients(make_batches()[0])

        count = sum(gradient.size for gradient in gradients.values())
        what = f"trainable values in {', '.join(gradients)}"
        assert_equal(count, task.network.count(layers), what=what)

    @pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
    def test_reset_is_a_fresh_start(
        self, backend: Backend, execution: Execution, name: OptimizerName
    ) -> None:
        """After reset the weights are the initial ones, and the first epoch's loss returns."""
        rule = Optimizer(name=name, lr=0.01, momentum=0.9)
        task = make_task(small_cnn(), optimizer=rule, execution=execution)
        training = backend.train(task)
        first = learn(training, make_batches())[0]

        training.reset()

        assert_same_arrays(training.weights(), task.weights, what="weights after reset")
        again = learn(training, make_batches())[0]
        assert_loss(again.loss, first.loss, tolerance=REPEATED_LOSS)

    def test_a_seed_repeats_the_loss(self, backend: Backend, execution: Execution) -> None:
        """Two trainings of one task, dropout and all, report the same losses."""
        task = make_task(small_cnn(dropout=0.5), execution=execution)

        runs = [learn(backend.train(task), make_batches(), make_batches()) for _ in range(2)]

        for again, first in zip(*runs, strict=True):
            assert_loss(again.loss, first.loss, tolerance=REPEATED_LOSS)

    def test_another_seed_drops_other_values(self, backend: Backend, execution: Execution) -> None:
        """Dropout masks follow the task's seed: another one gives another loss."""
        tasks = [
            make_task(small_cnn(dropout=0.5), seed=seed, execution=execution) for seed in (1, 2)
        ]

        first, second = (learn(backend.train(task), make_batches())[0] for task in tasks)

        assert_other_loss(second.loss, than=first.loss, why="the seed draws the dropout masks")
