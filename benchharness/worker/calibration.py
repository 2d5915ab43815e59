"""Calibration after the work: whether the clock waited, a step's computation, the device's best."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import numpy as np

from benchharness.fairness.ledger import fingerprint_spec
from benchharness.measure.blocks import Block, seconds, step_percentiles
from benchharness.measure.clock import now_s
from benchharness.measure.sync_check import (
    MOST_STEPS,
    Stretches,
    UnsynchronizedError,
    is_suspicious,
    require_synchronize,
    stretch_steps,
)
from benchharness.model.network import Dense, Network
from benchharness.model.task import Batch, Execution, Task
from benchharness.model.work import AfterStep, Backend, Batches, Extraction, Feeding, Replayable
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

# 0.9 GFLOP: 6 ms on a core of 145 GFLOP/s, which a busy machine leaves in peace now and then.
_CPU_SIZE = 768
# A product that takes less is over before all cores of a large machine are at work.
_WORTH_TIMING_S = 0.003
# 16,384 rows through layers of 4,096 x 4,096, 0.55 TFLOP each: four take 45 ms at 50 TFLOP/s, and
# more layers follow where they take less than 50 ms. Each holds 67 MB of weights.
GPU_ROWS, GPU_UNITS, GPU_LAYERS = 16384, 4096, 4
_MOST_LAYERS, _GPU_WORTH_TIMING_S = 64, 0.05
# Few values per row enter and leave, so that copying them to the device costs nothing.
_ENDS = 8
# At least so many repeats, and more until so much time has passed.
_REPEATS, _REPEATS_S = 3, 0.1

Step = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class TrainingCheck:
    """Check of a training after all its work, when its weights are needed no more.

    Attributes:
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
        clock, training = self.context.clock, self.loop.training
        step: Step | None = None
        with clock.phase("replay"):
            if self.is_replayed and isinstance(training, Replayable):
                try:
                    step = training.replay(self.batch)
                    step()
                    training.synchronize()
                except Exception:
                    # A full device may have no room for another batch. What has been measured
                    # stays valid; the traceback is in the log.
                    traceback.print_exc()
                    step = None
        with clock.phase("calibrate"):
            blocks = self._check_clock(step)
        if step is None:
            return {}
        with clock.phase("replay"):
            compute_ms = step_ms(self._replayed(step, blocks))
        timed = [block for epoch in self.loop.epochs for block in epoch.blocks]
        return {
            "compute_ms": compute_ms,
            "outside_fraction": max(0.0, 1 - compute_ms / step_ms(timed)),
        }

    def _check_clock(self, step: Step | None) -> Sequence[Block]:
        """Return the stretches of replayed steps that the check has timed on the way."""
        loop, training = self.loop, self.loop.training
        timed = [epoch.blocks for epoch in loop.epochs]
        # A replay may wait where training does not.
        is_replayed = step is not None and not is_suspicious(timed)

        def train(steps: int, after_step: AfterStep) -> None:
            epochs = [[self.batch] * steps]
            training.train(epochs, after_step=after_step, after_epoch=lambda scores: None)

        stretches = Stretches(
            work=_repeated(step) if step and is_replayed else train,
            synchronize=training.synchronize,
            read_back=lambda: training.evaluate([self.probe]),
            now=now_s,
        )
        step_s, image_s = _step_s(timed), loop.evaluation_s
        budget_s = _SHARE * loop.train_s + _GRACE_S
        # A loader of folders has no more batches than an epoch.
        epoch_steps = sum(block.steps for block in timed[0])
        most = MOST_STEPS if self.is_replayed else min(MOST_STEPS, epoch_steps)
        with _drops_times(self.context, "train"):
            require_synchronize(
                stretches,
                steps=min(stretch_steps(step_s, at_most_s=budget_s / 2), most),
                step_s=step_s,
                budget_s=budget_s,
                most=most,
                reading_s=None if image_s is None else image_s * len(self.probe),
            )
        return stretches.blocks if is_replayed else []

    def _replayed(self, step: Step, checked: Sequence[Block]) -> Sequence[Block]:
        """Return stretches that make a time of a step: no more than it takes.

        Those of the check, each after a pause, count for long steps alone.
        """
        step_s = _step_s([epoch.blocks for epoch in self.loop.epochs])
        done = list(checked) if step_s >= _LONG_STEP_S else []
        share_s = _SHARE * self.loop.train_s
        budget_s = share_s - seconds(done) if done else max(share_s, 2 * _REPLAY_S)
        steps = stretch_steps(step_s, at_most_s=share_s if done else budget_s / 2)
        stretches = Stretches(
            work=_repeated(step),
            synchronize=self.loop.training.synchronize,
            read_back=lambda: None,
            now=now_s,
        )
        blocks = stretches.blocks
        if not done:
            stretches.run(steps)
        while True:
            # The first of several follows a pause.
            timed = [*done, *blocks] if done else blocks[1:]
            taken = sum(block.steps for block in timed)
            is_enough = taken >= _REPLAY_STEPS and seconds(timed) >= _REPLAY_S
            if is_enough or seconds(blocks) + steps * step_s > budget_s:
                return timed or blocks
            stretches.run(steps)


