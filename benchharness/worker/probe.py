"""Probe of a cell: its work in float32, without dropout, deterministic, all numbers kept."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import epoch_order
from benchharness.errors import BenchError
from benchharness.fairness import settings
from benchharness.fairness.ledger import witness
from benchharness.fairness.micro import Rules
from benchharness.fairness.pixels import learnt_inputs
from benchharness.fairness.probe import Array, Probe, fold
from benchharness.fairness.tolerances import DEEP_FROM
from benchharness.measure.clock import PhaseClock
from benchharness.model.network import Dropout, Network
from benchharness.model.task import Batch, Execution, Scores, Task
from benchharness.model.work import Batches, Training
from benchharness.plugins import load_backend
from benchharness.suite.settings import FeedSettings
from benchharness.worker.context import TrialContext, load_context
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest
from benchharness.worker.trial import initial_values

Arrays = dict[str, Array]
# Images of a step, fewer where one costs much; full batches of an epoch.
_IMAGES, _FEW_IMAGES = 8, 4
_COSTLY_FLOPS = 1e9
_BATCHES = 3
_PIXEL_IMAGES = 4
# The last batch of an epoch, smaller as it is in most epochs, where batches have more than one.
_TAIL = 3
# Optimizer steps that are compared one by one: many where they are cheap.
_STEPS, _FEW_STEPS = 10, 3
_CHEAP_FLOPS = 3e10
# A movement of fewer roundings than these says nothing of the rule that moved it.
_ROUNDINGS = 30
# What the reference computes in float64 within seconds.
_REFERENCE_FLOPS = 1e11


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Probe each of the requested cells of one backend; one import serves them all."""
    rules: Rules | None = None
    for place, cell in enumerate(request.cells):
        reason = ""
        try:
            if rules is None:
                rules = Rules(load_backend(cell.plugin, options=cell.options))
            _probe(cell, rules, is_reference=request.is_reference)
        except BenchError as error:
            reason = str(error)
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or ["no message"]
            reason = f"{type(error).__name__}: {lines[0]}"
        channel.emit({"event": "probed", "place": place, "reason": reason})


