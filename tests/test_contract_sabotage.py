"""The contract catches backends that do other work than they were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    AugmentationParams,
    Batch,
    Batches,
    ConsumedBatches,
    Dropout,
    Scores,
    Task,
)
from benchharness.fairness.settings import stated
from benchharness.testing import BackendContract
from benchharness.testing.assertions import Subject
from benchharness.testing.contract import NETWORKS, WARPS
from benchharness.testing.reference import NumpyBackend, NumpyFeeding, NumpyTraining
from benchharness.testing.tasks import (
    ADAM_WITH_DECAY,
    CPU,
    IMAGE_SHAPE,
    RULES,
    make_preprocessing,
    make_task,
    small_cnn,
)


class Sabotaged(NumpyBackend):
    """The reference, given another task than asked for, or other work than its own."""

    def __init__(
        self,
        misread: Callable[[Task], Task] = lambda task: task,
        training: type = NumpyTraining,
        feeding: type = NumpyFeeding,
    ) -> None:
        super().__init__()
        self._misread, self._training, self._feeding = misread, training, feeding

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


def with_rate(rate: float) -> Sabotaged:
    """Misread the rate of every dropout."""

    def misread(task: Task) -> Task:
        layers = tuple(
            replace(layer, rate=rate) if isinstance(layer, Dropout) else layer
            for layer in task.network.layers
        )
        return replace(task, network=replace(task.network, layers=layers))

    return Sabotaged(misread)


def misreading(**changes: object) -> Sabotaged:
    """Misread some fields of the task."""
    return Sabotaged(lambda task: replace(task, **changes))


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


def every_step(task: Task) -> Task:
    """Record every step, whatever is sampled."""
    if task.fingerprint_spec is None:
        return task
    return replace(task, fingerprint_spec=replace(task.fingerprint_spec, steps=tuple(range(64))))


def work(kind: type, **methods: Callable[..., Any]) -> type:
    """Return a kind of the reference's work with other methods, which get the usual one first."""

    def bound(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def instead(self: Any, *arguments: Any, **options: Any) -> Any:
            return method(self, getattr(kind, name).__get__(self), *arguments, **options)

        return instead

    return type("Planted", (kind,), {name: bound(name, m) for name, m in methods.items()})


def training(**methods: Callable[..., Any]) -> Sabotaged:
    """Train with other methods."""
    return Sabotaged(training=work(NumpyTraining, **methods))


def training_by(name: str) -> Callable[[Callable[..., Any]], Sabotaged]:
    """Decorate a function as the method of that name of a training."""
    return lambda method: training(**{name: method})


def feeding(**methods: Callable[..., Any]) -> Sabotaged:
    """Feed with other methods."""
    return Sabotaged(feeding=work(NumpyFeeding, **methods))


def learning_from(change: Callable[[list[list[Batch]]], list[list[Batch]]]) -> Sabotaged:
    """Train on other batches."""
    return training(
        train=lambda self, usual, epochs, **reports: usual(
            change([list(batches) for batches in epochs]), **reports
        )
    )


@training_by("train")
def reports_steps_at_once(
    self: Any, usual: Any, epochs: Sequence[Batches], *, after_step: AfterStep, **report: Any
) -> None:
    """Report every step before taking the first."""
    for _ in range(sum(map(len, epochs))):
        after_step()
    usual(epochs, after_step=lambda: None, **report)


@training_by("train")
def reports_epochs_at_the_end(
    self: Any, usual: Any, epochs: Any, *, after_epoch: AfterEpoch, **report: Any
) -> None:
    """Report epochs when all are over, with the weights of the last."""
    kept: list[Scores] = []
    usual(epochs, after_epoch=kept.append, **report)
    for scores in kept:
        after_epoch(scores)


@training_by("evaluate")
def averages_batches(self: Any, usual: Any, batches: Batches) -> Scores:
    """Give an image in a small batch more weight than others."""
    losses = [usual([batch]).loss for batch in batches]
    return replace(usual(batches), loss=float(np.mean(losses)))


@training_by("evaluate")
def learns_in_evaluation(self: Any, usual: Any, batches: Batches) -> Scores:
    """Train instead."""
    scores: list[Scores] = []
    self.train([batches], after_step=lambda: None, after_epoch=scores.append)
    return scores[0]


@training_by("reset")
def keeps_its_momentum(self: Any, usual: Any) -> None:
    """Reset the weights, and not the optimizer."""
    rule = getattr(self, "_rule", None)
    usual()
    self._rule = rule or self._rule


@training_by("reset")
def drops_by_chance(self: Any, usual: Any) -> None:
    """Draw the dropout masks from nowhere."""
    usual()
    self._random = np.random.default_rng()


class HandsOutItsOwnArrays(NumpyTraining):
    """Returns arrays that the next step writes to."""

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the same arrays each time, with new values."""
        self._shared = getattr(self, "_shared", None) or super().weights()
        for name, array in super().weights().items():
            self._shared[name][...] = array
        return self._shared

    def train(self, epochs: Sequence[Batches], **reports: Any) -> None:
        """Train, then write to what was handed out."""
        super().train(epochs, **reports)
        self.weights()


class CouplesDecay(NumpyTraining):
    """Adds weight decay to the gradient, where momentum keeps it."""

    def __init__(self, task: Task, dtype: str) -> None:
        self._decay = task.optimizer.weight_decay
        super().__init__(replace(task, optimizer=replace(task.optimizer, weight_decay=0)), dtype)

    def _backward(self, *judged: Any) -> dict[str, Any]:
        gradients = super()._backward(*judged)
        return {name: g + self._decay * self._arrays[name] for name, g in gradients.items()}


class WritesDownTheRawImages(NumpyTraining):
    """Records the images before augmentation and preprocessing, not what the network saw."""

    def consumed(self) -> ConsumedBatches:
        """Weigh the raw pixels."""
        plain = NumpyFeeding(
            make_task(
                self._task.network, preprocessing=None, fingerprint_spec=self._task.fingerprint_spec
            ),
            "float64",
        )
        plain.feed(self._given, after_step=lambda: None)
        return replace(super().consumed(), fingerprints=plain.consumed().fingerprints)

    def train(self, epochs: Sequence[Batches], **reports: Any) -> None:
        """Keep the batches for the account of them."""
        self._given = [replace(batch, warp=None) for batches in epochs for batch in batches]
        super().train(epochs, **reports)


@training_by("consumed")
def turns_the_ledger(self: Any, usual: Any) -> ConsumedBatches:
    """Tell the newest step first."""
    record = usual()
    return replace(record, fingerprints=record.fingerprints[::-1], labels=record.labels[::-1])


@training_by("reset")
def remembers_across_resets(self: Any, usual: Any) -> None:
    """Reset everything but the record."""
    kept = list(self._ledger._rows)
    usual()
    self._ledger._rows.extend(kept)


@training_by("train")
def records_all_epochs(self: Any, usual: Any, epochs: Any, **reports: Any) -> None:
    """Put the rows of earlier calls before those of this one."""
    kept = list(self._ledger._rows)
    usual(epochs, **reports)
    self._ledger._rows[:0] = kept


@training_by("train")
def counts_steps_across_epochs(self: Any, usual: Any, epochs: Any, **reports: Any) -> None:
    """Take positions for those of the whole training."""
    ledger, done = self._ledger, getattr(self, "_done", 0)
    clear = ledger.clear

    def forget() -> None:
        clear()
        ledger._position = done

    ledger.clear = forget
    usual(epochs, **reports)
    self._done = done + sum(map(len, epochs))


@training_by("evaluate")
def writes_down_evaluations(self: Any, usual: Any, batches: Batches) -> Scores:
    """Record the images that are only scored."""
    for batch in batches:
        self._ledger._position = 0
        self._ledger.write(self._inputs(batch), batch.labels)
    return usual(batches)


@training_by("_inputs")
def learns_when_watched(self: Any, usual: Any, batch: Batch) -> Any:
    """Learn from the first image alone while steps are recorded."""
    inputs = usual(batch)
    return inputs if self._task.fingerprint_spec is None else inputs[:1].repeat(len(inputs), axis=0)


def silent(self: Any, usual: Any) -> ConsumedBatches:
    """Give an empty answer where nothing was asked for."""
    if self._task.fingerprint_spec:
        return usual()
    return ConsumedBatches(fingerprints=np.empty((0, 0), "f4"), labels=np.empty((0, 0), "i4"))


def warping(misread: Callable[[AugmentationParams], AugmentationParams | None]) -> Sabotaged:
    """Misread every warp."""
    return training(
        _inputs=lambda self, usual, batch: usual(
            replace(batch, warp=batch.warp and misread(batch.warp))
        )
    )


def exchanged_axes(warp: AugmentationParams) -> AugmentationParams:
    """Take x for y."""
    return replace(warp, affine=warp.affine[:, ::-1][:, :, [1, 0, 2]])


def half_a_pixel_off(warp: AugmentationParams) -> AugmentationParams:
    """Count from the corner of the first pixel, not from its centre."""
    affine, corner = warp.affine.copy(), np.array([0.5, 0.5])
    affine[:, :, 2] += warp.affine[:, :, :2] @ corner - corner
    return replace(warp, affine=affine)


def shifts_labels(epochs: list[list[Batch]]) -> list[list[Batch]]:
    """Give each image the label of the one before it."""
    return [[replace(batch, labels=np.roll(batch.labels, 1)) for batch in e] for e in epochs]


LAST_BATCH_DROPPED = learning_from(lambda epochs: [batches[:-1] for batches in epochs])
ONE_EPOCH = learning_from(lambda epochs: [epochs[0]] * len(epochs))
REORDERED = learning_from(lambda epochs: [batches[::-1] for batches in epochs])
RAW_IMAGES = Sabotaged(training=WritesDownTheRawImages)
OWN_ARRAYS = Sabotaged(training=HandsOutItsOwnArrays)
CHANNELS_FIRST = Sabotaged(channels_first_flatten)
EVERY_STEP = Sabotaged(every_step)
ONE_LAYER_MORE = Sabotaged(one_layer_more)
OTHER_EPSILON = with_optimizer(epsilon=1e-7)
NOT_WHITENED = with_preprocessing(whitening=None)
IN_RGB = with_preprocessing(order=(0, 1, 2))
SCALED = misreading(preprocessing=make_preprocessing("unit", shape=(4, 3, 5)))
ALWAYS_FLOAT32 = misreading(execution=CPU)
WARP_IGNORED = warping(lambda warp: None)
FIRST_WARP = warping(lambda warp: replace(warp, affine=warp.affine[:1].repeat(8, axis=0)))
COLOUR_IGNORED = warping(lambda warp: replace(warp, colour=0 * warp.colour))
LAST_UNFED = feeding(feed=lambda self, usual, batches, **r: usual(list(batches)[:-1], **r))
DROPS_IN_EVALUATION = training(
    _judge=lambda self, usual, *batch, random=None: usual(*batch, random=self._random)
)
SUMMED = training(
    gradients=lambda self, usual, batch: {n: g * len(batch) for n, g in usual(batch).items()}
)
NO_LAYOUT = feeding(
    settings=lambda self, usual: {n: v for n, v in usual().items() if n != "layout"}
)
MOMENTUM_BESIDE_ADAM = training(settings=lambda self, usual: {**usual(), "optimizer.momentum": 0.0})
# Settings copied from a form, whatever is computed.
STATED = stated(make_task(small_cnn(dropout=0.5), optimizer=ADAM_WITH_DECAY))
FORM = training(settings=lambda self, usual: {**usual(), **STATED})
SILENT = Sabotaged(
    training=work(NumpyTraining, consumed=silent), feeding=work(NumpyFeeding, consumed=silent)
)

ADAM, SGD, MOMENTUM = (RULES[name] for name in ("adam", "sgd", "momentum"))
RMSPROP, NESTEROV = RULES["rmsprop"], RULES["nesterov"]
MOVED = "optimizers_move_weights_as_the_reference_does"
PREPROCESSED = "preprocessing_is_the_references"
LOGITS = "logits_are_the_references"
FROZEN = "only_trainable_layers_move"
STEPS = "training_reports_every_step_once"
SCORED = "scores_are_means_over_images"
EVALUATED = "evaluation_neither_learns_nor_drops"
TOLD = "what_is_consumed_is_told"
LAST_EPOCH = "only_the_last_epoch_is_recorded"
SAMPLED = "sampled_steps_alone_are_recorded"
FOUR_STEPS = "recorded steps: expected 3, found 4"
SETTINGS = "settings_of_training_are_as_stated"
OTHER = "another_setting_is_told"
WARPED = "training_sees_warped_pixels"
EACH_WARP = "training_sees_each_image_by_its_own_warp"
SEED = "another_seed_drops_other_values"
RESET = "reset_is_a_fresh_start"
KEPT = "weights_handed_out_do_not_change"
COUNT = "trainable_count_is_that_of_the_network"
EPOCHS = "an_epoch_is_reported_after_its_last_step"
BETWEEN = "work_between_epochs_sees_the_weights_of_that_moment"
SINCE_RESET = "only_steps_since_the_reset_are_told"
BETWEEN_EPOCHS = "steps_are_told_between_epochs"
WATCHED = "recording_changes_no_number"
WORK = "settings_of_each_kind_of_work_are_as_stated"
DETERMINISTIC = "deterministic_trainings_repeat_every_bit"
DROPPED = "dropout_scales_up_what_it_keeps"
GRADIENTS = "gradients_are_the_references"
BFLOAT16 = "bfloat16_is_honoured_or_refused"
UNRECORDED = "without_a_fingerprint_spec_nothing_is_recorded"

# What is done, the check that must notice, what else that check is given, and what it says.
SABOTAGES: dict[str, tuple[Sabotaged, str, tuple[object, ...], str]] = {
    "another_epsilon": (OTHER_EPSILON, MOVED, (ADAM, 0.0), "movement"),
    "epsilon_of_rmsprop": (OTHER_EPSILON, MOVED, (RMSPROP, 0.0), "movement"),
    "default_betas": (with_optimizer(beta_1=0.9, beta_2=0.999), MOVED, (ADAM, 0.0), "movement"),
    "momentum_ignored": (with_optimizer(momentum=0.0), MOVED, (MOMENTUM, 0.0), "movement"),
    "nesterov_ignored": (with_optimizer(nesterov=False), MOVED, (NESTEROV, 0.0), "movement"),
    "decay_ignored": (with_optimizer(weight_decay=0.0), MOVED, (SGD, 0.1), "movement"),
    "decay_coupled": (Sabotaged(training=CouplesDecay), MOVED, (MOMENTUM, 0.1), "movement"),
    "batches_reordered": (REORDERED, MOVED, (MOMENTUM, 0.0), "movement"),
    "rgb_for_bgr": (IN_RGB, PREPROCESSED, ("caffe_bgr", 3), "logits after caffe_bgr"),
    "whitening_ignored": (NOT_WHITENED, PREPROCESSED, ("zca", 3), "logits after zca"),
    "nchw_flatten": (CHANNELS_FIRST, LOGITS, (NETWORKS["flatten_order"],), "logits"),
    "turned_kernels": (Sabotaged(turned_kernels), LOGITS, (NETWORKS["conv_same"],), "logits"),
    "frozen_off_by_one": (ONE_LAYER_MORE, FROZEN, (("hidden", "logits"),), "conv_valid"),
    "all_frozen": (misreading(trainable=()), FROZEN, (("logits",),), "moved"),
    "trainable_count": (ONE_LAYER_MORE, COUNT, (("hidden", "logits"),), "trainable values"),
    "last_batch_dropped": (LAST_BATCH_DROPPED, SCORED, (True, "softmax"), "count"),
    "last_step_unreported": (LAST_BATCH_DROPPED, STEPS, (), "reported steps: expected 4, found 3"),
    "steps_reported_at_once": (reports_steps_at_once, STEPS, (), "before their batch was read"),
    "epochs_reported_at_the_end": (reports_epochs_at_the_end, EPOCHS, (), "reports"),
    "one_epoch_repeated": (ONE_EPOCH, BETWEEN, (), "loss"),
    "mean_of_means": (averages_batches, SCORED, (False, "softmax"), "loss"),
    "dropout_in_evaluation": (DROPS_IN_EVALUATION, EVALUATED, (), "loss"),
    "learning_in_evaluation": (learns_in_evaluation, EVALUATED, (), "weights after evaluation"),
    "dropout_ignored": (with_rate(0.0), "dropout_is_at_work_in_training", (), "loss"),
    "dropout_rate_misread": (with_rate(0.75), DROPPED, (), "dropout: expected"),
    "seed_ignored": (misreading(seed=0), SEED, (), "draws the dropout masks"),
    "optimizer_kept_at_reset": (keeps_its_momentum, RESET, ("adam",), "loss"),
    "arrays_written_to": (OWN_ARRAYS, KEPT, (), "weights read before training"),
    "summed_gradients": (SUMMED, GRADIENTS, ("softmax", None), "gradient of"),
    "bfloat16_ignored": (ALWAYS_FLOAT32, BFLOAT16, (), "float32 computed"),
    "fed_batch_missing": (LAST_UNFED, TOLD, ("feed", False), "labels consumed"),
    "batch_missing_in_the_ledger": (LAST_BATCH_DROPPED, TOLD, ("train", False), "labels consumed"),
    "order_in_the_ledger": (turns_the_ledger, TOLD, ("train", False), "labels consumed"),
    "batches_reordered_in_the_ledger": (REORDERED, TOLD, ("train", False), "labels consumed"),
    "labels_out_of_step": (learning_from(shifts_labels), TOLD, ("train", False), "labels"),
    "warp_missing_in_the_ledger": (WARP_IGNORED, TOLD, ("train", True), "fingerprints"),
    "raw_images_in_the_ledger": (RAW_IMAGES, TOLD, ("train", True), "fingerprints"),
    "rgb_in_the_ledger": (IN_RGB, TOLD, ("train", False), "fingerprints"),
    "features_scaled": (SCALED, "consumed_features_are_told", ((4, 3, 5),), "fingerprints"),
    "ledger_kept_at_reset": (remembers_across_resets, SINCE_RESET, (), "shape after reset"),
    "earlier_epochs_in_the_ledger": (records_all_epochs, LAST_EPOCH, ("train",), "labels consumed"),
    "steps_counted_across_epochs": (
        counts_steps_across_epochs,
        LAST_EPOCH,
        ("train",),
        "labels consumed",
    ),
    "every_step_recorded_in_feed": (
        EVERY_STEP,
        SAMPLED,
        ("feed", (0, 2, 3)),
        FOUR_STEPS,
    ),
    "every_step_recorded_in_train": (
        EVERY_STEP,
        SAMPLED,
        ("train", (0, 2, 3)),
        FOUR_STEPS,
    ),
    "evaluations_in_the_ledger": (writes_down_evaluations, BETWEEN_EPOCHS, (), "labels consumed"),
    "other_work_when_watched": (learns_when_watched, WATCHED, (), "weights of"),
    "layout_untold": (NO_LAYOUT, WORK, ("feed",), "layout: not reported"),
    "epsilon_told": (
        OTHER_EPSILON,
        SETTINGS,
        (ADAM, 0.0),
        "optimizer.epsilon: 1e-07 instead of 0.001",
    ),
    "dropout_told": (with_rate(0.4), SETTINGS, (SGD, 0.0), "dropout: 0.4 instead of 0.3"),
    "trainable_told": (
        ONE_LAYER_MORE,
        SETTINGS,
        (SGD, 0.0),
        "trainable: conv_same, conv_valid, logits instead of conv_valid, logits",
    ),
    "constants_of_another_rule": (MOMENTUM_BESIDE_ADAM, SETTINGS, (ADAM, 0.0), "constants"),
    "rate_untold": (FORM, OTHER, ("optimizer.lr",), "deviations"),
    "dropout_untold": (FORM, OTHER, ("dropout",), "deviations"),
    "frozen_layer_untold": (FORM, OTHER, ("trainable",), "deviations"),
    "bfloat16_untold": (ALWAYS_FLOAT32, OTHER, ("precision",), "deviations"),
    "chance_in_determinism": (
        drops_by_chance,
        DETERMINISTIC,
        (),
        "weights of the second training",
    ),
    "warp_ignored": (WARP_IGNORED, EACH_WARP, (), "pixels"),
    "one_warp_for_all": (FIRST_WARP, EACH_WARP, (), "pixels"),
    "colour_ignored": (COLOUR_IGNORED, "training_sees_shifted_colours_clipped", (), "pixels"),
    "axes_exchanged": (warping(exchanged_axes), WARPED, (WARPS["sheared"],), "pixels"),
    "half_a_pixel_off": (warping(half_a_pixel_off), WARPED, (WARPS["zoomed_out"],), "pixels"),
    "silent_training": (SILENT, UNRECORDED, ("train",), "DID NOT RAISE"),
    "silent_feeding": (SILENT, UNRECORDED, ("feed",), "DID NOT RAISE"),
}


@pytest.mark.parametrize(
    ("backend", "check", "given", "complaint"), SABOTAGES.values(), ids=SABOTAGES
)
def test_sabotage_is_noticed(
    backend: Sabotaged, check: str, given: tuple[object, ...], complaint: str
) -> None:
    """The check made for it fails on each flaw, and says where it looked."""
    with pytest.raises((AssertionError, pytest.fail.Exception), match=complaint):
        getattr(BackendContract(), f"test_{check}")(Subject(backend), *given)
