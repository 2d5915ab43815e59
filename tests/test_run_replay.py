"""Replay in a trial: what slows a training step outside its computation shows, and is named."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from in_process import workers_here
from local_plugins import importable, install
from test_run import run

from benchharness.measure.blocks import Block
from benchharness.measure.clock import PhaseClock
from benchharness.model.task import FileSource, Scores
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import linear, make_batches, make_fingerprint_spec, make_task
from benchharness.worker import calibration, training_loop, trial
from benchharness.worker.calibration import TrainingCheck
from benchharness.worker.training_loop import Epoch, TrainingLoop
from benchharness.worker.trial import replayed_batch

pytestmark = pytest.mark.slow

PLANTED = """
import time
from dataclasses import replace

from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend, NumpyTraining

STEP_S = 0.01
# The clock of the tests: moved by what is planted here, and by no other process.
spent_s = 0.0


def spend(seconds):
    global spent_s
    time.sleep(seconds)
    spent_s += seconds


class Training(NumpyTraining):
    # Computes for 10 ms a step, and spends as long on what is planted.
    fault = ""

    def train(self, epochs, *, after_step, after_epoch):
        self.is_training = True

        def late():
            if self.fault == "reads_back":
                spend(0.005)
            after_step()

        super().train(map(self.gathered, epochs), after_step=late, after_epoch=after_epoch)
        self.is_training = False

    def gathered(self, batches):
        for batch in batches:
            if self.fault == "gathers_slowly":
                spend(0.016)
            yield batch

    def _step(self, inputs, labels):
        spend(STEP_S)
        if self.fault == "eager" and getattr(self, "is_training", False):
            spend(0.006)
        return super()._step(inputs, labels)

    def replay(self, batch):
        if self.fault == "broken":
            raise RuntimeError("no room for a second batch")
        return super().replay(batch)


class Backend(NumpyBackend):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def train(self, task):
        if self.fault == "records_all" and task.fingerprint_spec is not None:
            every = replace(task.fingerprint_spec, steps=tuple(range(1000)))
            task = replace(task, fingerprint_spec=every)
        training = Training(task, self._dtype)
        training.fault = self.fault
        return training


@hookimpl
def benchharness_backend(options):
    return Backend(options.get("fault", ""))
"""
FAULTS = ("eager", "reads_back", "gathers_slowly")
BACKENDS = ("honest", *FAULTS, "records_all", "broken")
SUITE = f"""
name = "planted"
trials = 1
backends = {list(BACKENDS)}

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 120
test_images = 4
batch_size = 5

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
dense = 4
epochs = 2
""" + "".join(
    f'\n[backend.{name}]\nplugin = "planted"\noptions = {{ fault = "{name}" }}\n'
    for name in BACKENDS
).replace('fault = "honest"', 'fault = ""')


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """A run of a backend with each fault, and of the same without."""
    folder = tmp_path_factory.mktemp("planted")
    install(folder / "plugin", "planted", PLANTED)
    with importable(folder / "plugin"), workers_here(), pytest.MonkeyPatch.context() as patch:
        planted = import_module("planted_module")
        for module in (calibration, training_loop):
            patch.setattr(module, "now_s", lambda: planted.spent_s)
        # It repeats a product until seconds have passed, which they never do on that clock.
        patch.setattr(trial, "calibrate", lambda context: None)
        _, found = run(folder, SUITE)
    return {record["backend"]: record for record in found}


@pytest.mark.parametrize("fault", FAULTS)
def test_time_spent_outside_the_computation_shows(records, fault: str):
    """A slow step in place of the fast one, a read after each step, batches that come late."""
    metrics = records[fault]["metrics"]

    assert records[fault]["status"] == "ok"
    assert metrics["compute_ms"] == pytest.approx(10.0)
    assert metrics["step_ms_p50"] > 14.0
    assert metrics["outside_fraction"] > 0.15


def test_a_training_that_only_computes_spends_nothing_outside(records):
    """Of 10 ms of a step."""
    metrics = records["honest"]["metrics"]

    assert metrics["compute_ms"] == pytest.approx(10.0)
    assert metrics["outside_fraction"] == pytest.approx(0.0, abs=1e-6)
    assert records["honest"]["ledger"]["verdict"] == "as planned"
    assert metrics["replay_s"] > 0.01


def test_recording_every_step_is_named_by_the_ledger(records):
    """Of 20 steps three are sampled."""
    verdict = records["records_all"]["ledger"]["verdict"]

    assert verdict == "epoch 1: 20 recorded steps instead of 3"


def test_a_replay_that_fails_takes_nothing_from_the_trial(records):
    """Its columns stay empty, the clock is checked by training steps."""
    record = records["broken"]

    assert (record["status"], record["reason"]) == ("ok", "")
    assert record["metrics"]["step_ms_p50"] == pytest.approx(10.0)
    assert not {"compute_ms", "outside_fraction"} & set(record["metrics"])


def test_phases_of_the_harness_take_little_of_a_small_trial(records):
    """Half a second on a quiet machine; tenfold, one that is busy."""
    for record in records.values():
        metrics = record["metrics"]
        spent_s = sum(metrics.get(f"{name}_s", 0.0) for name in ("ledger", "replay", "overhead"))
        assert spent_s < 5.0, record["backend"]


def test_a_batch_of_files_is_replayed_with_its_pixels():
    """Those of the prepared images, by id."""
    (batch,) = make_batches(sizes=(4,))
    images = np.concatenate([np.zeros_like(batch.inputs), batch.inputs])
    named = replace(batch, ids=batch.ids + 4, inputs=np.empty((4, 0, 0, 0), np.uint8))
    task = replace(make_task(linear()), files=FileSource(paths=("a.jpg",) * 8))

    found = replayed_batch(images, task, [named])

    np.testing.assert_array_equal(found.inputs, batch.inputs)
    assert replayed_batch(images, make_task(linear()), [batch]) is batch


class CountedTraining:
    """Counts steps and reads, on a clock of its own; a step takes so long, a read a third."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s
        self.replayed = self.evaluated = 0

    def replay(self, batch):
        """Return what takes a step."""

        def step() -> None:
            self.replayed += 1
            self.now_s += self.step_s

        return step

    def evaluate(self, batches) -> Scores:
        """Read."""
        self.evaluated += 1
        self.now_s += self.step_s / 3
        return Scores(loss=0.5, top1=0.5, count=1)

    def synchronize(self) -> None:
        """Return at once: every step has waited."""

    def __getattr__(self, name: str):
        """Refuse what would copy the weights, or train them further."""
        raise AssertionError(f"{name} is asked for")