def step_ms(blocks: Sequence[Block]) -> float:
    """Return the median milliseconds of a step, each with the mean of its block."""
    return step_percentiles(blocks)["step_ms_p50"]


def _repeated(step: Step) -> Callable[[int, AfterStep], None]:
    def work(steps: int, after_step: AfterStep) -> None:
        for _ in range(steps):
            step()
            after_step()

    return work


def _step_s(epochs: Sequence[Sequence[Block]]) -> float:
    blocks = [block for epoch in epochs for block in epoch]
    return seconds(blocks) / sum(block.steps for block in blocks)


def check_feeding(
    context: TrialContext,
    task: Task,
    feeding: Feeding,
    timed: Sequence[Sequence[Block]],
    batches: Batches,
) -> None:
    """Refuse the timing of a feeding whose ``synchronize`` does not wait.

    Some batches, of an epoch, are fed once more.
    """
    context.keep_peak_memory()
    # Reading back waits for a step only where that step is recorded, as the first one always is:
    # enough to see a short queue. A long one takes a feeding that records every step.
    step_s, steps, most, budget_s = _step_s(timed), 1, 1, _GRACE_S
    with context.clock.phase("calibrate"):
        if is_suspicious(timed):
            steps, most, budget_s = stretch_steps(step_s), MOST_STEPS, math.inf
            every = fingerprint_spec(task.input_shape, steps=steps)
            feeding = context.backend.feed(replace(task, fingerprint_spec=every))
        gathered = list(batches[: _BATCHES if steps > 1 else 1])

        def work(steps: int, after_step: AfterStep) -> None:
            feeding.feed(list(islice(cycle(gathered), steps)), after_step=after_step)

        stretches = Stretches(
            work=work, synchronize=feeding.synchronize, read_back=feeding.consumed, now=now_s
        )
        # The first may compile something.
        stretches.run(steps)
        with _drops_times(context, "feed"):
            require_synchronize(stretches, steps=steps, step_s=step_s, budget_s=budget_s, most=most)


@contextmanager
def _drops_times(context: TrialContext, phase: str) -> Iterator[None]:
    """Leave no seconds of a phase where its clock turns out not to have waited."""
    try:
        yield
    except UnsynchronizedError:
        # No column may hold what this clock has read.
        context.clock.drop(phase, rest="overhead")
        raise


def calibrate(context: TrialContext) -> None:
    """Compare the training's speed with a matrix product on the same device."""
    context.keep_peak_memory()
    workload, metrics = context.workload, context.metrics
    is_cpu = context.request.device == "cpu"
    flops = workload.learner.train_flops_per_image(workload.trainable)
    metrics["train_flops_per_image"] = flops
    with context.clock.phase("calibrate"):
        try:
            if is_cpu:
                peak = cpu_flops_per_s()
            else:
                execution = replace(context.execution, compile=False)
                peak = backend_flops_per_s(context.backend, execution)
        except Exception:
            # A device too full for the matrix product takes nothing from what the trial has
            # measured; what went wrong is in its log.
            traceback.print_exc()
            return
    metrics["peak_flops_per_s"] = peak
    metrics["peak_source"] = NUMPY if is_cpu else BACKEND
    metrics["fraction_of_peak"] = metrics["train_images_per_s"] * flops / peak


