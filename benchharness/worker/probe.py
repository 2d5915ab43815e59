"""Probe of a cell: its work in float32, without dropout, deterministic, all numbers kept."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import epoch_order
from benchharness.errors import BenchError
from benchharness.fairness.ledger import fingerprint_spec
from benchharness.fairness.micro import ROUNDINGS, Rules, learnt_inputs
from benchharness.fairness.probe import Array, Probe, fold
from benchharness.fairness.settings import deviations, stated
from benchharness.fairness.tolerances import DEEP_FROM
from benchharness.measure.clock import PhaseClock
from benchharness.model.network import Dropout, Network
from benchharness.model.task import Batch, ConsumedBatches, Scores, Task
from benchharness.model.work import Batches, Setting, Training, Work
from benchharness.plugins import load_backend
from benchharness.suite.settings import FeedSettings
from benchharness.worker.context import TrialContext, load_context
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest
from benchharness.worker.trial import initial_values

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
# What the reference computes in float64 within seconds.
_REFERENCE_FLOPS = 1e11


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Probe each of the requested cells of one backend; one import serves them all."""
    rules: Rules | None = None
    for place, cell in enumerate(request.cells):
        reason = ""
        try:
            rules = rules or Rules(load_backend(cell.plugin, options=cell.options))
            clock = PhaseClock(started_s=cell.spawned_s)
            silent = Channel(emit=lambda event: None, clock=clock)
            context = _small(load_context(cell, rules.backend, silent))
            file = Path(cell.probe_file)
            partial = file.with_suffix(".partial")
            probe = CellProbe(context=context, rules=rules, is_reference=request.is_reference)
            probe.probe().write(partial)
            partial.replace(file)
        except BenchError as error:
            reason = str(error)
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or ["no message"]
            reason = f"{type(error).__name__}: {lines[0]}"
        channel.emit({"event": "probed", "place": place, "reason": reason})


def _small(context: TrialContext) -> TrialContext:
    """Return a cell's context as it is probed: few images in a batch, float32, deterministic."""
    most = _FEW_IMAGES if context.workload.flops_per_image > _COSTLY_FLOPS else _IMAGES
    images = min(most, context.settings.batch_size)
    settings = context.settings.model_copy(update={"batch_size": images, "precision": "float32"})
    return replace(context, settings=settings, is_deterministic=True)


