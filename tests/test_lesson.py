"""Training under the clock: warm-up does not teach, evaluation does not count."""

from __future__ import annotations

import numpy as np
import pytest

from benchharness.measure.clock import PhaseClock, Stopwatch
from benchharness.model.task import Scores
from benchharness.run import lesson as lesson_module
from benchharness.run.lesson import DivergedError, Lesson
from benchharness.run.strategies import ends, summarize, time_to_top1
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import linear, make_batches, make_task


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
    monkeypatch.setattr(lesson_module, "now_s", clock)
    return clock


class SlowTraining:
    """Takes 2 s to train an epoch, 0.5 s to synchronise afterwards and 30 s to evaluate."""

    def __init__(self, clock: FakeClock, losses: list[float]) -> None:
        self._clock = clock
        self._losses = losses
        self._is_busy = False

    def train(self, epochs, *, after_step, after_epoch) -> None:
        """Train each epoch and report it before the device has finished."""
        for _, loss in zip(epochs, self._losses, strict=False):
            self._clock.now_s += 2.0
            self._is_busy = True
            after_epoch(Scores(loss=loss, top1=0.5, count=10))

    def evaluate(self, batches) -> Scores:
        """Score slowly."""
        self._clock.now_s += 30.0
        return Scores(loss=0.6, top1=0.7, count=5)

    def synchronize(self) -> None:
        """Wait for the device."""
        self._clock.now_s += 0.5 if self._is_busy else 0.0
        self._is_busy = False


def taught(clock: FakeClock, losses: list[float]) -> tuple[Lesson, PhaseClock]:
    """Return a lesson after as many epochs as there are losses."""
    phases = PhaseClock(started_s=clock.now_s, now=clock)
    lesson = Lesson(
        training=SlowTraining(clock, losses),
        clock=phases,
        validation=make_batches(sizes=(4,)),
        on_epoch=lambda epoch: None,
    )
    with phases.phase("train"):
        lesson.teach([make_batches(sizes=(4,))] * len(losses))
    return lesson, phases


def test_evaluation_does_not_count_as_training_time(fake_clock: FakeClock):
    """Seconds spent in evaluate() are absent from train_s, of the epochs and of the phase."""
    lesson, phases = taught(fake_clock, [0.7, 0.6])

    assert [epoch.train_s for epoch in lesson.epochs] == [2.5, 2.5]
    assert phases.seconds == {"train": 5.0, "evaluate": 60.0}


def test_work_still_on_the_device_counts_as_training_time(fake_clock: FakeClock):
    """An epoch ends when the device has finished, not when the last step was queued."""
    lesson, _ = taught(fake_clock, [0.7])

    assert lesson.epochs[0].train_s == 2.5


def test_throughput_is_images_over_training_seconds(fake_clock: FakeClock):
    """Two epochs of 10 images in 2 x 2.5 s."""
    lesson, _ = taught(fake_clock, [0.7, 0.6])

    metrics = summarize(lesson, target_top1=0.7)
    assert metrics["train_images_per_s"] == 4.0
    assert metrics["time_to_top1_s"] == 2.5
    assert metrics["best_epoch"] == 1


def test_a_target_that_is_missed_has_no_time(fake_clock: FakeClock):
    """Missing is empty, not zero and not the whole time."""
    lesson, _ = taught(fake_clock, [0.7, 0.6])

    assert time_to_top1(lesson.epochs, 0.9) is None
    assert time_to_top1(lesson.epochs, None) is None


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
        lesson = Lesson(
            training=training,
            clock=PhaseClock(started_s=0.0),
            validation=batches[:1],
            on_epoch=lambda epoch: None,
        )
        if is_warmed_up:
            lesson.warm_up(ends(batches))
        lesson.teach([batches, batches])
        trained.append(training.weights())

    for name in trained[0]:
        np.testing.assert_array_equal(trained[0][name], trained[1][name])


def test_warm_up_sees_the_smaller_last_batch_too():
    """To a tracing framework another batch size is another program."""
    sizes = [len(batch) for batch in ends(make_batches(sizes=(6, 6, 3)))]

    assert sizes == [6, 3]


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
    assert phases.other_s() == 4.0


def test_a_stopwatch_waits_for_the_device_at_both_edges():
    """Work queued before the start is not counted; work queued before the stop is."""
    clock, waits = FakeClock(), []

    def synchronize() -> None:
        waits.append(clock.now_s)
        clock.now_s += 5

    stopwatch = Stopwatch(synchronize=synchronize, now=clock)
    stopwatch.start()
    clock.now_s += 1

    assert stopwatch.stop() == 6.0
    assert waits == [100.0, 106.0]
