"""The contract's part on scores: every image counts alike, and only training drops values."""

from __future__ import annotations

import numpy as np
import pytest

from benchharness.api import Backend, Batch, Execution, Optimizer, Task
from benchharness.model.task import Output
from benchharness.testing.compare import (
    assert_loss,
    assert_near_largest,
    assert_other_loss,
    assert_same_arrays,
    assert_scores,
)
from benchharness.testing.pixels import learnt_inputs
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import CPU, learn, make_batches, make_task, small_cnn

# The last batch is smaller, so that a mean of the batches' means is not the images' mean.
SIZES = (6, 6, 2)
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9)
CLASSES = {"softmax": 4, "sigmoid": 2}


class ScoresContract(Contract):
    """Training and evaluation report means over images; asking for numbers changes none."""

    @pytest.mark.parametrize("output", ["softmax", "sigmoid"])
    def test_training_scores_are_means_over_images(
        self, backend: Backend, execution: Execution, output: Output
    ) -> None:
        """Loss, top-1 and count of a training pass are the reference's, partial batch included."""
        task = _task(output, execution)
        batches = make_batches(sizes=SIZES, classes=CLASSES[output])

        found = learn(backend.train(task), batches)

        assert_scores(found[0], learn(NumpyBackend().train(_task(output, CPU)), batches)[0])

    @pytest.mark.parametrize("output", ["softmax", "sigmoid"])
    def test_evaluation_scores_are_means_over_images(
        self, backend: Backend, execution: Execution, output: Output
    ) -> None:
        """Loss, top-1 and count of an evaluation are the reference's, partial batch included."""
        batches = make_batches(sizes=SIZES, classes=CLASSES[output])

        found = backend.train(_task(output, execution)).evaluate(batches)

        assert_scores(found, NumpyBackend().train(_task(output, CPU)).evaluate(batches))

    def test_confident_answers_have_finite_losses(
        self, backend: Backend, execution: Execution
    ) -> None:
        """The loss comes from logits: a certain wrong answer costs its logit, not infinity."""
        for output in ("softmax", "sigmoid"):
            network = small_cnn(outputs=4 if output == "softmax" else 1)
            weights = {
                name: np.zeros(p.shape, np.float32) for name, p in network.parameters().items()
            }
            weights["logits/bias"][0] = 300
            task = make_task(network, weights=weights, output=output, execution=execution)
            batch = make_batches(sizes=(4,), classes=1)[0]
            wrong = Batch(
                ids=batch.ids,
                inputs=batch.inputs,
                labels=np.full(4, 1 if output == "softmax" else 0, np.int32),
            )

            scores = backend.train(task).evaluate([wrong])

            assert_loss(scores.loss, 300)

    def test_evaluation_neither_learns_nor_drops(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Evaluating leaves every weight as it was, and gives the loss without dropout."""
        batches = make_batches(sizes=SIZES)
        task = make_task(small_cnn(dropout=0.5), execution=execution)
        training = backend.train(task)

        scores = training.evaluate(batches)

        assert_same_arrays(training.weights(), task.weights, what="weights after evaluation")
        without = NumpyBackend().train(make_task(small_cnn(), weights=task.weights))
        assert_scores(scores, without.evaluate(batches))

    def test_asking_for_numbers_does_not_learn(
        self, backend: Backend, execution: Execution
    ) -> None:
        """Logits and gradients leave weights and optimizer as they were, and drop nothing."""
        batches = make_batches(sizes=SIZES)
        task = make_task(small_cnn(dropout=0.5), optimizer=MOMENTUM, execution=execution)
        expected = learn(backend.train(task), batches)[0]
        training = backend.train(task)

        training.logits(batches[0])
        training.gradients(batches[0])

        assert_same_arrays(training.weights(), task.weights, what="weights after asking")
        assert_loss(learn(training, batches)[0].loss, expected.loss)

    def test_dropout_is_at_work_in_training(self, backend: Backend, execution: Execution) -> None:
        """Three epochs with dropout 0.5 lose otherwise than three without."""
        tasks = [make_task(small_cnn(dropout=rate), execution=execution) for rate in (0.0, 0.5)]

        epochs = [make_batches(), make_batches(), make_batches()]
        runs = [learn(backend.train(task), *epochs) for task in tasks]

        # Once in a hundred seeds, honest masks give one epoch the same loss within a thousandth.
        plain, dropped = max(
            zip(*runs, strict=True), key=lambda pair: abs(pair[0].loss - pair[1].loss)
        )
        assert_other_loss(dropped.loss, than=plain.loss, why="dropout hides half the values")

    def test_dropout_scales_up_what_it_keeps(self, backend: Backend, execution: Execution) -> None:
        """A value is dropped with the stated probability, or divided by that of being kept."""
        batch = make_batches(sizes=(8,))[0]
        images = np.maximum(batch.inputs, 1)
        batch = Batch(ids=batch.ids, inputs=images.astype(np.uint8), labels=batch.labels)

        seen = learnt_inputs(backend, batch, execution=execution, dropout=0.25) * 255

        is_kept = seen > 0.5
        assert_near_largest(
            seen, np.where(is_kept, images / np.float32(0.75), 0), tolerance=1e-4, what="dropout"
        )
        # Of 2376 values; a fair draw is off by more than 0.05 once in ten million seeds.
        assert abs(is_kept.mean() - 0.75) < 0.05, (
            f"dropout: expected to keep 0.75 of the values, found {is_kept.mean():.3f}"
        )


def _task(output: Output, execution: Execution) -> Task:
    outputs = 1 if output == "sigmoid" else CLASSES[output]
    return make_task(small_cnn(outputs=outputs), output=output, execution=execution)