@dataclass(slots=True, kw_only=True)
class CellProbe:
    """One cell in one backend, about to be probed; the reference is slow, for it is in float64."""

    context: TrialContext
    rules: Rules
    is_reference: bool
    _arrays: dict[str, dict[str, Array]] = field(default_factory=lambda: defaultdict(dict))
    _settings: Mapping[str, Setting] = field(default_factory=dict)
    _deviations: tuple[str, ...] = ()
    _is_deep: bool = False

    def probe(self) -> Probe:
        """Do the cell's work and return every number that the certificate compares."""
        if isinstance(self.context.settings, FeedSettings):
            self._feed()
        else:
            self._learn()
            self._try_rules()
        return Probe(
            arrays={stage: values for stage, values in self._arrays.items() if values},
            settings=self._settings,
            deviations=self._deviations,
            is_deep=self._is_deep,
        )

    def _feed(self) -> None:
        context, taken = self.context, list[None]()
        task = context.image_task(context.workload.learner, weights={}, trainable=())
        task, batches = self._planned(task, context.prepared.images)
        feeding = context.backend.feed(task)
        feeding.feed(batches, after_step=lambda: taken.append(None))
        self._keep_consumed(feeding.consumed())
        self._arrays["coverage"]["batches fed"] = np.array([len(taken) - len(batches)])
        self._keep_settings(task, feeding)

    def _learn(self) -> None:
        """Keep what the network answers and learns, as far as there is time for it."""
        context, workload = self.context, self.context.workload
        weights = initial_values(context)
        inputs: NDArray[Any] = context.prepared.images
        make_task = context.image_task
        if workload.front is not None:
            if not self._can_afford(workload.front.flops_per_image() * len(self._ids())):
                return
            inputs = self._features(workload.front, weights)
            self._arrays["features"]["features"] = fold(inputs[self._ids()])
            make_task = context.feature_task
        task = make_task(workload.learner, weights=weights, trainable=workload.trainable)
        task, batches = self._planned(task, inputs)
        flops = workload.learner.train_flops_per_image(workload.trainable)
        flops *= context.settings.batch_size
        steps = _STEPS if flops * _STEPS <= _CHEAP_FLOPS else _FEW_STEPS
        if not self._can_afford(2 * flops):
            return
        training = context.backend.train(task)
        networks = [network for network in (workload.front, workload.learner) if network]
        self._is_deep = any(len(network.learning_layers()) >= DEEP_FROM for network in networks)
        self._keep_settings(task, training)
        self._keep_answers(training, task, batches)
        layers = [
            replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
            for layer in task.network.layers
        ]
        still = replace(task, network=replace(task.network, layers=tuple(layers)))
        if self._can_afford((steps + _BATCHES + 2) * flops):
            if still.network != task.network:
                # One network at a time: the largest takes all the memory there is.
                del training
                training = context.backend.train(still)
            self._keep_steps(training, still, batches, steps=steps)
            self._keep_epoch(training, still, batches)
        del training
        if task.preprocessing is not None:
            few = batches[0].take(slice(_PIXEL_IMAGES))
            pixels = learnt_inputs(context.backend, few, task=still)
            self._arrays["pixels"]["pixels"] = fold(pixels)

    def _try_rules(self) -> None:
        """Keep what the update rule and dropout do, on separate networks."""
        rules, learner = self.rules, self.context.workload.learner
        task = self.context.feature_task(learner, weights={}, trainable=())
        rule, execution = task.optimizer, task.execution
        assert rule is not None
        still = replace(rule, weight_decay=0.0)
        self._arrays["optimizer"]["movement"] = rules.movement(still, execution)
        self._arrays["decay"]["movement"] = rules.decay(rule, execution)
        if rule != still:
            self._arrays["update"]["movement"] = rules.movement(rule, execution)
        for rate in sorted({layer.rate for layer in learner.layers if isinstance(layer, Dropout)}):
            if rate:
                for stage, values in rules.dropout(rate, execution).items():
                    self._arrays[stage] |= values

    def _features(self, front: Network, weights: Mapping[str, Array]) -> NDArray[np.float32]:
        """Return the front's outputs, by image id; zeros for images that are not looked at."""
        context, ids = self.context, self._ids()
        task = context.image_task(front, weights=weights, trainable=())
        extraction = context.backend.extract(task)
        features = np.zeros((len(context.prepared.images), *front.output_shape), np.float32)
        batches = context.batches(context.prepared.images, ids)
        for batch, outputs in zip(batches, extraction.extract(batches), strict=True):
            features[batch.ids] = outputs
        return features

    def _planned(self, task: Task, inputs: NDArray[Any]) -> tuple[Task, list[Batch]]:
        """Return a task that records an epoch of a few batches, the last one smaller, and those."""
        wanted, images = len(self._ids()), self.context.settings.batch_size
        epoch = self.context.epochs(inputs, task)[0]
        batches = [
            epoch[start // images].take(slice(wanted - start)) for start in range(0, wanted, images)
        ]
        spec = fingerprint_spec(task.input_shape, steps=len(batches))
        return replace(task, fingerprint_spec=spec), batches

    def _ids(self) -> NDArray[np.int64]:
        """Return the images that are looked at, in the order of the first epoch."""
        train = self.context.prepared.splits["train"]
        order = epoch_order(train, seed=self.context.request.seed, epoch=1)
        images = self.context.settings.batch_size
        return order[: _BATCHES * images + min(_TAIL, images - 1)]

    def _can_afford(self, flops: float) -> bool:
        return not self.is_reference or flops <= _REFERENCE_FLOPS

    def _keep_settings(self, task: Task, work: Work) -> None:
        self._settings = dict(work.settings())
        self._deviations = deviations(self._settings, stated(task))

    def _keep_consumed(self, consumed: ConsumedBatches) -> None:
        self._arrays["labels"]["labels"] = consumed.labels.astype(np.int64)
        self._arrays["order"]["fingerprints"] = consumed.fingerprints.astype(np.float64)

    def _keep_answers(self, training: Training, task: Task, batches: Sequence[Batch]) -> None:
        """Keep what a training gives before any step, its dropout layers as the cell has them."""
        initial = training.weights()
        plain = [replace(batch, warp=None) for batch in batches]
        images = sum(map(len, plain))
        gradients = training.gradients(batches[0])
        scores = training.evaluate(plain)
        arrays = self._arrays
        # Of each array its number of values, and how many of them learn.
        arrays["counts"] = {
            name: np.array([array.size, gradients[name].size if name in gradients else 0])
            for name, array in initial.items()
        }
        arrays["weights"] = {
            name: _max_difference(initial[name], task.weights[name]) for name in task.weights
        }
        arrays["logits"]["logits"] = fold(training.logits(plain[0]))
        arrays["gradients"] = {name: fold(gradient) for name, gradient in gradients.items()}
        arrays["evaluation"]["loss"] = np.array([scores.loss])
        arrays["guesses"]["guesses"] = np.array([scores.top1 * images])
        arrays["coverage"]["images scored"] = np.array([scores.count - images])

    def _keep_steps(
        self, training: Training, task: Task, batches: Sequence[Batch], *, steps: int
    ) -> None:
        """Keep the losses along some steps from the start, each an epoch, and what has moved."""
        # Where it starts is checked already, and reading a large network back takes seconds.
        initial = task.weights
        # Of few images there are fewer batches.
        full = batches[:_BATCHES]
        scores, _ = _trained(training, [[full[step % len(full)]] for step in range(steps)])
        losses, moved = np.array([score.loss for score in scores]), training.weights()
        self._arrays["loss"]["loss"], self._arrays["losses"]["losses"] = losses[:1], losses
        for name, array in moved.items():
            if name.split("/")[0] in task.trainable:
                self._arrays["movement"][name] = _movement(initial[name], array, steps=steps)
            else:
                self._arrays["frozen"][name] = _max_difference(array, initial[name])

    def _keep_epoch(self, training: Training, task: Task, batches: Sequence[Batch]) -> None:
        """Keep what a training consumes of an epoch, and how far its last step moves."""
        training.reset()
        if len(batches) > 1:
            _trained(training, [batches[:-1]])
        before = training.weights()
        training.reset()
        scores, steps = _trained(training, [batches])
        self._keep_consumed(training.consumed())
        images = sum(map(len, batches))
        self._arrays["coverage"] |= {
            "images trained on": np.array([scores[0].count - images]),
            "steps": np.array([steps - len(batches)]),
        }
        self._arrays["last step"] = {
            name: _movement(before[name], array, steps=1)
            for name, array in training.weights().items()
            if name.split("/")[0] in task.trainable
        }


def _trained(training: Training, epochs: Sequence[Batches]) -> tuple[list[Scores], int]:
    """Return the scores of each epoch, and how many steps were handed over."""
    scores, steps = list[Scores](), list[None]()
    training.train(epochs, after_step=lambda: steps.append(None), after_epoch=scores.append)
    return scores, len(steps)


def _movement(before: Array, after: Array, *, steps: int) -> Array:
    """Return how far an array has moved, with what rounding alone can move it as one value more.

    A weight is rounded to 24 bits at each step. Beside movements that small, distances are taken
    over the rounding.
    """
    rounding = np.sqrt(steps) * 2.0**-24 * float(np.linalg.norm(before.astype(np.float64)))
    return np.append(fold(after - before), ROUNDINGS * rounding)


def _max_difference(array: Array, other: Array) -> Array:
    """Return the largest difference; infinite where the shapes are not even the same."""
    if array.shape != other.shape:
        return np.array([np.inf])
    return np.array([np.abs(array - other).max(initial=0)], np.float64)
