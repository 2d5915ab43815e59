"""Trial inside its worker: the backend's work of a strategy, timed, checked and scored."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness import __version__
from benchharness.measure.accuracy import packed
from benchharness.measure.blocks import Block, BlockTimer, best_epoch, seconds, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.model.task import Batch, Task
from benchharness.model.work import Batches, Setting, Training
from benchharness.plugins import find, load_backend
from benchharness.results.record import UNCONFIRMED
from benchharness.suite.settings import FeedSettings, TrainingSettings
from benchharness.weights.initial import draw_parameter
from benchharness.weights.pretrained import Pretrained, read_pretrained
from benchharness.weights.store import read_arrays, write_arrays
from benchharness.worker.calibration import TrainingCheck, calibrate, check_feeding
from benchharness.worker.checks import BatchCheck, answers_to, score_trouble
from benchharness.worker.context import TrialContext, Weights, load_context, rows_of
from benchharness.worker.features import front_features
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest
from benchharness.worker.training_loop import (
    Metrics,
    TrainingLoop,
    training_metrics,
    warmup_epochs,
)

# A compiler takes longer for its first step than so many seconds, and than so many steps.
_COMPILING_S, _COMPILING_STEPS = 0.25, 3
# Shorter steps are not worth sharing out among threads.
_SHARED_STEP_S = 0.005


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Carry out one trial."""
    with channel.clock.phase("import"):
        backend = load_backend(request.plugin, options=request.options)
    versions = {**backend.versions(), "python": platform.python_version()}
    modules = _modules(request.plugin, versions)
    channel.emit({"event": "versions", "versions": versions, "modules": modules})
    with channel.clock.phase("data"):
        context = load_context(request, backend, channel)
    for split in ("train", "validation", "test"):
        context.metrics[f"{split}_count"] = len(context.prepared.splits[split])
    if isinstance(context.settings, FeedSettings):
        feed(context)
    else:
        train(context, context.settings)
        calibrate(context)


