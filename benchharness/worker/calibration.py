"""Calibration after the work: whether the clock waited, a step's computation, the device's best."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import inf

from benchharness.fairness.ledger import witness
from benchharness.measure.blocks import Block, seconds, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.measure.peak import backend_flops_per_s, cpu_flops_per_s
from benchharness.measure.sync_check import (
    MOST_STEPS,
    Stretches,
    UnsynchronizedError,
    is_suspicious,
    require_synchronize,
    stretch_steps,
)
from benchharness.model.task import Batch, Task
from benchharness.model.work import AfterStep, Batches, Feeding, Replayable
from benchharness.results.record import BACKEND, NUMPY
from benchharness.worker.context import TrialContext
from benchharness.worker.training_loop import Metrics, TrainingLoop

# Checking the clock may take so much of the training that it checks, and so long beside.
_SHARE, _GRACE_S = 0.05, 2.0
# Steps are replayed until they have taken so long, and at least so many, within that share.
_REPLAY_S, _REPLAY_STEPS = 0.12, 3
# Stretches of the check follow an evaluation and a pause. On a CPU, PyTorch's steps of 10 ms took
# twice as long there in most trials, and not in stretches without; why is not known. Longer steps
# were not seen to.
_LONG_STEP_S = 0.1
# Batches that a feeding repeats; more would only fill the memory.
_BATCHES = 16

Step = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class TrainingCheck:
    """Check of a training after all its work, when its weights are needed no more.

    Attributes:
        loop: After its last epoch.
        batch: A full one of the first epoch, with its warp.
        probe: Images whose evaluation needs the weights that the last step left.
        is_replayed: Whether a replayed step is the one that was trained.
    """

    context: TrialContext
    loop: TrainingLoop
    batch: Batch
    probe: Batch
    is_replayed: bool

    def run(self) -> Metrics:
        """Return the columns of a step's computation; empty where nothing can be replayed.

        Raises:
            UnsynchronizedError: ``synchronize`` does not wait, so that the timing means nothing.
        """
        with self.context.clock.phase("replay"):
            step = self._warm_replay() if self.is_replayed else None
        with self.context.clock.phase("calibrate"):
            blocks = self._check_clock(step)
        if step is None:
            return {}
        with self.context.clock.phase("replay"):
            compute_ms = step_ms(self._replayed(step, blocks))
        timed = [block for epoch in self.loop.epochs for block in epoch.blocks]
        return {
            "compute_ms": compute_ms,
            "outside_fraction": max(0.0, 1 - compute_ms / step_ms(timed)),
        }

    @property
    def _step_s(self) -> float:
        steps = sum(block.steps for epoch in self.loop.epochs for block in epoch.blocks)
        return self.loop.train_s / steps

    def _warm_replay(self) -> Step | None:
        training = self.loop.training
        if not isinstance(training, Replayable):
            return None
        try:
            step = training.replay(self.batch)
            step()
            training.synchronize()
        except Exception:
            # A full device may have no room for another batch. What has been measured stays
            # valid; the traceback is in the log.
            traceback.print_exc()
            return None
        return step

    def _check_clock(self, step: Step | None) -> Sequence[Block]:
        """Return the stretches of replayed steps that the check has timed on the way."""
        training, train_s = self.loop.training, self.loop.train_s
        timed = [epoch.blocks for epoch in self.loop.epochs]

        def train(steps: int, after_step: AfterStep) -> None:
            training.train(
                [[self.batch] * steps], after_step=after_step, after_epoch=lambda scores: None
            )

        # A replay may wait where training does not.
        is_replayed = step is not None and not is_suspicious(timed)
        stretches = Stretches(
            work=repeated(step) if step and is_replayed else train,
            synchronize=training.synchronize,
            read_back=lambda: training.evaluate([self.probe]),
            now=now_s,
        )
        image_s = self.loop.evaluation_s
        budget_s = _SHARE * train_s + _GRACE_S
        steps = stretch_steps(self._step_s, at_most_s=budget_s / 2)
        # A loader of folders has no more batches than an epoch.
        epoch_steps = sum(block.steps for block in self.loop.epochs[0].blocks)
        most = MOST_STEPS if self.is_replayed else min(MOST_STEPS, epoch_steps)
        with _drops_times(self.context, "train"):
            require_synchronize(
                stretches,
                steps=min(steps, most),
                step_s=self._step_s,
                budget_s=budget_s,
                most=most,
                reading_s=None if image_s is None else image_s * len(self.probe),
            )
        return stretches.blocks if is_replayed else []

    def _replayed(self, step: Step, checked: Sequence[Block]) -> Sequence[Block]:
        """Return stretches that make a time of a step: no more than it takes.

        Args:
            checked: Stretches of the check, each after a pause; they count for long steps alone.
        """
        training, step_s = self.loop.training, self._step_s
        done = list(checked) if step_s >= _LONG_STEP_S else []
        share_s = _SHARE * self.loop.train_s
        budget_s = share_s - seconds(done) if done else max(share_s, 2 * _REPLAY_S)
        steps = stretch_steps(step_s, at_most_s=share_s if done else budget_s / 2)
        blocks: list[Block] = []

        def timed() -> Sequence[Block]:
            # The first of several follows a pause.
            return [*done, *blocks] if done else blocks[1:]

        def is_enough() -> bool:
            taken = sum(block.steps for block in timed())
            return taken >= _REPLAY_STEPS and seconds(timed()) >= _REPLAY_S

        while not (done or blocks) or not (
            is_enough() or seconds(blocks) + steps * step_s > budget_s
        ):
            training.synchronize()
            began_s = now_s()
            for _ in range(steps):
                step()
            training.synchronize()
            blocks.append(Block(steps, now_s() - began_s))
        return timed() or blocks


def step_ms(blocks: Sequence[Block]) -> float:
    """Return the median milliseconds of a step, each with the mean of its block."""
    return step_percentiles(blocks)["step_ms_p50"]


def repeated(step: Step) -> Callable[[int, AfterStep], None]:
    """Return what takes a step so many times."""

    def work(steps: int, after_step: AfterStep) -> None:
        for _ in range(steps):
            step()
            after_step()

    return work


def check_feeding(
    context: TrialContext,
    task: Task,
    feeding: Feeding,
    timed: Sequence[Sequence[Block]],
    batches: Batches,
) -> None:
    """Refuse the timing of a feeding whose ``synchronize`` does not wait.

    Args:
        task: Of the feeding.
        feeding: That was timed.
        timed: Blocks of each epoch.
        batches: Of an epoch; some are fed once more.

    Raises:
        UnsynchronizedError: It does not wait.
    """
    context.keep_peak_memory()
    blocks = [block for epoch in timed for block in epoch]
    step_s = seconds(blocks) / sum(block.steps for block in blocks)
    is_suspect = is_suspicious(timed)
    # Reading back waits for a step only where that step is recorded, as the first one always is:
    # enough to see a short queue. A long one takes a feeding that records every step.
    steps = stretch_steps(step_s) if is_suspect else 1
    with context.clock.phase("calibrate"):
        if is_suspect:
            every = witness(task.input_shape, steps=steps)
            feeding = context.backend.feed(replace(task, witness=every))
        gathered = list(batches[: _BATCHES if is_suspect else 1])

        def work(steps: int, after_step: AfterStep) -> None:
            feeding.feed(list(islice(cycle(gathered), steps)), after_step=after_step)

        stretches = Stretches(
            work=work, synchronize=feeding.synchronize, read_back=feeding.consumed, now=now_s
        )
        # The first may compile something.
        stretches.run(steps)
        with _drops_times(context, "feed"):
            require_synchronize(
                stretches,
                steps=steps,
                step_s=step_s,
                budget_s=inf if is_suspect else _GRACE_S,
                most=MOST_STEPS if is_suspect else 1,
            )


def calibrate(context: TrialContext) -> None:
    """Compare the training's speed with a matrix product on the same device."""
    context.keep_peak_memory()
    workload, metrics = context.workload, context.metrics
    flops = workload.learner.train_flops_per_image(workload.trainable)
    metrics["train_flops_per_image"] = flops
    with context.clock.phase("calibrate"):
        peak = _peak_flops_per_s(context)
    speed = metrics["train_images_per_s"]
    if peak is not None and isinstance(speed, float):
        metrics["peak_flops_per_s"] = peak
        metrics["peak_source"] = NUMPY if context.request.device == "cpu" else BACKEND
        metrics["fraction_of_peak"] = speed * flops / peak


@contextmanager
def _drops_times(context: TrialContext, phase: str) -> Iterator[None]:
    """Leave no seconds of a phase where its clock turns out not to have waited."""
    try:
        yield
    except UnsynchronizedError:
        # No column may hold what this clock has read.
        context.clock.drop(phase, rest="overhead")
        raise


def _peak_flops_per_s(context: TrialContext) -> float | None:
    if context.request.device == "cpu":
        return cpu_flops_per_s(now=now_s)
    try:
        execution = replace(context.execution, compile=False)
        return backend_flops_per_s(context.backend, execution, now=now_s)
    except Exception:
        # A device too full for the matrix product takes nothing from what the trial has measured;
        # what went wrong is in its log.
        traceback.print_exc()
        return None
