"""Training under the clock: warm-up does not teach, evaluation does not count."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchharness.measure.clock import PhaseClock
from benchharness.model.task import Scores
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import linear, make_batches, make_task
from benchharness.worker import context as context_module
from benchharness.worker import training_loop as loop_module
from benchharness.worker.context import TrialContext
from benchharness.worker.training_loop import (
    DivergedError,
    TrainingLoop,
    time_to_top1,
    training_metrics,
    warmup_epochs,
)


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A clock that training and evaluation below move by hand."""
    clock = FakeClock()
    monkeypatch.setattr(loop_module, "now_s", clock)
    return clock


class SlowTraining:
    """Takes 2 s to train an epoch, 0.5 s to synchronise afterwards and 30 s to evaluate."""

    def __init__(self, clock: FakeClock, losses: list[float]) -> None:
        self._clock = clock
        self._losses = losses
        self._is_busy = False

    def train(self, epochs, *, after_step, after_epoch) -> None:
        """Train each epoch and report it before the device has finished."""
        for batches, loss in zip(epochs, self._losses, strict=False):
            for _ in batches:
                self._clock.now_s += 2.0
                self._is_busy = True
                after_step()
            after_epoch(Scores(loss=loss, top1=0.5, count=10))

    def evaluate(self, batches) -> Scores:
        """Score slowly."""
        self._clock.now_s += 30.0
        return Scores(loss=0.6, top1=0.7, count=5)

    def synchronize(self) -> None:
        """Wait for the device."""
        self._clock.now_s += 0.5 if self._is_busy else 0.0
        self._is_busy = False


def loop_of(clock: FakeClock, losses: list[float], **fields: Any) -> TrainingLoop:
    """Return a loop of a slow training."""
    return TrainingLoop(
        **{
            "training": SlowTraining(clock, losses),
            "clock": PhaseClock(started_s=clock(), now=clock),
            "validation": make_batches(sizes=(4,)),
            "on_epoch": lambda epoch: None,
            **fields,
        }
    )


def taught(clock: FakeClock, losses: list[float], **fields: Any) -> TrainingLoop:
    """Return a loop after as many epochs as there are losses, of one step each."""
    loop = loop_of(clock, losses, **fields)
    with loop.clock.phase("train"):
        loop.run([make_batches(sizes=(4,))] * len(losses))
    return loop


def test_evaluation_does_not_count_as_training_time(fake_clock: FakeClock):
    """Seconds spent in evaluate() are absent from train_s, of the epochs and of the phase."""
    loop = taught(fake_clock, [0.7, 0.6])

    # An epoch ends when the device has finished, not when the last step was queued.
    assert [epoch.train_s for epoch in loop.epochs] == [2.5, 2.5]
    assert loop.clock.seconds == {"train": 5.0, "evaluate": 60.0}


def test_throughput_is_images_over_training_seconds(fake_clock: FakeClock):
    """Two epochs of 10 images in 2 x 2.5 s. A target that is missed has no time."""
    loop = taught(fake_clock, [0.7, 0.6])

    metrics = training_metrics(loop, target_top1=0.7)
    assert metrics["train_images_per_s"] == 4.0
    assert metrics["time_to_top1_s"] == 2.5
    assert metrics["best_epoch"] == 1
    assert time_to_top1(loop.epochs, 0.9) is None
    assert time_to_top1(loop.epochs, None) is None


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training_with_its_epoch(
    fake_clock: FakeClock, loss: float
):
    """Nothing is learnt after that, so nothing more is run."""
    with pytest.raises(DivergedError, match=r"^epoch 2: "):
        taught(fake_clock, [0.7, loss, 0.5])


