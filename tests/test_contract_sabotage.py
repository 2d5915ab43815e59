"""The contract catches backends that do other work than they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    AugmentationParams,
    Backend,
    Batch,
    Batches,
    ConsumedBatches,
    Dropout,
    Layer,
    Scores,
    Setting,
    Task,
)
from benchharness.fairness.settings import stated
from benchharness.testing import BackendContract
from benchharness.testing.contract_numbers import ADAM_WITH_DECAY, NETWORKS, RULES, WARPS
from benchharness.testing.reference import NumpyBackend, NumpyFeeding, NumpyTraining, Tape
from benchharness.testing.reference_layers import Array
from benchharness.testing.reference_rules import Judgement
from benchharness.testing.tasks import CPU, IMAGE_SHAPE, make_preprocessing, make_task, small_cnn

CONTRACT = BackendContract()


class Sabotaged(NumpyBackend):
    """The reference, given another task than asked for, or other work than its own."""

    def __init__(
        self,
        misread: Callable[[Task], Task] = lambda task: task,
        training: type[NumpyTraining] = NumpyTraining,
        feeding: type[NumpyFeeding] = NumpyFeeding,
    ) -> None:
        super().__init__()
        self._misread = misread
        self._training = training
        self._feeding = feeding

    def train(self, task: Task) -> NumpyTraining:
        """Train for the misread task, the wrong way."""
        return self._training(self._misread(task), self._dtype)

    def feed(self, task: Task) -> NumpyFeeding:
        """Feed for the misread task, the wrong way."""
        return self._feeding(self._misread(task), self._dtype)


def with_optimizer(**changes: object) -> Sabotaged:
    """Misread the optimizer's constants."""
    return Sabotaged(lambda task: replace(task, optimizer=replace(task.optimizer, **changes)))


def with_preprocessing(**changes: object) -> Sabotaged:
    """Misread the preprocessing."""
    return Sabotaged(
        lambda task: replace(task, preprocessing=replace(task.preprocessing, **changes))
    )


def with_layers(change: Callable[[Layer], Layer]) -> Sabotaged:
    """Misread every layer."""

    def misread(task: Task) -> Task:
        layers = tuple(change(layer) for layer in task.network.layers)
        return replace(task, network=replace(task.network, layers=layers))

    return Sabotaged(misread)


def with_rate(rate: float) -> Sabotaged:
    """Misread the rate of every dropout."""
    return with_layers(
        lambda layer: replace(layer, rate=rate) if isinstance(layer, Dropout) else layer
    )


def one_layer_more(task: Task) -> Task:
    """Let the layer below the lowest trainable one learn too."""
    names = task.network.learning_layers()
    lowest = min(names.index(name) for name in task.trainable)
    return replace(task, trainable=(*task.trainable, names[max(lowest - 1, 0)]))


def channels_first_flatten(task: Task) -> Task:
    """Multiply an NHWC kernel with values flattened in NCHW order."""
    order = np.arange(np.prod(IMAGE_SHAPE)).reshape(IMAGE_SHAPE).transpose(2, 0, 1).ravel()
    kernel = task.weights["logits/kernel"][order]
    return replace(task, weights={**task.weights, "logits/kernel": kernel})


def turned_kernels(task: Task) -> Task:
    """Convolve as mathematicians do, where the field means correlation."""
    turned = {n: a[::-1, ::-1] if a.ndim == 4 else a for n, a in task.weights.items()}
    return replace(task, weights=turned)


class DropsTheLastBatch(NumpyTraining):
    """Trains on full batches only."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Leave out the last batch of each epoch."""
        full = [list(batches)[:-1] for batches in epochs]
        super().train(full, after_step=after_step, after_epoch=after_epoch)


class RepeatsTheFirstEpoch(NumpyTraining):
    """Never looks at a later epoch's batches."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Train on the first epoch again and again."""
        first = [epochs[0]] * len(epochs)
        super().train(first, after_step=after_step, after_epoch=after_epoch)


class ShufflesBatches(NumpyTraining):
    """Makes an order of its own."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take the batches from behind."""
        behind = [list(batches)[::-1] for batches in epochs]
        super().train(behind, after_step=after_step, after_epoch=after_epoch)


