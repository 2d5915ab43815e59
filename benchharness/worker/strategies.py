"""Strategies, each carried out by the backend's three kinds of work: feed, extract, train."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.measure.accuracy import packed
from benchharness.measure.clock import now_s
from benchharness.measure.machine import recorded_variables
from benchharness.model.network import Network
from benchharness.model.task import Batch, Task
from benchharness.model.work import Batches, Training
from benchharness.suite.settings import BottleneckSettings, FeedSettings, TrainingSettings
from benchharness.weights.initial import draw_parameter
from benchharness.weights.pretrained import Pretrained, read_pretrained
from benchharness.weights.store import read_arrays, write_arrays
from benchharness.worker.barrier import EpochBarrier
from benchharness.worker.batch_check import BatchCheck, with_fingerprints
from benchharness.worker.calibration import TrainingCheck, calibrate, note_memory
from benchharness.worker.context import Metrics, TrialContext, Weights, rows_of
from benchharness.worker.features import Features, compute_features, content_key, load_features
from benchharness.worker.feeding import feed
from benchharness.worker.progress import ProgressReporter
from benchharness.worker.scoring import ScoreCheck, answers_to
from benchharness.worker.summary import (
    ends,
    report_settings,
    report_timing,
    seen,
    summarize,
    warm,
    warm_up_epochs,
)
from benchharness.worker.training_loop import Count, TrainingLoop


def carry_out(scene: TrialContext, turns: EpochBarrier) -> None:
    """Do what the scene's strategy says and fill in its metrics."""
    for split in ("train", "validation", "test"):
        scene.metrics[f"{split}_count"] = len(scene.prepared.splits[split])
    if isinstance(scene.settings, FeedSettings):
        feed(scene, epochs=scene.settings.epochs, turns=turns)
    else:
        learn(scene, scene.settings, turns)
        calibrate(scene)


def learn(scene: TrialContext, settings: TrainingSettings, turns: EpochBarrier) -> None:
    """Strategies ``simple_cnn``, ``bottleneck`` and ``fine_tune``: train, then test once."""
    workload = scene.workload
    with scene.clock.phase("data"):
        weights = initial_values(scene)
    features = front_features(scene, workload.front, weights) if workload.front else None
    inputs = scene.prepared.images if features is None else features.values
    make_task = scene.image_task if features is None else scene.feature_task
    with scene.clock.phase("build"):
        parameters = workload.learner.parameters()
        own = {name: weights[name] for name in parameters if name in weights}
        task = make_task(workload.learner, weights=own, trainable=workload.trainable)
        task = scene.resident(task, inputs)
        task = with_fingerprints(task, steps=len(scene.epochs(inputs, task)[0]))
        training = scene.backend.train(task)
        rows = rows_of(inputs, training)
        plan = scene.epochs(rows, task)
    report_settings(scene, task, training)
    ledger = BatchCheck(scene=scene, task=task, inputs=inputs)
    lesson = TrainingLoop(
        training=training,
        clock=scene.clock,
        validation=scene.batches(rows, scene.prepared.splits["validation"]),
        on_epoch=lambda epoch: scene.emit({"event": "epoch", **epoch.as_dict()}),
        on_consumed=lambda epoch, consumed: ledger.enter(epoch, plan[epoch - 1], consumed),
        on_count=lambda count: _compare_count(count, scene, ledger),
        on_timing=lambda is_timed: report_timing(scene, is_timed),
        on_edge=ProgressReporter.of(
            scene, phase="train", images=len(scene.prepared.splits["train"])
        ).at_edge,
        on_turn=turns.wait,
    )
    with scene.clock.phase("compile"):
        lesson.warm_up(warm_up_epochs(plan[0]), warm=partial(warm, scene))
    with scene.clock.phase("train"):
        lesson.run(plan)
    report_settings(scene, task, training, seen=seen(scene, task, lesson))
    # What a framework does around its epochs is no training.
    scene.clock.keep("train", lesson.train_s, rest="overhead")
    tested = _test(scene, training, task, inputs, ledger)
    ledger.report()
    note_memory(scene)
    _save(scene, training)
    # From here on nothing needs what was learnt: steps may be repeated, and no copy is kept.
    check = TrainingCheck(
        scene=scene,
        lesson=lesson,
        batch=replayed_batch(inputs, task, plan[0]),
        probe=(lesson.validation or plain_batches(scene, inputs))[0],
        # A loader of folders augments as the framework does, which no batch here can say.
        is_replayed=not (task.files and task.files.folder),
    )
    computation = check.carry_out()
    summary = summarize(
        lesson, target_top1=settings.target_top1, is_waiting_known=task.files is None
    )
    scene.metrics.update(summary | tested | computation)


def replayed_batch(inputs: NDArray[Any], task: Task, batches: Batches) -> Batch:
    """Return the first batch of an epoch, with its pixels even where training has or loads them."""
    batch = batches[0]
    if batch.inputs.size or (task.files and task.files.folder):
        return batch
    return replace(batch, inputs=np.ascontiguousarray(inputs[batch.ids]))


def plain_batches(scene: TrialContext, inputs: NDArray[Any]) -> Batches:
    """Return the training images as they are evaluated: in no drawn order, and not augmented."""
    return scene.batches(inputs, scene.prepared.splits["train"])