def test_warm_up_does_not_teach():
    """Weights and optimizer are those of the task when training begins."""
    task = make_task(linear(outputs=2, input_shape=(4, 4, 3)))
    batches = make_batches(sizes=(6, 6, 3), shape=(4, 4, 3), classes=2)
    trained = []
    for is_warmed_up in (False, True):
        training = NumpyBackend().train(task)
        loop = TrainingLoop(
            training=training,
            clock=PhaseClock(started_s=0.0),
            validation=batches[:1],
            on_epoch=lambda epoch: None,
        )
        if is_warmed_up:
            loop.warm_up(warmup_epochs(batches), warm=lambda work: work())
        loop.run([batches, batches])
        trained.append(training.weights())

    for name in trained[0]:
        np.testing.assert_array_equal(trained[0][name], trained[1][name])


@pytest.mark.parametrize(("device", "repeats"), [("cpu", 0), ("gpu", 3)])
def test_a_gpu_is_warmed_for_a_second_which_is_no_compiling(
    monkeypatch: pytest.MonkeyPatch, device: str, repeats: int
):
    """Its clock rises only under load: work of 0.4 s is repeated three times, as overhead."""
    now = FakeClock()
    monkeypatch.setattr(context_module, "now_s", now)
    context = SimpleNamespace(
        request=SimpleNamespace(device=device), clock=PhaseClock(started_s=now(), now=now)
    )

    def work() -> None:
        now.now_s += 0.4

    with context.clock.phase("compile"):
        work()
        TrialContext.warm_device(context, work)

    assert context.clock.seconds["compile"] == pytest.approx(0.4)
    assert context.clock.seconds.get("overhead", 0) == pytest.approx(0.4 * repeats)


@pytest.mark.parametrize(
    ("sizes", "epochs"),
    [
        ((6, 6, 6, 3), [[6, 6], [3]]),
        ((6, 6, 6, 6), [[6, 6]]),
        ((6, 6, 3), [[6, 6], [3]]),
        ((6, 3), [[6, 3]]),
        ((3,), [[3]]),
    ],
)
def test_warm_up_takes_every_kind_of_step(sizes: tuple[int, ...], epochs: list[list[int]]):
    """To a compiling framework another batch size, or a step unrecorded, is another program.

    The first step of an epoch is recorded, the second is not.
    """
    found = warmup_epochs(make_batches(sizes=sizes))

    assert [[len(batch) for batch in batches] for batches in found] == epochs


def test_a_second_belongs_to_the_innermost_phase():
    """Nested phases never add up to more than the wall time."""
    clock = FakeClock()
    phases = PhaseClock(started_s=clock.now_s, now=clock)
    with phases.phase("train"):
        clock.now_s += 1
        with phases.phase("evaluate"):
            clock.now_s += 10
        clock.now_s += 2
    clock.now_s += 4

    assert phases.seconds == {"train": 3.0, "evaluate": 10.0}
    assert phases.wall_s() == 17.0
    assert phases.other_s(phases.wall_s()) == 4.0


def test_telling_of_a_phase_does_not_count_towards_it():
    """Ten seconds of telling at each: those before evaluation belong to what is around it."""
    clock, told = FakeClock(), []

    def tell(name: str) -> None:
        told.append(name)
        clock.now_s += 10

    phases = PhaseClock(started_s=clock.now_s, now=clock, on_phase=tell)
    with phases.phase("train"):
        clock.now_s += 1
        with phases.phase("evaluate"):
            clock.now_s += 3

    assert told == ["train", "evaluate"]
    assert phases.seconds == {"train": 21.0, "evaluate": 3.0}
    assert phases.other_s(phases.wall_s()) == 0.0


def test_telling_how_far_an_epoch_has_come_takes_no_training_time(fake_clock: FakeClock):
    """A minute of telling after each step of 2.5 s: the epochs are as long as without it."""
    told = []

    def tell(epoch: int, blocks) -> None:
        told.append((epoch, sum(block.steps for block in blocks)))
        fake_clock.now_s += 60.0

    loop = loop_of(fake_clock, [0.7, 0.6], validation=[], on_edge=tell)
    loop.run([make_batches(sizes=(4, 4))] * 2)

    assert told == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [epoch.train_s for epoch in loop.epochs] == [5.0, 5.0]