def _modules(name: str, versions: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return version and file of what is imported of the core, the plugin and its framework."""
    entry = find(name)
    plugin, release = entry.module.partition(".")[0], entry.dist.version if entry.dist else ""
    known = {"benchharness": __version__, plugin: release, **versions}
    files = {
        name: getattr(sys.modules.get(name.replace("-", "_")), "__file__", None) for name in known
    }
    return {name: {"version": known[name], "file": file} for name, file in files.items() if file}


def feed(context: TrialContext) -> None:
    """Strategy ``dataset``: bring every training image to the device, and nothing more."""
    images, count = context.prepared.images, len(context.prepared.splits["train"])
    with context.clock.phase("build"):
        task = context.image_task(context.workload.learner, weights={}, trainable=())
        task = context.timed_task(task, images)
        feeding = context.backend.feed(task)
        plan = context.epochs(rows_of(images, feeding), task)
    context.report_settings(task, feeding)
    check, progress = BatchCheck(context, task, images, plan), context.reporter("feed", count)
    timed: list[Sequence[Block]] = []
    timer = BlockTimer(
        synchronize=feeding.synchronize,
        on_edge=lambda blocks: progress.at_edge(len(timed) + 1, blocks),
    )

    def feed_shortly() -> None:
        for batches in warmup_epochs(plan[0]):
            feeding.feed(batches, after_step=lambda: None)
            feeding.consumed()
        feeding.synchronize()

    with context.clock.phase("compile"):
        feed_shortly()
        context.warm_device(feed_shortly)
    with context.clock.phase("feed"):
        for epoch, batches in enumerate(plan, start=1):
            context.pause()
            context.report_timing(True)
            timer.start(steps=len(batches))
            feeding.feed(batches, after_step=timer.step)
            # Reading back is a wait that no backend can fail to make; it is part of the epoch.
            consumed = feeding.consumed()
            timed.append(timer.stop())
            context.report_timing(False)
            check.check_epoch(epoch, consumed)
            check.compare_counts(epoch, {"batches": sum(block.steps for block in timed[-1])})
            context.emit({"event": "blocks", "epoch": epoch, "blocks": timed[-1]})
    check.report()
    blocks = [block for epoch in timed for block in epoch]
    feed_s = seconds(blocks)
    context.clock.keep("feed", feed_s, rest="overhead")
    check_feeding(context, task, feeding, timed, plan[0])
    context.metrics.update(
        step_percentiles(blocks),
        feed_images_per_s=count * len(timed) / feed_s,
        epoch_s=feed_s / len(timed),
        best_epoch_s=best_epoch(timed),
    )


def train(context: TrialContext, settings: TrainingSettings) -> None:
    """Strategies ``simple_cnn``, ``bottleneck`` and ``fine_tune``: train, then test once."""
    workload, splits = context.workload, context.prepared.splits
    with context.clock.phase("data"):
        weights = initial_values(context)
    features = front_features(context, workload.front, weights) if workload.front else None
    inputs = context.prepared.images if features is None else features.values
    make_task = context.image_task if features is None else context.feature_task
    with context.clock.phase("build"):
        task = make_task(workload.learner, weights=weights, trainable=workload.trainable)
        task = context.timed_task(task, inputs)
        training = context.backend.train(task)
        rows = rows_of(inputs, training)
        plan = context.epochs(rows, task)
    context.report_settings(task, training)
    check = BatchCheck(context, task, inputs, plan)
    loop = TrainingLoop(
        training=training,
        clock=context.clock,
        validation=context.batches(rows, splits["validation"]),
        on_epoch=lambda epoch: context.emit({"event": "epoch", **asdict(epoch)}),
        on_consumed=check.check_epoch,
        on_counts=check.compare_counts,
        on_timing=context.report_timing,
        on_edge=context.reporter("train", len(splits["train"])).at_edge,
        before_epoch=context.pause,
    )
    with context.clock.phase("compile"):
        loop.warm_up(warmup_epochs(plan[0]), warm=context.warm_device)
    with context.clock.phase("train"):
        loop.run(plan)
    context.report_settings(task, training, **observed_settings(context, task, loop))
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
        # Images as they are evaluated: in no drawn order, and not augmented.
        probe=(loop.validation or context.batches(inputs, splits["train"]))[0],
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
    blocks = [block for epoch in loop.epochs for block in epoch.blocks]
    if execution.compile:
        first_s, second_s = loop.warm_steps_s
        # A busy machine makes one step long, and leaves some block of the training alone.
        second_s = min([second_s, *(block.seconds / block.steps for block in blocks)])
        if first_s < max(second_s + _COMPILING_S, _COMPILING_STEPS * second_s):
            observed["compile"] = UNCONFIRMED
    step_s = loop.train_s / sum(block.steps for block in blocks)
    is_shared = step_s >= _SHARED_STEP_S and sharing > 0
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


def initial_values(context: TrialContext) -> Weights:
    """Return the arrays of the trial's networks: pretrained, from a trained head, or drawn."""
    workload, request = context.workload, context.request
    given: dict[str, NDArray[np.float32]] = {}
    if workload.backbone is not None and request.pretrained is not None:
        pretrained = Pretrained.from_dict(request.pretrained)
        if not pretrained.is_random:
            given |= read_pretrained(pretrained, workload.backbone)
    if request.head_file is not None:
        given |= read_arrays(Path(request.head_file))
    networks = [network for network in (workload.front, workload.learner) if network]
    # In the native track, what learns and is not given starts as the framework would start it.
    own = workload.learner.parameters() if request.native is not None else {}
    return {
        name: given[name] if name in given else draw_parameter(p, name=name, seed=request.seed)
        for network in networks
        for name, p in network.parameters().items()
        if name in given or name not in own
    }


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
        flops = context.workload.learner.flops_per_image()
        check.note(score_trouble(training, task, batches, answers, seconds=took_s, flops=flops))
    context.emit({"event": "tested", "bits": packed(answers.hits)})
    scores = answers.scores
    return {"test_loss": scores.loss, "test_top1": scores.top1, "test_right": scores.right}