@pytest.mark.parametrize(
    ("step_s", "steps", "at_most"),
    [
        # A warm one and five that check the clock, five after a pause, 0.2 s of others.
        (0.01, 100_000, 31),
        (0.01, 200, 31),
        # Of long steps a warm one and one or two that are timed.
        (1.0, 60, 4),
        (5.0, 20, 2),
        (30.0, 4, 2),
    ],
)
def test_few_steps_are_replayed_and_no_weights_are_read(
    monkeypatch: pytest.MonkeyPatch, step_s: float, steps: int, at_most: int
):
    """After the training it costs a twentieth and two seconds, or two steps and a reading."""
    training = CountedTraining(step_s)
    monkeypatch.setattr("benchharness.worker.calibration.now_s", lambda: training.now_s)
    check = trained(training, step_s=step_s, steps=steps)

    columns = check.run()

    assert columns["compute_ms"] == pytest.approx(1e3 * step_s)
    assert columns["outside_fraction"] == pytest.approx(0.0)
    assert 2 <= training.replayed <= at_most
    floor_s = 2 * step_s + step_s / 3
    assert training.now_s <= max(0.05 * steps * step_s + 2.0 + step_s, floor_s)


def trained(training, *, step_s: float, steps: int) -> TrainingCheck:
    """Return the check of a training with an epoch of so many steps."""
    clock = PhaseClock(started_s=0.0, now=lambda: training.now_s)
    half = steps // 2
    blocks = (Block(half, half * step_s), Block(steps - half, (steps - half) * step_s))
    epoch = Epoch(epoch=1, train_s=steps * step_s, train_loss=0.5, train_top1=0.5, blocks=blocks)
    (batch,) = make_batches(sizes=(4,))
    loop = TrainingLoop(
        training=training,
        clock=clock,
        validation=[batch],
        on_epoch=lambda epoch: None,
        epochs=[epoch],
        evaluation_s=step_s / 3 / len(batch),
    )
    return TrainingCheck(
        context=SimpleNamespace(clock=clock),
        loop=loop,
        batch=batch,
        probe=batch,
        is_replayed=True,
    )


def test_the_state_of_the_training_is_read_by_evaluation_alone():
    """A whole training of the reference, checked: nothing is saved or loaded."""
    task = make_task(linear(), fingerprint_spec=make_fingerprint_spec(steps=(0,)))
    batches = make_batches()
    training = NumpyBackend().train(task)
    clock = PhaseClock(started_s=0.0)
    loop = TrainingLoop(
        training=training, clock=clock, validation=batches[:1], on_epoch=lambda epoch: None
    )
    loop.run([batches])
    training.weights = training.load_weights = training.reset = None
    check = TrainingCheck(
        context=SimpleNamespace(clock=clock),
        loop=loop,
        batch=batches[0],
        probe=batches[0],
        is_replayed=True,
    )

    columns = check.run()

    assert columns["compute_ms"] > 0.0
    assert list(clock.seconds) == ["evaluate", "replay", "calibrate"]


def test_what_slows_steps_after_a_pause_does_not_make_a_step_long(monkeypatch):
    """For 60 ms after each pause steps of 10 ms take 20: the time of a step is 10 ms."""
    clock_s, woken_s = 100.0, 100.06

    def step() -> None:
        nonlocal clock_s
        clock_s += 0.02 if clock_s < woken_s else 0.01

    monkeypatch.setattr(calibration, "now_s", lambda: clock_s)
    training = SimpleNamespace(synchronize=lambda: None)
    epochs = [SimpleNamespace(blocks=[Block(200, 2.0)])]
    loop = SimpleNamespace(training=training, epochs=epochs, train_s=2.0)
    check = TrainingCheck(context=None, loop=loop, batch=None, probe=None, is_replayed=True)

    blocks = check._replayed(step, [Block(5, 0.1)] * 4)

    assert calibration.step_ms(blocks) == pytest.approx(10.0)
    assert sum(block.steps for block in blocks) >= 3
    assert clock_s - 100 <= 0.5