def test_a_phase_leaves_the_rest_of_its_seconds_to_another():
    """What was kept and what was moved add up to what was there."""
    clock = FakeClock()
    phases = PhaseClock(started_s=clock.now_s, now=clock)
    with phases.phase("train"):
        clock.now_s += 10
    phases.keep("train", 7.0, rest="overhead")
    kept = dict(phases.seconds)
    phases.drop("train", rest="overhead")

    assert kept == {"train": 7.0, "overhead": 3.0}
    assert phases.seconds == {"overhead": 10.0}


def test_the_blocks_of_an_epoch_are_its_training_seconds(fake_clock: FakeClock):
    """One step of 2 s and 0.5 s of waiting for it; the row of an epoch carries them."""
    loop = taught(fake_clock, [0.7])

    assert json.loads(json.dumps(asdict(loop.epochs[0])))["blocks"] == [[1, 2.5]]
    assert training_metrics(loop, target_top1=None)["step_ms_p50"] == 2500.0


@pytest.mark.parametrize(("right", "reached_s"), [(36, 2.5), (34, None)])
def test_a_target_is_reached_by_count(fake_clock: FakeClock, right: int, reached_s: float | None):
    """36 of 40 are 0.9, though a mean in float32 is 0.89999998; 34 are not."""
    training = SlowTraining(fake_clock, [0.7])
    share = float(np.float32(right / 40))
    training.evaluate = lambda batches: Scores(loss=0.6, top1=share, count=40)
    loop = taught(fake_clock, [0.7], training=training)

    found = training_metrics(loop, target_top1=0.9)

    assert share != right / 40
    assert found["time_to_top1_s"] == reached_s
    assert (found["validation_top1"], found["validation_right"]) == (right / 40, right)
    assert loop.epochs[0].validation_right == right


def test_meters_are_told_that_evaluation_is_not_timed(fake_clock: FakeClock):
    """Begin and end stand around each epoch's 2.5 s, the 30 s of evaluation outside."""
    timings: list[tuple[bool, float]] = []
    taught(
        fake_clock,
        [0.7, 0.6],
        on_timing=lambda is_timed: timings.append((is_timed, fake_clock())),
    )

    stretches = zip(timings[::2], timings[1::2], strict=True)
    spans = [end - begin for (is_begin, begin), (is_end, end) in stretches if is_begin > is_end]
    assert [span for span in spans if span] == [2.5, 2.5]


def test_a_turn_is_waited_for_before_each_epoch_and_on_no_clock(fake_clock: FakeClock):
    """Another's 100 s before the first epoch and between the two are of no phase."""
    timings: list[bool] = []
    turns: list[tuple[int, bool]] = []

    def wait() -> None:
        turns.append((len(loop.epochs), timings[-1]))
        with clock.standstill():
            fake_clock.now_s += 100.0

    loop = loop_of(fake_clock, [0.7, 0.6], on_timing=timings.append, before_epoch=wait)
    clock = loop.clock
    with clock.phase("train"):
        loop.run([make_batches(sizes=(4,))] * 2)

    assert turns == [(0, False), (1, False)]
    assert loop.train_s == 5.0
    assert clock.seconds == {"train": 5.0, "evaluate": 60.0}
    assert clock.wall_s() == 65.0
    assert clock.other_s(clock.wall_s()) == 0.0


class SlowBatches(list):
    """Batches of which each takes 1 s to get."""

    def __init__(self, clock: FakeClock, batches) -> None:
        super().__init__(batches)
        self._clock = clock

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self._clock.now_s += 1.0
        return batch


def test_waiting_for_input_is_its_share_of_training_time(fake_clock: FakeClock):
    """1 s to get the batch and 2.5 s to learn from it: 1 of 3.5."""
    loop = loop_of(fake_clock, [0.7], validation=[])
    loop.run([SlowBatches(fake_clock, make_batches(sizes=(4,)))])

    metrics = training_metrics(loop, target_top1=None)
    assert metrics["train_s"] == 3.5
    assert metrics["input_wait_fraction"] == pytest.approx(1 / 3.5)
    hidden = training_metrics(loop, target_top1=None, is_waiting_known=False)
    assert hidden["input_wait_fraction"] is None
