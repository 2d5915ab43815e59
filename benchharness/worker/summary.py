"""Reports of a trial: settings as they are, stretches that are timed, columns of a training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from benchharness.fairness.settings import deviations, stated
from benchharness.measure.blocks import best_epoch, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.model.task import Task
from benchharness.model.work import Batches, Setting, Work
from benchharness.results.record import UNCONFIRMED
from benchharness.worker.context import Metrics, TrialContext
from benchharness.worker.training_loop import Epoch, TrainingLoop

# Shorter epochs are recorded whole, and no step of theirs is like another.
_KINDS = 3

# A compiler takes longer for its first step than so many seconds, and than so many steps.
_COMPILING_S, _COMPILING_STEPS = 0.25, 3
# A GPU at rest takes so long to raise its clock from some hundred MHz.
_GPU_WARM_UP_S = 1.0
# Shorter steps are not worth sharing out among threads.
_SHARED_STEP_S = 0.005


def report_settings(
    scene: TrialContext,
    task: Task,
    work: Work,
    *,
    seen: Mapping[str, Setting] = MappingProxyType({}),
) -> None:
    """Tell the runner the effective settings, and which are not what the task states.

    Args:
        seen: Of the settings of speed, what the work itself has shown of them.
    """
    effective = dict(work.settings())
    if getattr(work, "holds_inputs", False):
        effective["inputs"] = "on the device"
    scene.emit(
        {
            "event": "settings",
            "settings": {**effective, **seen},
            "deviations": list(deviations(effective, stated(task))),
        }
    )


def seen(scene: TrialContext, task: Task, lesson: TrainingLoop) -> dict[str, Setting]:
    """Return the settings of speed as the work shows them, whatever the framework says of them.

    Compiling takes time in the first step; where it did not, nothing shows that it was done.
    Threads are counted by their processor time, where a step is long enough to be shared out.
    There may be fewer than were asked for, and more than work at once: some frameworks have other
    threads for the way back through the network. One alone is no sign of several.
    """
    found: dict[str, Setting] = {}
    if task.execution.compile:
        first_s, second_s = lesson.warm_steps_s
        if first_s < max(second_s + _COMPILING_S, _COMPILING_STEPS * second_s):
            found["compile"] = UNCONFIRMED
    steps = sum(block.steps for epoch in lesson.epochs for block in epoch.blocks)
    is_shared = lesson.train_s / steps >= _SHARED_STEP_S and scene.processor.sharing > 0
    reported = lesson.training.settings().get("threads")
    if task.execution.device == "cpu" and is_shared and isinstance(reported, int):
        is_alone = scene.processor.sharing == 1 < min(reported, task.execution.threads)
        found["threads"] = UNCONFIRMED if is_alone else min(reported, scene.processor.sharing)
    # It overrides in silence what a framework asks of NVIDIA's libraries, and says it asks.
    is_overridden = "NVIDIA_TF32_OVERRIDE" in os.environ
    if task.execution.device == "gpu" and is_overridden and task.execution.precision != "bfloat16":
        found |= {"precision": UNCONFIRMED, "tf32": UNCONFIRMED}
    return found


def warm(scene: TrialContext, work: Callable[[], None]) -> None:
    """Repeat work, as overhead, until a GPU is as fast as it will be."""
    if scene.request.device == "gpu":
        with scene.clock.phase("overhead"):
            began_s = now_s()
            while now_s() - began_s < _GPU_WARM_UP_S:
                work()


def report_timing(scene: TrialContext, is_timed: bool) -> None:
    """Tell the runner, whose meters want to know, that timed work begins or ends."""
    (scene.processor.start if is_timed else scene.processor.stop)()
    scene.metrics["cpu_s"] = scene.processor.seconds
    scene.emit({"event": "timing", "state": "begin" if is_timed else "end"})


def ends(batches: Batches) -> Batches:
    """Return the first and the last batch, for warming up.

    The last one may be smaller; to a tracing framework that is another program.
    """
    first, last = batches[0], batches[len(batches) - 1]
    return [first] if len(first) == len(last) else [first, last]


def warm_up_epochs(batches: Batches) -> Sequence[Batches]:
    """Return short epochs that take every kind of step of an epoch, for warming up.

    An epoch's first step is recorded and its second is not; the last one is recorded, and its
    batch may be smaller. To a compiling framework each may be another program.
    """
    first, last = batches[0], batches[len(batches) - 1]
    if len(batches) < _KINDS:
        return [list(batches)]
    return [[first, batches[1]], *([[last]] if len(last) != len(first) else [])]


def summarize(
    lesson: TrainingLoop, *, target_top1: float | None, is_waiting_known: bool = True
) -> Metrics:
    """Return the columns that follow from the epochs of a training.

    Args:
        is_waiting_known: Whether the images come from the batches; a backend that loads files
            waits for them where nobody can see it.
    """
    epochs, last = lesson.epochs, lesson.epochs[-1]
    validated = [epoch for epoch in epochs if epoch.validation_top1 is not None]
    best = max(validated, key=lambda epoch: epoch.validation_top1 or 0.0, default=None)
    waited_s = lesson.waited_s if is_waiting_known else None
    return {
        "train_images_per_s": lesson.images / lesson.train_s,
        "epoch_s": float(np.median([epoch.train_s for epoch in epochs])),
        "best_epoch_s": best_epoch([epoch.blocks for epoch in epochs]),
        "train_s": lesson.train_s,
        **step_percentiles([block for epoch in epochs for block in epoch.blocks]),
        "input_wait_fraction": None if waited_s is None else waited_s / lesson.train_s,
        "train_loss": last.train_loss,
        "train_top1": last.train_top1,
        "validation_loss": last.validation_loss,
        "validation_top1": last.validation_top1,
        "validation_right": last.validation_right,
        "best_validation_top1": best.validation_top1 if best else None,
        "best_epoch": best.epoch if best else None,
        "time_to_top1_s": time_to_top1(validated, target_top1),
    }


def time_to_top1(epochs: list[Epoch], target_top1: float | None) -> float | None:
    """Return the training seconds until validation reaches the target; None if it never does."""
    elapsed_s = 0.0
    for epoch in epochs:
        elapsed_s += epoch.train_s
        if target_top1 is not None and (epoch.validation_top1 or 0.0) >= target_top1:
            return elapsed_s
    return None