def cpu_flops_per_s(*, size: int = _CPU_SIZE, now: Callable[[], float] = now_s) -> float:
    """Return the rate of NumPy's float32 matrix product, on the cores this process may use.

    The best of some repeats: what else runs on the machine only ever slows it down. The size of
    the square matrices is doubled while a product takes too little time.
    """
    while True:
        random = np.random.default_rng(0)
        left, right = (random.random((size, size), dtype=np.float32) for _ in range(2))
        product = np.empty_like(left)
        best_s = _best_s(partial(np.matmul, left, right, out=product), now=now)
        if best_s >= _WORTH_TIMING_S:
            return 2 * size**3 / best_s
        size *= 2


def backend_flops_per_s(
    backend: Backend,
    execution: Execution,
    *,
    rows: int = GPU_ROWS,
    units: int = GPU_UNITS,
    layers: int = GPU_LAYERS,
    now: Callable[[], float] = now_s,
) -> float:
    """Return the rate of matrix products in a backend, on the device and in the precision given.

    Of random matrices: a GPU multiplies constants with less power, and so at a higher clock than
    it holds in training. A run takes the best rate of all its backends for each of them. More
    products than ``layers``, up to 64, follow each other where they take less than 50 ms.
    """
    random = np.random.default_rng(0)
    inputs = random.standard_normal((rows, _ENDS), np.float32)
    batch = Batch(ids=np.arange(rows), inputs=inputs, labels=np.zeros(rows, np.int32))
    while True:
        task = _chain(units, layers, execution, random)
        extraction = backend.extract(task)

        def multiply(extraction: Extraction = extraction) -> None:
            for _ in extraction.extract([batch]):
                extraction.synchronize()

        best_s = _best_s(multiply, now=now)
        if best_s >= _GPU_WORTH_TIMING_S or layers >= _MOST_LAYERS:
            return rows * task.network.flops_per_image() / best_s
        # A little more than it takes, for longer chains are faster.
        layers = min(_MOST_LAYERS, math.ceil(1.2 * layers * _GPU_WORTH_TIMING_S / best_s))
        # Two networks at a time would hold twice the weights.
        del task, extraction, multiply


def _best_s(work: Callable[[], object], *, now: Callable[[], float]) -> float:
    # The first time wakes threads, allocates and may compile.
    work()
    best_s, spent_s, repeats = float("inf"), 0.0, 0
    while repeats < _REPEATS or spent_s < _REPEATS_S:
        began_s = now()
        work()
        took_s = now() - began_s
        best_s, spent_s, repeats = min(best_s, took_s), spent_s + took_s, repeats + 1
    return best_s


def _chain(units: int, layers: int, execution: Execution, random: np.random.Generator) -> Task:
    """Return the task of a chain of dense layers with random weights."""
    middle = (Dense(name=f"product{number}", units=units) for number in range(1, layers + 1))
    network = Network(
        input_shape=(_ENDS,),
        layers=(Dense(name="widen", units=units), *middle, Dense(name="narrow", units=_ENDS)),
    )
    shapes = {name: parameter.shape for name, parameter in network.parameters().items()}
    # Arrays of equal shape are one array: 67 MB less on the host for each layer but one. Values
    # keep their size from layer to layer.
    made = {
        shape: random.standard_normal(shape, np.float32) / np.float32(max(shape[0], 1) ** 0.5)
        for shape in set(shapes.values())
    }
    return Task(
        network=network,
        weights={name: made[shape] for name, shape in shapes.items()},
        trainable=(),
        output="softmax",
        optimizer=None,
        preprocessing=None,
        is_augmented=False,
        execution=execution,
        seed=0,
    )