def initial_values(scene: TrialContext) -> Weights:
    """Return the arrays of the trial's networks: pretrained, from a trained head, or drawn."""
    workload, seed = scene.workload, scene.request.seed
    given: dict[str, NDArray[np.float32]] = {}
    if workload.backbone is not None and scene.request.pretrained is not None:
        pretrained = Pretrained.from_dict(scene.request.pretrained)
        if not pretrained.is_random:
            given |= read_pretrained(pretrained, workload.backbone)
    if scene.request.head_file is not None:
        given |= read_arrays(Path(scene.request.head_file))
    networks = [network for network in (workload.front, workload.learner) if network]
    parameters = {name: p for network in networks for name, p in network.parameters().items()}
    # In the native track, what learns and is not given starts as the framework would start it.
    own = workload.learner.parameters() if scene.request.native is not None else {}
    return {
        name: given[name] if name in given else draw_parameter(parameter, name=name, seed=seed)
        for name, parameter in parameters.items()
        if name in given or name not in own
    }


def front_features(scene: TrialContext, front: Network, weights: Weights) -> Features:
    """Return the front's outputs for every image, computed now or found in the cache."""
    own = {name: weights[name] for name in front.parameters()}
    task = scene.image_task(front, weights=own, trainable=())
    folder = Path(scene.request.features_folder)
    settings = scene.settings
    may_reuse = not isinstance(settings, BottleneckSettings) or settings.reuse_features
    with scene.clock.phase("data"):
        key = content_key(_features_identity(scene, task))
        features = load_features(folder, key) if may_reuse else None
    if features is None:
        features = _extract(scene, task, folder=folder, key=key)
        scene.clock.keep("extract", features.seconds, rest="store")
    scene.metrics["extract_s"] = features.seconds
    scene.metrics["extract_reused"] = features.is_reused
    scene.metrics["extract_images_per_s"] = len(features.values) / features.seconds
    return features


def _extract(scene: TrialContext, task: Task, *, folder: Path, key: str) -> Features:
    images = scene.prepared.images
    everything = scene.batches(images, np.arange(len(images)))
    with scene.clock.phase("build"):
        extraction = scene.backend.extract(task)
    with scene.clock.phase("compile"):

        def extract() -> None:
            for _ in extraction.extract(ends(everything)):
                extraction.synchronize()

        extract()
        warm(scene, extract)
    with scene.clock.phase("extract"):
        return compute_features(
            folder,
            key,
            extraction=extraction,
            batches=everything,
            shape=task.network.output_shape,
            now=now_s,
            advance=ProgressReporter.of(scene, phase="extract", images=len(images)),
        )


def _features_identity(scene: TrialContext, task: Task) -> dict[str, Any]:
    pretrained = scene.request.pretrained or {}
    # Weights that are drawn depend on the seed, learnt ones do not.
    digest = pretrained.get("digest", "random")
    return {
        "data": scene.prepared.digest,
        "layers": [repr(layer) for layer in task.network.layers],
        "weights": digest if digest != "random" else f"random {scene.request.seed}",
        "preprocessing": scene.settings.preprocessing,
        "fitted": repr(scene.preprocessing),
        "execution": asdict(task.execution),
        "backend": [scene.request.plugin, dict(scene.request.options)],
        "versions": dict(scene.backend.versions()),
        "variables": recorded_variables(os.environ),
    }


def _compare_count(count: Count, scene: TrialContext, ledger: BatchCheck) -> None:
    """Enter an epoch's steps and images where they are not as many as planned."""
    train, validation = (len(scene.prepared.splits[name]) for name in ("train", "validation"))
    steps = -(-train // scene.settings.batch_size)
    ledger.count(f"epoch {count.epoch}: steps", count.steps, planned=steps)
    ledger.count(f"epoch {count.epoch}: images trained on", count.images, planned=train)
    ledger.count(f"epoch {count.epoch}: images validated", count.validated, planned=validation)


def _test(
    scene: TrialContext, training: Training, task: Task, inputs: NDArray[Any], ledger: BatchCheck
) -> Metrics:
    """Score the test images, once: whoever looks twice has chosen by them.

    From logits, for that tells which images are right.
    """
    ids = scene.prepared.splits["test"]
    if not len(ids):
        return {}
    batches = scene.batches(inputs, ids)
    with scene.clock.phase("test"):
        began_s = now_s()
        answers = answers_to(batches, training=training, output=task.output)
        took_s = now_s() - began_s
    with scene.clock.phase("ledger"):
        check = ScoreCheck(
            training=training,
            task=task,
            batches=batches,
            answers=answers,
            seconds=took_s,
            flops=scene.workload.learner.flops_per_image(),
        )
        ledger.note(check.trouble())
    scene.emit({"event": "tested", "bits": packed(answers.hits)})
    scores = answers.scores
    return {"test_loss": scores.loss, "test_top1": scores.top1, "test_right": scores.right}


def _save(scene: TrialContext, training: Training) -> None:
    """Keep what was learnt where another benchmark starts from it."""
    if scene.request.weights_file is None:
        return
    with scene.clock.phase("save"):
        write_arrays(Path(scene.request.weights_file), training.weights())
