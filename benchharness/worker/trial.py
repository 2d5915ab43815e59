"""Trial inside its worker: the backend's work of a strategy, timed, checked and scored."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness import __version__
from benchharness.measure.accuracy import packed
from benchharness.measure.clock import now_s
from benchharness.measure.machine import recorded_variables
from benchharness.model.network import Network
from benchharness.model.task import Batch, Task
from benchharness.model.work import Batches, Setting, Training
from benchharness.plugins import find, load_backend
from benchharness.results.record import UNCONFIRMED
from benchharness.suite.settings import BottleneckSettings, FeedSettings, TrainingSettings
from benchharness.weights.initial import draw_parameter
from benchharness.weights.pretrained import Pretrained, read_pretrained
from benchharness.weights.store import read_arrays, write_arrays
from benchharness.worker.batch_check import BatchCheck, with_fingerprints
from benchharness.worker.calibration import TrainingCheck, calibrate
from benchharness.worker.context import TrialContext, Weights, load_context, rows_of
from benchharness.worker.features import Features, compute_features, content_key, load_features
from benchharness.worker.feeding import feed
from benchharness.worker.progress import Channel, EpochBarrier, ProgressReporter
from benchharness.worker.request import WorkerRequest
from benchharness.worker.scoring import ScoreCheck, answers_to
from benchharness.worker.training_loop import (
    EpochCounts,
    Metrics,
    TrainingLoop,
    training_metrics,
    warmup_batches,
    warmup_epochs,
)

# A compiler takes longer for its first step than so many seconds, and than so many steps.
_COMPILING_S, _COMPILING_STEPS = 0.25, 3
# Shorter steps are not worth sharing out among threads.
_SHARED_STEP_S = 0.005


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Carry out one trial.

    Raises:
        UnsupportedError: The backend cannot honour a setting.
        DivergedError: The loss is no longer a number.
        BenchError: Data, weights or plugin are not what they should be.
    """
    clock, emit = channel.clock, channel.emit
    with clock.phase("import"):
        backend = load_backend(request.plugin, options=request.options)
    versions = {**backend.versions(), "python": platform.python_version()}
    modules = _modules(find(request.plugin), versions)
    emit({"event": "versions", "versions": versions, "modules": modules})
    with clock.phase("data"):
        context = load_context(
            request, backend=backend, clock=clock, emit=emit, metrics=channel.metrics
        )
    for split in ("train", "validation", "test"):
        context.metrics[f"{split}_count"] = len(context.prepared.splits[split])
    barrier = EpochBarrier(clock=clock, emit=emit, resume_fd=channel.resume_fd)
    if isinstance(context.settings, FeedSettings):
        feed(context, epochs=context.settings.epochs, barrier=barrier)
    else:
        train(context, context.settings, barrier)
        calibrate(context)