class ReportsStepsAtOnce(NumpyTraining):
    """Reports every step before taking the first."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Report first, work later."""
        for _ in range(sum(len(batches) for batches in epochs)):
            after_step()
        super().train(epochs, after_step=lambda: None, after_epoch=after_epoch)


class ReportsEpochsAtTheEnd(NumpyTraining):
    """Reports epochs when all are over, with the weights of the last."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Keep the scores back."""
        kept: list[Scores] = []
        super().train(epochs, after_step=after_step, after_epoch=kept.append)
        for scores in kept:
            after_epoch(scores)


class AveragesBatches(NumpyTraining):
    """Gives an image in a small batch more weight than others."""

    def evaluate(self, batches: Batches) -> Scores:
        """Average the means of the batches."""
        parts = [super(AveragesBatches, self).evaluate([batch]) for batch in batches]
        loss = float(np.mean([part.loss for part in parts]))
        return replace(super().evaluate(batches), loss=loss)


class DropsInEvaluation(NumpyTraining):
    """Forgets to leave training mode."""

    def _judge(
        self,
        inputs: Array,
        labels: NDArray[np.int32],
        *,
        random: np.random.Generator | None = None,
    ) -> tuple[Tape, Judgement]:
        return super()._judge(inputs, labels, random=self._random)


class LearnsInEvaluation(NumpyTraining):
    """Improves while it is examined."""

    def evaluate(self, batches: Batches) -> Scores:
        """Train instead."""
        found: list[Scores] = []
        self.train([batches], after_step=lambda: None, after_epoch=found.append)
        return found[0]


class KeepsItsMomentum(NumpyTraining):
    """Resets the weights, and not the optimizer."""

    def reset(self) -> None:
        """Load the initial weights."""
        rule = getattr(self, "_rule", None)
        super().reset()
        self._rule = rule or self._rule


class HandsOutItsOwnArrays(NumpyTraining):
    """Returns arrays that the next step writes to."""

    def weights(self) -> Mapping[str, Array]:
        """Return the same arrays each time, filled anew."""
        self._shared = getattr(self, "_shared", None) or super().weights()
        for name, array in super().weights().items():
            self._shared[name][...] = array
        return self._shared

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Train, then write to what was handed out."""
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)
        self.weights()


class SumsGradients(NumpyTraining):
    """Gives the gradient of the sum of losses, not of their mean."""

    def gradients(self, batch: Batch) -> Mapping[str, Array]:
        """Scale up by the size of the batch."""
        return {name: g * len(batch) for name, g in super().gradients(batch).items()}


class CouplesDecay(NumpyTraining):
    """Adds weight decay to the gradient, where momentum keeps it."""

    def __init__(self, task: Task, dtype: str) -> None:
        assert task.optimizer is not None
        self._decay = task.optimizer.weight_decay
        super().__init__(replace(task, optimizer=replace(task.optimizer, weight_decay=0)), dtype)

    def _backward(self, tape: Tape, judgement: Judgement) -> dict[str, Array]:
        gradients = super()._backward(tape, judgement)
        return {name: g + self._decay * self._arrays[name] for name, g in gradients.items()}


class FeedsOtherImages(NumpyFeeding):
    """Brings every batch but the last."""

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Leave out the last batch."""
        super().feed(list(batches)[:-1], after_step=after_step)


class WritesDownTheRawImages(NumpyTraining):
    """Says what it was given, not what the network saw."""

    def consumed(self) -> ConsumedBatches:
        """Weigh the pixels as they were before augmentation and preprocessing."""
        raw = make_task(self._task.network, preprocessing=None, witness=self._task.witness)
        plain = NumpyFeeding(raw, "float64")
        plain.feed(self._given, after_step=lambda: None)
        return replace(super().consumed(), fingerprints=plain.consumed().fingerprints)

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Keep the batches for the account of them."""
        self._given = [replace(batch, warp=None) for batches in epochs for batch in batches]
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)


class TurnsTheLedger(NumpyTraining):
    """Tells the newest step first."""

    def consumed(self) -> ConsumedBatches:
        """Turn the order of the steps."""
        found = super().consumed()
        return replace(found, fingerprints=found.fingerprints[::-1], labels=found.labels[::-1])


class LearnsOtherLabels(NumpyTraining):
    """Gives each image the label of the one before it."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Put labels and images out of step."""
        shifted = [
            [replace(batch, labels=np.roll(batch.labels, 1)) for batch in batches]
            for batches in epochs
        ]
        super().train(shifted, after_step=after_step, after_epoch=after_epoch)