def _probe(cell: WorkerRequest, rules: Rules, *, is_reference: bool) -> None:
    context = load_context(
        cell,
        backend=rules.backend,
        clock=PhaseClock(started_s=cell.spawned_s),
        emit=lambda event: None,
        metrics={},
    )
    probe = CellProbe(context=context, rules=rules, is_reference=is_reference).probe()
    file = Path(cell.probe_file)
    partial = file.with_suffix(".partial")
    probe.write(partial)
    partial.replace(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProbe:
    """One cell in one backend, about to be probed.

    Attributes:
        rules: Of the backend.
        is_reference: Whether the backend is the slow one that computes in float64.
    """

    context: TrialContext
    rules: Rules
    is_reference: bool

    def probe(self) -> Probe:
        """Do the cell's work and return every number that the certificate compares.

        Raises:
            UnsupportedError: The backend cannot honour a setting.
        """
        if isinstance(self.context.settings, FeedSettings):
            return self._feed()
        return self._learn()

    def _feed(self) -> Probe:
        network = self.context.workload.learner
        task = _deterministic_task(self.context.image_task(network, weights={}, trainable=()))
        batches = self._batches(self.context.prepared.images, task)
        task = replace(task, witness=witness(task.input_shape, steps=len(batches)))
        feeding, steps = self.context.backend.feed(task), _Steps()
        feeding.feed(batches, after_step=steps)
        consumed = feeding.consumed()
        effective = dict(feeding.settings())
        return Probe(
            arrays={
                "coverage": {"batches fed": np.array([steps.taken - len(batches)])},
                "labels": {"labels": consumed.labels.astype(np.int64)},
                "order": {"fingerprints": consumed.fingerprints.astype(np.float64)},
            },
            settings=effective,
            deviations=settings.deviations(effective, settings.stated(task)),
            is_deep=False,
        )

    def _learn(self) -> Probe:
        context, workload = self.context, self.context.workload
        weights = initial_values(context)
        arrays: dict[str, Arrays] = {}
        inputs: NDArray[Any] = context.prepared.images
        make_task = context.image_task
        is_deep = _depth(workload.learner) >= DEEP_FROM
        if workload.front is not None:
            if not self._can_afford(workload.front.flops_per_image() * len(self._ids())):
                return self._rules(arrays)
            inputs = self._features(workload.front, weights)
            arrays["features"] = {"features": fold(inputs[self._ids()])}
            make_task = context.feature_task
            is_deep |= _depth(workload.front) >= DEEP_FROM
        own = {name: weights[name] for name in workload.learner.parameters()}
        task = _deterministic_task(
            make_task(workload.learner, weights=own, trainable=workload.trainable)
        )
        batches = self._batches(inputs, task)
        task = replace(task, witness=witness(task.input_shape, steps=len(batches)))
        flops = self._images * workload.learner.train_flops_per_image(workload.trainable)
        steps = _STEPS if flops * _STEPS <= _CHEAP_FLOPS else _FEW_STEPS
        if not self._can_afford(2 * flops):
            return self._rules(arrays)
        if not self._can_afford((steps + _BATCHES + 2) * flops):
            steps = 0
        training = context.backend.train(task)
        effective = dict(training.settings())
        parts = [_answers(training, task, batches)]
        if steps:
            still = _without_dropout(task)
            if still.network != task.network:
                # One network at a time: the largest takes all the memory there is.
                del training
                training = context.backend.train(still)
            parts += [
                _steps(training, still, batches, steps=steps),
                _epoch(training, still, batches),
            ]
        for stage, values in ((stage, part[stage]) for part in parts for stage in part):
            if values:
                arrays.setdefault(stage, {}).update(values)
        del training
        if task.preprocessing is not None:
            few = batches[0].take(slice(_PIXEL_IMAGES))
            pixels = learnt_inputs(context.backend, few, task=_without_dropout(task))
            arrays["pixels"] = {"pixels": fold(pixels)}
        return replace(
            self._rules(arrays),
            settings=effective,
            deviations=settings.deviations(effective, settings.stated(task)),
            is_deep=is_deep,
        )

    def _rules(self, arrays: dict[str, Arrays]) -> Probe:
        """Return the probe with what the update rule and dropout do, on separate networks."""
        learner = self.context.workload.learner
        task = self.context.feature_task(learner, weights={}, trainable=())
        rule, execution = task.optimizer, _deterministic(task.execution)
        assert rule is not None
        still = replace(rule, weight_decay=0.0)
        arrays["optimizer"] = {"movement": self.rules.movement(still, execution=execution)}
        arrays["decay"] = {"movement": self.rules.decay(rule, execution=execution)}
        if rule != still:
            arrays["update"] = {"movement": self.rules.movement(rule, execution=execution)}
        dropouts = [layer for layer in task.network.layers if isinstance(layer, Dropout)]
        for rate in sorted({layer.rate for layer in dropouts if layer.rate}):
            for stage, values in self.rules.dropout(rate, execution=execution).items():
                arrays.setdefault(stage, {}).update(values)
        return Probe(arrays=arrays, settings={}, deviations=(), is_deep=False)

    def _features(self, front: Network, weights: Mapping[str, Array]) -> NDArray[np.float32]:
        """Return the front's outputs, by image id; zeros for images that are not looked at."""
        own = {name: weights[name] for name in front.parameters()}
        task = _deterministic_task(self.context.image_task(front, weights=own, trainable=()))
        extraction = self.context.backend.extract(task)
        ids = self._ids()
        features = np.zeros((len(self.context.prepared.images), *front.output_shape), np.float32)
        batches = [
            self.context.batches(self.context.prepared.images, part)[0]
            for part in np.split(ids, range(self._images, len(ids), self._images))
        ]
        for batch, outputs in zip(batches, extraction.extract(batches), strict=True):
            features[batch.ids] = outputs
        return features

    def _ids(self) -> NDArray[np.int64]:
        """Return the images that are looked at, in the order of the first epoch."""
        train = self.context.prepared.splits["train"]
        order = epoch_order(train, seed=self.context.request.seed, epoch=1)
        return order[: _BATCHES * self._images + min(_TAIL, self._images - 1)]

    @property
    def _images(self) -> int:
        is_costly = self.context.workload.flops_per_image > _COSTLY_FLOPS
        return min(_FEW_IMAGES if is_costly else _IMAGES, self.context.settings.batch_size)

    def _batches(self, inputs: NDArray[Any], task: Task) -> list[Batch]:
        """Return an epoch of a few batches, the last one smaller, augmented as the task says."""
        wanted, size = len(self._ids()), self._images
        planned = iter(self.context.epochs(inputs, task)[0])
        whole = next(planned)
        while len(whole) < wanted:
            whole = _joined(whole, next(planned))
        return [
            whole.take(slice(start, min(start + size, wanted))) for start in range(0, wanted, size)
        ]

    def _can_afford(self, flops: float) -> bool:
        return not self.is_reference or flops <= _REFERENCE_FLOPS


def _answers(training: Training, task: Task, batches: Sequence[Batch]) -> dict[str, Arrays]:
    """Return what a training gives before any step, with dropout layers as the cell has them."""
    initial = training.weights()
    plain = [replace(batch, warp=None) for batch in batches]
    images = sum(map(len, plain))
    gradients = training.gradients(batches[0])
    scores = training.evaluate(plain)
    return {
        # Of each array its number of values, and how many of them learn.
        "counts": {
            name: np.array([array.size, gradients[name].size if name in gradients else 0])
            for name, array in initial.items()
        },
        "weights": {
            name: _max_difference(initial[name], task.weights[name]) for name in task.weights
        },
        "logits": {"logits": fold(training.logits(plain[0]))},
        "gradients": {name: fold(gradient) for name, gradient in gradients.items()},
        "evaluation": {"loss": np.array([scores.loss])},
        "guesses": {"guesses": np.array([scores.top1 * images])},
        "coverage": {"images scored": np.array([scores.count - images])},
    }


def _steps(
    training: Training, task: Task, batches: Sequence[Batch], *, steps: int
) -> dict[str, Arrays]:
    """Return the losses along some steps from the start, and what has moved by then.

    Args:
        steps: Optimizer steps to take one by one, each an epoch.
    """
    # Where it starts is checked already, and reading a large network back takes seconds.
    initial = task.weights
    # Of few images there are fewer batches.
    full = batches[:_BATCHES]
    losses = _losses(training, [[full[step % len(full)]] for step in range(steps)])
    moved = training.weights()
    learning = {name for name in moved if name.split("/")[0] in task.trainable}
    return {
        "loss": {"loss": losses[:1]},
        "losses": {"losses": losses},
        "movement": {name: _movement(initial[name], moved[name], steps=steps) for name in learning},
        "frozen": {
            name: _max_difference(moved[name], initial[name])
            for name in moved
            if name not in learning
        },
    }


def _epoch(training: Training, task: Task, batches: Sequence[Batch]) -> dict[str, Arrays]:
    """Return what a training consumes of an epoch, and how far its last step moves."""
    training.reset()
    if len(batches) > 1:
        _losses(training, [batches[:-1]])
    before = training.weights()
    training.reset()
    scores, steps = _trained(training, [batches])
    consumed, images = training.consumed(), sum(map(len, batches))
    after = training.weights()
    learning = [name for name in after if name.split("/")[0] in task.trainable]
    return {
        "last step": {name: _movement(before[name], after[name], steps=1) for name in learning},
        "coverage": {
            "images trained on": np.array([scores[0].count - images]),
            "steps": np.array([steps - len(batches)]),
        },
        "labels": {"labels": consumed.labels.astype(np.int64)},
        "order": {"fingerprints": consumed.fingerprints.astype(np.float64)},
    }


def _movement(before: Array, after: Array, *, steps: int) -> Array:
    """Return how far an array has moved, with what rounding alone can move it as one value more.

    A weight is rounded to 24 bits at each step. Beside movements that small, distances are taken
    over the rounding.
    """
    rounding = np.sqrt(steps) * 2.0**-24 * float(np.linalg.norm(before.astype(np.float64)))
    return np.append(fold(after - before), _ROUNDINGS * rounding)


@dataclass(slots=True)
class _Steps:
    """Counts steps as they are handed to the device."""

    taken: int = 0

    def __call__(self) -> None:
        """Count a step."""
        self.taken += 1


def _losses(training: Training, epochs: Sequence[Batches]) -> Array:
    scores, _ = _trained(training, epochs)
    return np.array([score.loss for score in scores])


def _trained(training: Training, epochs: Sequence[Batches]) -> tuple[list[Scores], int]:
    """Return the scores of each epoch, and how many steps were handed over."""
    scores, steps = list[Scores](), _Steps()
    training.train(epochs, after_step=steps, after_epoch=scores.append)
    return scores, steps.taken


def _max_difference(array: Array, other: Array) -> Array:
    """Return the largest difference; infinite where the shapes are not even the same."""
    if array.shape != other.shape:
        return np.array([np.inf])
    return np.array([np.abs(array - other).max(initial=0)], np.float64)


def _deterministic_task(task: Task) -> Task:
    """Return the task in float32, with deterministic kernels."""
    return replace(task, execution=_deterministic(task.execution))


def _without_dropout(task: Task) -> Task:
    layers = tuple(
        replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
        for layer in task.network.layers
    )
    return replace(task, network=replace(task.network, layers=layers))


def _deterministic(execution: Execution) -> Execution:
    return replace(execution, precision="float32", is_deterministic=True)


def _depth(network: Network) -> int:
    return len(network.learning_layers())


def _joined(batch: Batch, other: Batch) -> Batch:
    warp = batch.warp
    if warp is not None and other.warp is not None:
        warp = replace(
            warp,
            affine=np.concatenate([warp.affine, other.warp.affine]),
            colour=np.concatenate([warp.colour, other.warp.colour]),
        )
    return replace(
        batch,
        ids=np.concatenate([batch.ids, other.ids]),
        inputs=np.concatenate([batch.inputs, other.inputs]),
        labels=np.concatenate([batch.labels, other.labels]),
        warp=warp,
    )