def _modules(entry: EntryPoint, versions: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return version and file of what is imported of the core, the plugin and its framework."""
    plugin = entry.module.partition(".")[0]
    release = entry.dist.version if entry.dist else ""
    known = {"benchharness": __version__, plugin: release, **versions}
    files = {
        name: getattr(sys.modules.get(name.replace("-", "_")), "__file__", None) for name in known
    }
    return {name: {"version": known[name], "file": file} for name, file in files.items() if file}


def train(context: TrialContext, settings: TrainingSettings, barrier: EpochBarrier) -> None:
    """Strategies ``simple_cnn``, ``bottleneck`` and ``fine_tune``: train, then test once."""
    workload = context.workload
    with context.clock.phase("data"):
        weights = initial_values(context)
    features = front_features(context, workload.front, weights) if workload.front else None
    inputs = context.prepared.images if features is None else features.values
    make_task = context.image_task if features is None else context.feature_task
    with context.clock.phase("build"):
        parameters = workload.learner.parameters()
        own = {name: weights[name] for name in parameters if name in weights}
        task = make_task(workload.learner, weights=own, trainable=workload.trainable)
        task = context.resident(task, inputs)
        task = with_fingerprints(task, steps=len(context.epochs(inputs, task)[0]))
        training = context.backend.train(task)
        rows = rows_of(inputs, training)
        plan = context.epochs(rows, task)
    context.report_settings(task, training)
    check = BatchCheck(context=context, task=task, inputs=inputs)
    loop = TrainingLoop(
        training=training,
        clock=context.clock,
        validation=context.batches(rows, context.prepared.splits["validation"]),
        on_epoch=lambda epoch: context.emit({"event": "epoch", **epoch.as_dict()}),
        on_consumed=lambda epoch, consumed: check.check_epoch(epoch, plan[epoch - 1], consumed),
        on_counts=lambda counts: _compare_counts(counts, context, check),
        on_timing=context.report_timing,
        on_edge=ProgressReporter.of(
            context, phase="train", images=len(context.prepared.splits["train"])
        ).at_edge,
        before_epoch=barrier.wait,
    )
    with context.clock.phase("compile"):
        loop.warm_up(warmup_epochs(plan[0]), warm=context.warm_device)
    with context.clock.phase("train"):
        loop.run(plan)
    observed = observed_settings(context, task, loop)
    context.report_settings(task, training, observed=observed)
    # What a framework does around its epochs is no training.
    context.clock.keep("train", loop.train_s, rest="overhead")
    tested = _test(context, training, task, inputs, check)
    check.report()
    context.keep_peak_memory()
    if context.request.weights_file is not None:
        # Another benchmark starts from what was learnt.
        with context.clock.phase("save"):
            write_arrays(Path(context.request.weights_file), training.weights())
    # From here on nothing needs what was learnt: steps may be repeated, and no copy is kept.
    timing_check = TrainingCheck(
        context=context,
        loop=loop,
        batch=replayed_batch(inputs, task, plan[0]),
        probe=(loop.validation or plain_batches(context, inputs))[0],
        # A loader of folders augments as the framework does, which no batch here can say.
        is_replayed=not (task.files and task.files.folder),
    )
    computation = timing_check.run()
    summary = training_metrics(
        loop, target_top1=settings.target_top1, is_waiting_known=task.files is None
    )
    context.metrics.update(summary | tested | computation)


def observed_settings(context: TrialContext, task: Task, loop: TrainingLoop) -> dict[str, Setting]:
    """Return the settings of speed as the work shows them, whatever the framework reports.

    Compiling takes time in the first step; where it did not, nothing shows that it was done.
    Threads are counted by their processor time, where a step is long enough to be shared out.
    There may be fewer than were asked for, and more than work at once: some frameworks have other
    threads for the way back through the network. One alone is no sign of several.
    """
    observed: dict[str, Setting] = {}
    execution, sharing = task.execution, context.cpu.sharing
    if execution.compile:
        first_s, second_s = loop.warm_steps_s
        if first_s < max(second_s + _COMPILING_S, _COMPILING_STEPS * second_s):
            observed["compile"] = UNCONFIRMED
    steps = sum(block.steps for epoch in loop.epochs for block in epoch.blocks)
    is_shared = loop.train_s / steps >= _SHARED_STEP_S and sharing > 0
    reported = loop.training.settings().get("threads")
    if execution.device == "cpu" and is_shared and isinstance(reported, int):
        is_alone = sharing == 1 < min(reported, execution.threads)
        observed["threads"] = UNCONFIRMED if is_alone else min(reported, sharing)
    # It overrides in silence what a framework asks of NVIDIA's libraries, and says it asks.
    is_overridden = "NVIDIA_TF32_OVERRIDE" in os.environ
    if execution.device == "gpu" and is_overridden and execution.precision != "bfloat16":
        observed |= {"precision": UNCONFIRMED, "tf32": UNCONFIRMED}
    return observed


def replayed_batch(inputs: NDArray[Any], task: Task, batches: Batches) -> Batch:
    """Return the first batch of an epoch, with its pixels even where training has or loads them."""
    batch = batches[0]
    if batch.inputs.size or (task.files and task.files.folder):
        return batch
    return replace(batch, inputs=np.ascontiguousarray(inputs[batch.ids]))


def plain_batches(context: TrialContext, inputs: NDArray[Any]) -> Batches:
    """Return the training images as they are evaluated: in no drawn order, and not augmented."""
    return context.batches(inputs, context.prepared.splits["train"])


def initial_values(context: TrialContext) -> Weights:
    """Return the arrays of the trial's networks: pretrained, from a trained head, or drawn."""
    workload, seed = context.workload, context.request.seed
    given: dict[str, NDArray[np.float32]] = {}
    if workload.backbone is not None and context.request.pretrained is not None:
        pretrained = Pretrained.from_dict(context.request.pretrained)
        if not pretrained.is_random:
            given |= read_pretrained(pretrained, workload.backbone)
    if context.request.head_file is not None:
        given |= read_arrays(Path(context.request.head_file))
    networks = [network for network in (workload.front, workload.learner) if network]
    parameters = {name: p for network in networks for name, p in network.parameters().items()}
    # In the native track, what learns and is not given starts as the framework would start it.
    own = workload.learner.parameters() if context.request.native is not None else {}
    return {
        name: given[name] if name in given else draw_parameter(parameter, name=name, seed=seed)
        for name, parameter in parameters.items()
        if name in given or name not in own
    }


def front_features(context: TrialContext, front: Network, weights: Weights) -> Features:
    """Return the front's outputs for every image, computed now or read from the cache."""
    own = {name: weights[name] for name in front.parameters()}
    task = context.image_task(front, weights=own, trainable=())
    folder = Path(context.request.features_folder)
    settings = context.settings
    may_reuse = not isinstance(settings, BottleneckSettings) or settings.reuse_features
    with context.clock.phase("data"):
        key = content_key(_features_identity(context, task))
        features = load_features(folder, key) if may_reuse else None
    if features is None:
        features = _extract(context, task, folder=folder, key=key)
        context.clock.keep("extract", features.seconds, rest="store")
    context.metrics["extract_s"] = features.seconds
    context.metrics["extract_reused"] = features.is_reused
    context.metrics["extract_images_per_s"] = len(features.values) / features.seconds
    return features


def _extract(context: TrialContext, task: Task, *, folder: Path, key: str) -> Features:
    images = context.prepared.images
    everything = context.batches(images, np.arange(len(images)))
    with context.clock.phase("build"):
        extraction = context.backend.extract(task)
    with context.clock.phase("compile"):

        def extract() -> None:
            for _ in extraction.extract(warmup_batches(everything)):
                extraction.synchronize()

        extract()
        context.warm_device(extract)
    with context.clock.phase("extract"):
        return compute_features(
            folder,
            key,
            extraction=extraction,
            batches=everything,
            shape=task.network.output_shape,
            now=now_s,
            progress=ProgressReporter.of(context, phase="extract", images=len(images)),
        )


def _features_identity(context: TrialContext, task: Task) -> dict[str, Any]:
    pretrained = context.request.pretrained or {}
    # Weights that are drawn depend on the seed, learnt ones do not.
    digest = pretrained.get("digest", "random")
    return {
        "data": context.prepared.digest,
        "layers": [repr(layer) for layer in task.network.layers],
        "weights": digest if digest != "random" else f"random {context.request.seed}",
        "preprocessing": context.settings.preprocessing,
        "fitted": repr(context.preprocessing),
        "execution": asdict(task.execution),
        "backend": [context.request.plugin, dict(context.request.options)],
        "versions": dict(context.backend.versions()),
        "variables": recorded_variables(os.environ),
    }


def _compare_counts(counts: EpochCounts, context: TrialContext, check: BatchCheck) -> None:
    """Note an epoch's steps and images where they are not as many as planned."""
    train, validation = (len(context.prepared.splits[name]) for name in ("train", "validation"))
    steps = -(-train // context.settings.batch_size)
    check.compare_count(f"epoch {counts.epoch}: steps", counts.steps, planned=steps)
    check.compare_count(f"epoch {counts.epoch}: images trained on", counts.images, planned=train)
    check.compare_count(
        f"epoch {counts.epoch}: images validated", counts.validated, planned=validation
    )


def _test(
    context: TrialContext, training: Training, task: Task, inputs: NDArray[Any], check: BatchCheck
) -> Metrics:
    """Score the test images, once: a second look would select by them.

    From logits, which show which images are right.
    """
    ids = context.prepared.splits["test"]
    if not len(ids):
        return {}
    batches = context.batches(inputs, ids)
    with context.clock.phase("test"):
        began_s = now_s()
        answers = answers_to(batches, training=training, output=task.output)
        took_s = now_s() - began_s
    with context.clock.phase("ledger"):
        score_check = ScoreCheck(
            training=training,
            task=task,
            batches=batches,
            answers=answers,
            seconds=took_s,
            flops=context.workload.learner.flops_per_image(),
        )
        check.note(score_check.trouble())
    context.emit({"event": "tested", "bits": packed(answers.hits)})
    scores = answers.scores
    return {"test_loss": scores.loss, "test_top1": scores.top1, "test_right": scores.right}
