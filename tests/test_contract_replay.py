"""Replay in the contract: planted slowness and false replays are named, honest backends pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract_runs import check_backend
from test_contract_sabotage import Sabotaged, training

from benchharness.api import AfterStep, Batch, Batches, Task
from benchharness.testing import BackendContract, contract_execution
from benchharness.testing.assertions import Subject
from benchharness.testing.reference import NumpyOptimizer, NumpyTraining

pytestmark = pytest.mark.slow

CONTRACT = BackendContract()
MOVES = CONTRACT.test_replayed_steps_are_those_of_training
RULES = contract_execution.REPLAYED_RULES
COST = CONTRACT.test_training_adds_little_to_its_replay


class StepsEagerly(NumpyTraining):
    """Trains by a slow step, as without compilation, and replays a fast one."""

    def train(self, epochs: Sequence[Batches], **reports: Any) -> None:
        """Slow every step down, and nothing else."""
        self._is_eager = True
        super().train(epochs, **reports)
        self._is_eager = False

    def _step(self, *batch: Any) -> Any:
        if getattr(self, "_is_eager", False):
            time.sleep(0.006)
        return super()._step(*batch)


def reads_back(self: Any, usual: Any, epochs: Any, *, after_step: AfterStep, **report: Any) -> None:
    """Read the loss from the device after each step, which waits for it."""

    def read() -> None:
        time.sleep(0.006)
        after_step()

    usual(epochs, after_step=read, **report)


class Slow(Sequence[Batch]):
    """Batches that take 16 ms each, as those of a PyDataset with two workers do."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index):
        batch = self._batches[index]
        time.sleep(0.016)
        return batch


def is_disturbed(
    self: Any, usual: Any, epochs: Any, *, after_step: AfterStep, **report: Any
) -> None:
    """Sleep in each step of the first six calls, as on a machine that others use."""
    self._calls = getattr(self, "_calls", 0) + 1
    is_slow = self._calls <= 6

    def pause() -> None:
        # A sleep of no length would hand the processor to whoever waits for it.
        if is_slow:
            time.sleep(0.005)
        after_step()

    usual(epochs, after_step=pause, **report)


def enters_slowly(self: Any, usual: Any, epochs: Any, **reports: Any) -> None:
    """Take 30 ms to enter and to leave the loop, as ``fit`` does."""
    time.sleep(0.03)
    usual(epochs, **reports)
    time.sleep(0.03)


def replays_a_fresh_optimizer(self: Any, usual: Any, batch: Batch) -> Any:
    """Forget what the epochs have left in the optimizer."""
    self._rule = NumpyOptimizer(self._optimizer)
    return usual(batch)


def records_its_replay(self: Any, usual: Any, batch: Batch) -> Any:
    """Record, then step."""
    step = usual(batch)

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


SLOW = {
    "eager steps": Sabotaged(training=StepsEagerly),
    "results read back": training(train=reads_back),
    "batches gathered slowly": training(
        train=lambda self, usual, epochs, **reports: usual([Slow(b) for b in epochs], **reports)
    ),
}
HONEST = {
    "reference": Sabotaged(),
    "disturbed": training(train=is_disturbed),
    "slow to enter": training(train=enters_slowly),
}
# With what is replayed, and whether the task is augmented.
FALSE_REPLAYS = {
    "nothing": (training(replay=lambda self, usual, batch: lambda: None), False),
    "plain images": (
        training(replay=lambda self, usual, batch: usual(replace(batch, warp=None))),
        True,
    ),
    "half the batch": (
        training(replay=lambda self, usual, batch: usual(batch.take(slice(len(batch) // 2)))),
        False,
    ),
    "a fresh optimizer": (training(replay=replays_a_fresh_optimizer), False),
    "a copy of the weights": (
        training(
            replay=lambda self, usual, batch: NumpyTraining(self._task, "float64").replay(batch)
        ),
        False,
    ),
}


@pytest.mark.parametrize("backend", SLOW.values(), ids=SLOW)
def test_slowness_around_the_computation_is_named(
    backend: Sabotaged, monkeypatch: pytest.MonkeyPatch
):
    """An eager step, a read after each step, slow batches: all beyond the replay."""
    # Further attempts are for honest trainings on busy machines.
    monkeypatch.setattr(contract_execution, "_ATTEMPTS", 1)

    with pytest.raises(pytest.fail.Exception, match="what is around the computation is slow"):
        COST(Subject(backend))


@pytest.mark.parametrize("backend", HONEST.values(), ids=HONEST)
def test_an_honest_training_adds_little_to_its_replay(backend: Sabotaged):
    """A busy machine slows some attempts, and entering the loop is part of no step."""
    COST(Subject(backend))


@pytest.mark.parametrize(("backend", "is_augmented"), FALSE_REPLAYS.values(), ids=FALSE_REPLAYS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_another_step_than_that_of_training_is_named(backend: Sabotaged, is_augmented: bool, rule):
    """Less work would be a faster replay, and slowness that nothing adds up to."""
    with pytest.raises(AssertionError, match="movement by replay"):
        MOVES(Subject(backend), rule, is_augmented)


def test_recording_a_replay_is_named():
    """The record is that of the last epoch."""
    backend = training(replay=records_its_replay)

    with pytest.raises(AssertionError, match="recorded"):
        CONTRACT.test_a_replay_records_nothing(Subject(backend))


def test_a_training_without_replay_is_passed_over_with_the_reason():
    """The clause is refused, as the contract allows, and says what stays unknown."""
    result = check_backend(Sabotaged(training=WithoutReplay), "replay")["replay"]

    assert result.outcome == "refused"
    (reason,) = result.refusals
    assert "stays unknown" in reason