class RemembersAcrossResets(NumpyTraining):
    """Resets everything but what it has written down."""

    def reset(self) -> None:
        """Keep the ledger."""
        kept = list(self._ledger._rows)
        super().reset()
        self._ledger._rows.extend(kept)


class RecordsAllEpochs(NumpyTraining):
    """Keeps the record of earlier epochs."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Put the rows of earlier calls before those of this one."""
        kept = list(self._ledger._rows)
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)
        self._ledger._rows[:0] = kept


class CountsStepsAcrossEpochs(NumpyTraining):
    """Takes positions for those of the whole training."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Count on from the last call."""
        self._done = getattr(self, "_done", 0)
        ledger, done = self._ledger, self._done
        clear = ledger.clear

        def forget() -> None:
            clear()
            ledger._position = done

        ledger.clear = forget
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)
        self._done += sum(len(batches) for batches in epochs)


def every_step(task: Task) -> Task:
    """Record every step, whatever is sampled."""
    if task.witness is None:
        return task
    return replace(task, witness=replace(task.witness, steps=tuple(range(64))))


class WritesDownEvaluations(NumpyTraining):
    """Takes the images that it is examined on for training images."""

    def evaluate(self, batches: Batches) -> Scores:
        """Write down what is only scored."""
        for batch in batches:
            self._ledger._position = 0
            self._ledger.write(self._inputs(batch), batch.labels)
        return super().evaluate(batches)


NOTHING = ConsumedBatches(
    fingerprints=np.empty((0, 0), np.float32), labels=np.empty((0, 0), np.int32)
)


class SilentWithoutAWitness(NumpyTraining):
    """Gives an empty answer where nothing was asked for."""

    def consumed(self) -> ConsumedBatches:
        """Return no steps."""
        return super().consumed() if self._task.witness else NOTHING


class FeedsInSilence(NumpyFeeding):
    """Does the same, feeding."""

    def consumed(self) -> ConsumedBatches:
        """Return no steps."""
        return super().consumed() if self._task.witness else NOTHING


class LearnsWhenWatched(NumpyTraining):
    """Learns from the first image alone while it is watched."""

    def _inputs(self, batch: Batch) -> Array:
        inputs = super()._inputs(batch)
        return inputs if self._task.witness is None else inputs[:1].repeat(len(inputs), axis=0)


class DropsByChance(NumpyTraining):
    """Draws the dropout masks from nowhere."""

    def reset(self) -> None:
        """Forget the seed."""
        super().reset()
        self._random = np.random.default_rng()


class ReportsAsStated(NumpyTraining):
    """Copies its settings from a form, whatever it computes with."""

    def settings(self) -> Mapping[str, Setting]:
        """Return those of plain SGD on everything."""
        asked = make_task(small_cnn(dropout=0.5), optimizer=ADAM_WITH_DECAY)
        return {**super().settings(), **stated(asked)}


class ReportsMomentumBesideAdam(NumpyTraining):
    """Tells constants that its rule does not have."""

    def settings(self) -> Mapping[str, Setting]:
        """Add a momentum."""
        return {**super().settings(), "optimizer.momentum": 0.0}


class ReportsNoLayout(NumpyFeeding):
    """Keeps a stated setting to itself."""

    def settings(self) -> Mapping[str, Setting]:
        """Leave the layout out."""
        return {n: value for n, value in super().settings().items() if n != "layout"}


def warping(misread: Callable[[AugmentationParams], AugmentationParams | None]) -> Sabotaged:
    """Misread every warp."""

    class Warps(NumpyTraining):
        def _inputs(self, batch: Batch) -> Array:
            return super()._inputs(replace(batch, warp=batch.warp and misread(batch.warp)))

    return Sabotaged(training=Warps)


def exchanged_axes(warp: AugmentationParams) -> AugmentationParams:
    """Take x for y."""
    return replace(warp, affine=warp.affine[:, ::-1][:, :, [1, 0, 2]])


def half_a_pixel_off(warp: AugmentationParams) -> AugmentationParams:
    """Count from the corner of the first pixel, not from its centre."""
    corner = np.array([0.5, 0.5])
    moved = warp.affine[:, :, :2] @ corner - corner
    return replace(warp, affine=warp.affine + np.float32(1) * _last_column(moved))


