"""After the work, off the clock: whether ``synchronize`` waited, and the device at its best."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from benchharness.measure.blocks import Block, seconds
from benchharness.measure.clock import now_s
from benchharness.measure.memory import peak_rss_bytes
from benchharness.measure.peak import backend_flops_per_s, cpu_flops_per_s
from benchharness.measure.synchrony import (
    UnsynchronizedError,
    Witnessed,
    demand_synchrony,
    is_suspicious,
    leaves_leftover,
)
from benchharness.model.task import Execution
from benchharness.model.work import Batches, Feeding
from benchharness.run.trial.lesson import Lesson
from benchharness.run.trial.scene import Scene


def check_training(scene: Scene, lesson: Lesson, batches: Batches) -> None:
    """Refuse the timing of a training whose ``synchronize`` does not wait.

    Args:
        batches: Of an epoch, to train on once more where the timing is suspicious; the weights
            are put back afterwards.

    Raises:
        UnsynchronizedError: It does not wait.
    """
    _note_memory(scene)
    training = lesson.training
    with scene.clock.phase("calibrate"):
        has_leftover = leaves_leftover(
            synchronize=training.synchronize,
            read_back=training.weights,
            epoch_s=lesson.epochs[-1].train_s,
            now=now_s,
        )
        timed = [epoch.blocks for epoch in lesson.epochs]
        if not has_leftover and not is_suspicious(timed):
            return
        learnt = training.weights()
        runs = Witnessed(
            work=lambda few, after_step: training.train(
                [few], after_step=after_step, after_epoch=lambda scores: None
            ),
            batches=batches,
            synchronize=training.synchronize,
            read_back=training.weights,
            now=now_s,
        )
        _demand(scene, runs, timed, phase="train")
        training.load_weights(learnt)


def check_feeding(
    scene: Scene, feeding: Feeding, timed: Sequence[Sequence[Block]], batches: Batches
) -> None:
    """Refuse the timing of a feeding whose ``synchronize`` does not wait.

    Args:
        timed: Blocks of each epoch.
        batches: Of an epoch, to feed once more where the timing is suspicious.

    Raises:
        UnsynchronizedError: It does not wait.
    """
    if not is_suspicious(timed):
        return
    _note_memory(scene)
    with scene.clock.phase("calibrate"):
        runs = Witnessed(
            work=lambda few, after_step: feeding.feed(few, after_step=after_step),
            batches=batches,
            synchronize=feeding.synchronize,
            read_back=feeding.consumed,
            now=now_s,
        )
        _demand(scene, runs, timed, phase="feed")


def calibrate(scene: Scene) -> None:
    """Hold the training's speed against a matrix product on the same device."""
    _note_memory(scene)
    workload, metrics = scene.workload, scene.metrics
    flops = workload.learner.train_flops_per_image(workload.trainable)
    metrics["train_flops_per_image"] = flops
    with scene.clock.phase("calibrate"):
        peak = _peak_flops_per_s(scene)
    speed = metrics["train_images_per_s"]
    if peak is not None and isinstance(speed, float):
        metrics["peak_flops_per_s"] = peak
        metrics["fraction_of_peak"] = speed * flops / peak


def _note_memory(scene: Scene) -> None:
    """Keep what the work has taken at most: what follows is ours, and takes more now and then."""
    scene.metrics.setdefault("peak_host_bytes", peak_rss_bytes())


def _demand(scene: Scene, runs: Witnessed, timed: Sequence[Sequence[Block]], *, phase: str) -> None:
    steps = sum(block.steps for blocks in timed for block in blocks)
    step_s = sum(seconds(blocks) for blocks in timed) / max(steps, 1)
    try:
        demand_synchrony(runs, step_s=step_s)
    except UnsynchronizedError:
        # No column may hold what this clock has read.
        scene.clock.drop(phase, rest="overhead")
        raise


def _peak_flops_per_s(scene: Scene) -> float | None:
    if scene.request.device == "cpu":
        return cpu_flops_per_s(now=now_s)
    settings = scene.settings
    execution = Execution(
        device=scene.request.device,
        threads=scene.request.threads,
        precision=settings.precision,
        layout=settings.layout,
    )
    try:
        return backend_flops_per_s(scene.backend, execution, now=now_s)
    except Exception:
        # A device too full for the yardstick takes nothing from what the trial has measured; what
        # went wrong is in its log.
        traceback.print_exc()
        return None
