"""Slow adapters around Keras: each fault that an earlier version had is named by the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import pytest

from benchharness.api import AfterEpoch, AfterStep, Backend, Batches, Task
from benchharness.report.rows import NOTABLE_ABOVE
from benchharness.testing import BackendContract
from benchharness.testing.assertions import Subject
from benchharness.testing.contract_execution import ReplayTimer
from benchharness.testing.tasks import CPU

pytestmark = pytest.mark.full
keras_plugin = pytest.importorskip("benchharness_keras.plugin")
pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def slow_trainings() -> Mapping[str, Any]:
    """Trainings that do the right work in a slow way, and replay it as it should be."""
    backend = keras_plugin.load_backend("tensorflow")
    import keras
    from benchharness_keras import training
    from benchharness_keras.training import KerasTraining

    class TwoWorkers(training.BatchDataset):
        def __init__(self, reporter: Any) -> None:
            super().__init__(reporter)
            self.workers = 2

    class Queued(training.KerasNativeTraining):
        replay = KerasTraining.replay

        def train(
            self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
        ) -> None:
            usual = training.pipeline
            training.pipeline = lambda reporter, task: TwoWorkers(reporter)
            try:
                super().train(epochs, after_step=after_step, after_epoch=after_epoch)
            finally:
                training.pipeline = usual

    class Eager(KerasTraining):
        def train(
            self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
        ) -> None:
            graph, self._steps.learn = self._steps.learn, self._steps._learn
            try:
                super().train(epochs, after_step=after_step, after_epoch=after_epoch)
            finally:
                self._steps.learn = graph

    class Recording(KerasTraining):
        def __init__(self, task: Task, *, device: str) -> None:
            super().__init__(task, device=device)
            self._ledger._sampled = frozenset(range(1000))

    assert keras.config.backend() == "tensorflow"
    return {
        "honest": (backend, KerasTraining),
        "PyDataset of two workers": (backend, Queued),
        "eager step": (backend, Eager),
        "record of every step": (backend, Recording),
    }


class Planted:
    """A backend whose trainings are of another class."""

    def __init__(self, backend: Backend, kind: Any) -> None:
        self._backend = backend
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        """Leave the rest as it is."""
        return getattr(self._backend, name)

    def train(self, task: Task) -> Any:
        """Return the planted training."""
        from benchharness_keras.data import use_device

        return self._kind(task, device=use_device(task))


def test_an_eager_step_is_named(slow_trainings: Mapping[str, Any]) -> None:
    """A step of training costs more than a millisecond beyond its replay."""
    backend = Planted(*slow_trainings["eager step"])

    with pytest.raises(pytest.fail.Exception, match="beyond its replay"):
        BackendContract().test_training_adds_little_to_its_replay(Subject(backend))


def test_a_queue_of_two_workers_shows_outside_the_computation(
    slow_trainings: Mapping[str, Any],
) -> None:
    """It costs such a step a millisecond, near what the contract allows; the note names it."""
    # Its threads share the cores with whatever else is at work, which can hide it once.
    for _ in range(3):
        timer = ReplayTimer(Planted(*slow_trainings["PyDataset of two workers"]), CPU)
        steps = [timer.compare() for _ in range(4)]
        share = median(1 - replay_s / step_s for step_s, replay_s in steps)
        if share > NOTABLE_ABOVE:
            break

    assert share > NOTABLE_ABOVE


def test_the_loop_of_the_plugin_is_not(slow_trainings: Mapping[str, Any]) -> None:
    """The same check passes what the plugin does."""
    BackendContract().test_training_adds_little_to_its_replay(
        Subject(Planted(*slow_trainings["honest"]))
    )


def test_a_record_of_every_step_is_named(slow_trainings: Mapping[str, Any]) -> None:
    """More steps than were sampled are as wrong as fewer."""
    backend = Planted(*slow_trainings["record of every step"])

    with pytest.raises(AssertionError, match="recorded steps"):
        BackendContract().test_sampled_steps_alone_are_recorded(Subject(backend), "train", (0, 2))