def _last_column(values: Array) -> Array:
    zeros = np.zeros((*values.shape, 2))
    return np.concatenate([zeros, values[:, :, None]], axis=2).astype(np.float32)


OPTIMIZERS = CONTRACT.test_optimizers_move_weights_as_the_reference_does
PIXELS = CONTRACT.test_training_sees_each_image_by_its_own_warp
SCORES = CONTRACT.test_training_scores_are_means_over_images
CONSUMED = CONTRACT.test_what_is_consumed_is_told
STATED = CONTRACT.test_settings_of_training_are_as_stated
FROZEN = CONTRACT.test_only_trainable_layers_move

# What is done, the check that must notice, what else that check is given, and what it says.
SABOTAGES = {
    "another_epsilon": (with_optimizer(epsilon=1e-7), OPTIMIZERS, (RULES["adam"], 0.0), "movement"),
    "epsilon_of_rmsprop": (
        with_optimizer(epsilon=1e-7),
        OPTIMIZERS,
        (RULES["rmsprop"], 0.0),
        "movement",
    ),
    "default_betas": (
        with_optimizer(beta_1=0.9, beta_2=0.999),
        OPTIMIZERS,
        (RULES["adam"], 0.0),
        "movement",
    ),
    "momentum_ignored": (
        with_optimizer(momentum=0.0),
        OPTIMIZERS,
        (RULES["momentum"], 0.0),
        "movement",
    ),
    "nesterov_ignored": (
        with_optimizer(nesterov=False),
        OPTIMIZERS,
        (RULES["nesterov"], 0.0),
        "movement",
    ),
    "decay_ignored": (
        with_optimizer(weight_decay=0.0),
        OPTIMIZERS,
        (RULES["sgd"], 0.1),
        "movement",
    ),
    "decay_coupled": (
        Sabotaged(training=CouplesDecay),
        OPTIMIZERS,
        (RULES["momentum"], 0.1),
        "movement",
    ),
    "rgb_for_bgr": (
        with_preprocessing(order=(0, 1, 2)),
        CONTRACT.test_preprocessing_is_the_references,
        ("caffe_bgr", 3),
        "logits after caffe_bgr",
    ),
    "whitening_ignored": (
        with_preprocessing(whitening=None),
        CONTRACT.test_preprocessing_is_the_references,
        ("zca", 3),
        "logits after zca",
    ),
    "nchw_flatten": (
        Sabotaged(channels_first_flatten),
        CONTRACT.test_logits_are_the_references,
        (NETWORKS["flatten_order"],),
        "logits",
    ),
    "turned_kernels": (
        Sabotaged(turned_kernels),
        CONTRACT.test_logits_are_the_references,
        (NETWORKS["conv_same"],),
        "logits",
    ),
    "frozen_off_by_one": (Sabotaged(one_layer_more), FROZEN, (("hidden", "logits"),), "conv_valid"),
    "all_frozen": (
        Sabotaged(lambda task: replace(task, trainable=())),
        FROZEN,
        (("logits",),),
        "moved",
    ),
    "trainable_count": (
        Sabotaged(one_layer_more),
        CONTRACT.test_trainable_count_is_that_of_the_network,
        (("hidden", "logits"),),
        "trainable values",
    ),
    "last_batch_dropped": (Sabotaged(training=DropsTheLastBatch), SCORES, ("softmax",), "count"),
    "last_step_unreported": (
        Sabotaged(training=DropsTheLastBatch),
        CONTRACT.test_training_reports_every_step_once,
        (),
        "reported steps",
    ),
    "steps_reported_at_once": (
        Sabotaged(training=ReportsStepsAtOnce),
        CONTRACT.test_training_reports_every_step_once,
        (),
        "before their batch was read",
    ),
    "epochs_reported_at_the_end": (
        Sabotaged(training=ReportsEpochsAtTheEnd),
        CONTRACT.test_an_epoch_is_reported_after_its_last_step,
        (),
        "reports",
    ),
    "one_epoch_repeated": (
        Sabotaged(training=RepeatsTheFirstEpoch),
        CONTRACT.test_work_between_epochs_sees_the_weights_of_that_moment,
        (),
        "loss",
    ),
    "batches_reordered": (
        Sabotaged(training=ShufflesBatches),
        OPTIMIZERS,
        (RULES["momentum"], 0.0),
        "movement",
    ),
    "mean_of_means": (
        Sabotaged(training=AveragesBatches),
        CONTRACT.test_evaluation_scores_are_means_over_images,
        ("softmax",),
        "loss",
    ),
    "dropout_in_evaluation": (
        Sabotaged(training=DropsInEvaluation),
        CONTRACT.test_evaluation_neither_learns_nor_drops,
        (),
        "loss",
    ),
    "learning_in_evaluation": (
        Sabotaged(training=LearnsInEvaluation),
        CONTRACT.test_evaluation_neither_learns_nor_drops,
        (),
        "weights after evaluation",
    ),
    "dropout_ignored": (
        with_rate(0.0),
        CONTRACT.test_dropout_is_at_work_in_training,
        (),
        "loss",
    ),
    "dropout_rate_misread": (
        with_rate(0.75),
        CONTRACT.test_dropout_scales_up_what_it_keeps,
        (),
        "dropout: expected",
    ),
    "seed_ignored": (
        Sabotaged(lambda task: replace(task, seed=0)),
        CONTRACT.test_another_seed_drops_other_values,
        (),
        "loss",
    ),
    "optimizer_kept_at_reset": (
        Sabotaged(training=KeepsItsMomentum),
        CONTRACT.test_reset_is_a_fresh_start,
        ("adam",),
        "loss",
    ),
    "arrays_written_to": (
        Sabotaged(training=HandsOutItsOwnArrays),
        CONTRACT.test_weights_handed_out_do_not_change,
        (),
        "weights read before training",
    ),
    "summed_gradients": (
        Sabotaged(training=SumsGradients),
        CONTRACT.test_gradients_are_the_references,
        ("softmax", None),
        "gradient of",
    ),
    "bfloat16_ignored": (
        Sabotaged(lambda task: replace(task, execution=CPU)),
        CONTRACT.test_bfloat16_is_honoured_or_refused,
        (),
        "float32 computed",
    ),
    "fed_batch_missing": (
        Sabotaged(feeding=FeedsOtherImages),
        CONSUMED,
        ("feed", False),
        "labels consumed",
    ),
    "batch_missing_in_the_ledger": (
        Sabotaged(training=DropsTheLastBatch),
        CONSUMED,
        ("train", False),
        "labels consumed",
    ),
    "order_in_the_ledger": (
        Sabotaged(training=TurnsTheLedger),
        CONSUMED,
        ("train", False),
        "labels consumed",
    ),
    "batches_reordered_in_the_ledger": (
        Sabotaged(training=ShufflesBatches),
        CONSUMED,
        ("train", False),
        "labels consumed",
    ),
    "labels_out_of_step": (
        Sabotaged(training=LearnsOtherLabels),
        CONSUMED,
        ("train", False),
        "labels",
    ),
    "warp_missing_in_the_ledger": (
        warping(lambda warp: None),
        CONSUMED,
        ("train", True),
        "fingerprints",
    ),
    "raw_images_in_the_ledger": (
        Sabotaged(training=WritesDownTheRawImages),
        CONSUMED,
        ("train", True),
        "fingerprints",
    ),
    "rgb_in_the_ledger": (
        with_preprocessing(order=(0, 1, 2)),
        CONSUMED,
        ("train", False),
        "fingerprints",
    ),
    "features_scaled": (
        Sabotaged(
            lambda task: replace(task, preprocessing=make_preprocessing("unit", shape=(4, 3, 5)))
        ),
        CONTRACT.test_consumed_features_are_told,
        ((4, 3, 5),),
        "fingerprints",
    ),
    "ledger_kept_at_reset": (
        Sabotaged(training=RemembersAcrossResets),
        CONTRACT.test_only_steps_since_the_reset_are_told,
        (),
        "shape after reset",
    ),
    "earlier_epochs_in_the_ledger": (
        Sabotaged(training=RecordsAllEpochs),
        CONTRACT.test_only_the_last_epoch_is_recorded,
        ("train",),
        "labels consumed",
    ),
    "steps_counted_across_epochs": (
        Sabotaged(training=CountsStepsAcrossEpochs),
        CONTRACT.test_only_the_last_epoch_is_recorded,
        ("train",),
        "labels consumed",
    ),
    **{
        f"every_step_recorded_in_{kind}": (
            Sabotaged(every_step),
            CONTRACT.test_sampled_steps_alone_are_recorded,
            (kind, (0, 2, 3)),
            "recorded steps: expected 3, found 4",
        )
        for kind in ("feed", "train")
    },
    "evaluations_in_the_ledger": (
        Sabotaged(training=WritesDownEvaluations),
        CONTRACT.test_steps_are_told_between_epochs,
        (),
        "labels consumed",
    ),
    "other_work_when_watched": (
        Sabotaged(training=LearnsWhenWatched),
        CONTRACT.test_being_witnessed_changes_no_number,
        (),
        "weights of",
    ),
    "layout_untold": (
        Sabotaged(feeding=ReportsNoLayout),
        CONTRACT.test_settings_of_work_without_learning_are_as_stated,
        ("feed",),
        "layout: not reported",
    ),
    "epsilon_told": (
        with_optimizer(epsilon=1e-7),
        STATED,
        (RULES["adam"], 0.0),
        "optimizer.epsilon: 1e-07 instead of 0.001",
    ),
    "dropout_told": (with_rate(0.4), STATED, (RULES["sgd"], 0.0), "dropout: 0.4 instead of 0.3"),
    "trainable_told": (
        Sabotaged(one_layer_more),
        STATED,
        (RULES["sgd"], 0.0),
        "trainable: conv_same, conv_valid, logits instead of conv_valid, logits",
    ),
    "constants_of_another_rule": (
        Sabotaged(training=ReportsMomentumBesideAdam),
        CONTRACT.test_constants_that_a_rule_lacks_are_not_told,
        (RULES["adam"],),
        "constants",
    ),
    "rate_untold": (
        Sabotaged(training=ReportsAsStated),
        CONTRACT.test_another_constant_is_told,
        ("lr",),
        "deviations",
    ),
    "dropout_untold": (
        Sabotaged(training=ReportsAsStated),
        CONTRACT.test_another_dropout_is_told,
        (),
        "deviations",
    ),
    "frozen_layer_untold": (
        Sabotaged(training=ReportsAsStated),
        CONTRACT.test_another_frozen_layer_is_told,
        (),
        "deviations",
    ),
    "bfloat16_untold": (
        Sabotaged(lambda task: replace(task, execution=CPU)),
        CONTRACT.test_bfloat16_is_told_or_refused,
        (),
        "deviations",
    ),
    "chance_in_determinism": (
        Sabotaged(training=DropsByChance),
        CONTRACT.test_deterministic_trainings_repeat_every_bit,
        (),
        "weights of the second training",
    ),
    "warp_ignored": (warping(lambda warp: None), PIXELS, (), "pixels"),
    "colour_ignored": (
        warping(lambda warp: replace(warp, colour=0 * warp.colour)),
        CONTRACT.test_training_sees_shifted_colours_clipped,
        (),
        "pixels",
    ),
    "one_warp_for_all": (
        warping(lambda warp: replace(warp, affine=warp.affine[:1].repeat(8, axis=0))),
        PIXELS,
        (),
        "pixels",
    ),
    "axes_exchanged": (
        warping(exchanged_axes),
        CONTRACT.test_training_sees_warped_pixels,
        (WARPS["sheared"],),
        "pixels",
    ),
    "half_a_pixel_off": (
        warping(half_a_pixel_off),
        CONTRACT.test_training_sees_warped_pixels,
        (WARPS["zoomed_out"],),
        "pixels",
    ),
}


@pytest.mark.parametrize(
    ("backend", "check", "given", "complaint"), SABOTAGES.values(), ids=SABOTAGES
)
def test_sabotage_is_noticed(
    backend: Backend, check: Callable[..., None], given: Iterable[object], complaint: str
) -> None:
    """The check made for it fails on each flaw, and says where it looked."""
    with pytest.raises(AssertionError, match=complaint):
        check(backend, CPU, *given)


@pytest.mark.parametrize("kind", ["train", "feed"])
def test_an_empty_answer_without_a_witness_is_noticed(kind: str) -> None:
    """Where nothing was asked for, the contract wants an error."""
    backend = Sabotaged(training=SilentWithoutAWitness, feeding=FeedsInSilence)

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        CONTRACT.test_without_a_witness_nothing_is_told(backend, CPU, kind)
