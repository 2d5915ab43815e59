"""Replay in the contract: planted slowness and false replays are named, honest backends pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from contract_runs import check_backend

from benchharness.api import AfterEpoch, AfterStep, Batch, Batches, Task
from benchharness.testing import BackendContract
from benchharness.testing.contract_timing import REPLAYED_RULES as RULES
from benchharness.testing.reference import NumpyBackend, NumpyTraining
from benchharness.testing.reference_layers import Array
from benchharness.testing.reference_rules import Judgement, Rule
from benchharness.testing.tasks import CPU

CONTRACT = BackendContract()
MOVES = CONTRACT.test_replayed_steps_are_those_of_training
COST = CONTRACT.test_training_adds_little_to_its_replay


class Trains(NumpyBackend):
    """The reference with another training."""

    def __init__(self, training: type) -> None:
        super().__init__()
        self._training = training

    def train(self, task: Task):
        """Train another way."""
        return self._training(task, self._dtype)


class StepsEagerly(NumpyTraining):
    """Trains by a slow step, as without compilation, and replays a fast one."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Slow every step down, and nothing else."""
        self._is_eager = True
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)
        self._is_eager = False

    def _step(self, inputs: Array, labels: Array) -> Judgement:
        if getattr(self, "_is_eager", False):
            time.sleep(0.006)
        return super()._step(inputs, labels)


class ReadsBackEachStep(NumpyTraining):
    """Reads the loss from the device after each step, which waits for it."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Read, then report the step."""

        def read() -> None:
            time.sleep(0.006)
            after_step()

        super().train(epochs, after_step=read, after_epoch=after_epoch)


class GathersSlowly(NumpyTraining):
    """Takes 16 ms to bring a batch, as a PyDataset with two workers does."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Wait for every batch."""
        super().train(
            [Slow(batches) for batches in epochs], after_step=after_step, after_epoch=after_epoch
        )


class Slow(Sequence[Batch]):
    """Batches that take their time."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index):
        batch = self._batches[index]
        time.sleep(0.016)
        return batch


class IsDisturbed(NumpyTraining):
    """Is slow in its first calls of ``train``, as on a machine that others use."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Sleep in each step of six calls."""
        self._calls = getattr(self, "_calls", 0) + 1
        is_slow = self._calls <= 6

        def pause() -> None:
            # A sleep of no length would hand the processor to whoever waits for it.
            if is_slow:
                time.sleep(0.005)
            after_step()

        super().train(epochs, after_step=pause, after_epoch=after_epoch)


class EntersSlowly(NumpyTraining):
    """Needs 30 ms to enter and to leave its loop, as ``fit`` does."""

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Enter, train and leave."""
        time.sleep(0.03)
        super().train(epochs, after_step=after_step, after_epoch=after_epoch)
        time.sleep(0.03)


class ReplaysNothing(NumpyTraining):
    """Takes no step at all."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Do nothing, quickly."""
        return lambda: None


class ReplaysPlainImages(NumpyTraining):
    """Leaves out the augmentation."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Forget the warp."""
        return super().replay(replace(batch, warp=None))


class ReplaysHalfTheBatch(NumpyTraining):
    """Computes on half the images."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Take the first half."""
        return super().replay(batch.take(slice(len(batch) // 2)))


class ReplaysAFreshOptimizer(NumpyTraining):
    """Begins again with the averages of the optimizer."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Forget what the epochs have left."""
        self._rule = Rule(self._optimizer)
        return super().replay(batch)


class ReplaysACopy(NumpyTraining):
    """Steps on a copy of the weights, and leaves its own where they are."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Train another training."""
        return NumpyTraining(self._task, "float64").replay(batch)


class RecordsItsReplay(NumpyTraining):
    """Records replayed steps like others."""

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Record, then step."""
        step = super().replay(batch)

        def recorded() -> None:
            self._ledger.clear()
            self._ledger.write(np.asarray(self._inputs(batch)), batch.labels)
            step()

        return recorded


class WithoutReplay:
    """A training of the contract's mandatory part alone."""

    def __init__(self, task: Task, dtype: str) -> None:
        self._training = NumpyTraining(task, dtype)

    def __getattr__(self, name: str):
        if name == "replay":
            raise AttributeError(name)
        return getattr(self._training, name)


@pytest.mark.parametrize("training", [StepsEagerly, ReadsBackEachStep, GathersSlowly])
def test_slowness_around_the_computation_is_named(training: type):
    """An eager step, a read after each step, slow batches: all beyond the replay."""
    with pytest.raises(pytest.fail.Exception, match="what is around the computation is slow"):
        COST(Trains(training), CPU)


@pytest.mark.parametrize("training", [NumpyTraining, IsDisturbed, EntersSlowly])
def test_an_honest_training_adds_little_to_its_replay(training: type):
    """A busy machine slows some attempts, and entering the loop is part of no step."""
    COST(Trains(training), CPU)


@pytest.mark.parametrize(
    ("training", "is_augmented"),
    [
        (ReplaysNothing, False),
        (ReplaysPlainImages, True),
        (ReplaysHalfTheBatch, False),
        (ReplaysAFreshOptimizer, False),
        (ReplaysACopy, False),
    ],
)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_another_step_than_that_of_training_is_named(training: type, is_augmented: bool, rule):
    """Less work would be a faster replay, and slowness that nothing adds up to."""
    with pytest.raises(AssertionError, match="movement by replay"):
        MOVES(Trains(training), CPU, rule, is_augmented)


def test_recording_a_replay_is_named():
    """The record is that of the last epoch."""
    with pytest.raises(AssertionError, match="recorded"):
        CONTRACT.test_a_replay_records_nothing(Trains(RecordsItsReplay), CPU)


def test_a_training_without_replay_is_passed_over_with_the_reason():
    """The clause is refused, as the contract allows, and says what stays unknown."""
    result = check_backend(Trains(WithoutReplay), "replay")["replay"]

    assert result.outcome == "refused"
    (reason,) = result.refusals
    assert "stays unknown" in reason
