"""The contract's part on waiting: a clock that does not wait for the device measures the queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchharness.api import AfterStep, Backend, Batches, Execution, Task
from benchharness.measure.clock import now_s
from benchharness.measure.synchrony import UnsynchronizedError, Witnessed, demand_synchrony
from benchharness.testing.refusal import Contract
from benchharness.testing.tasks import (
    make_batches,
    make_network,
    make_task,
    make_witness,
    small_cnn,
)

# Images that take a device longer than handing them over does.
SHAPE = (32, 32, 3)
SIZES = (16, 16, 16, 16)
# Runs may be this much shorter than a timed trial's, whose verdict is final.
_SHORTER = 3


class SynchronyContract(Contract):
    """``synchronize`` returns when the device has finished, and not before."""

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_synchronize_waits_for_the_device(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """Half the steps seem to take half the time, held against results that are read back."""
        runs, step_s = _runs(backend, kind, execution)

        try:
            demand_synchrony(runs, step_s=_SHORTER * step_s)
        except UnsynchronizedError as error:
            pytest.fail(f"synchronize: {error}", pytrace=False)


def _runs(backend: Backend, kind: str, execution: Execution) -> tuple[Witnessed, float]:
    """Return runs of a few steps of some work, and about how long a step takes."""
    batches = make_batches(sizes=SIZES, shape=SHAPE)
    work, synchronize, read_back = _work(backend, _task(kind, execution), kind)
    runs = Witnessed(work=work, batches=batches, synchronize=synchronize, read_back=read_back)
    # The first steps may compile something, and the ones after them tell the time.
    work(batches, _nothing)
    read_back()
    began_s = now_s()
    work(batches, _nothing)
    read_back()
    return runs, (now_s() - began_s) / len(batches)


def _task(kind: str, execution: Execution) -> Task:
    layers = () if kind == "feed" else small_cnn().layers
    return make_task(
        make_network(*layers, input_shape=SHAPE),
        optimizer=None if kind == "feed" else make_task(small_cnn()).optimizer,
        execution=execution,
        witness=make_witness(shape=SHAPE),
    )


def _work(
    backend: Backend, task: Task, kind: str
) -> tuple[Callable[[Batches, AfterStep], None], Callable[[], None], Callable[[], object]]:
    """Return what does steps, what waits for the device, and what reads results back."""
    if kind == "feed":
        feeding = backend.feed(task)

        def feed(batches: Batches, after_step: AfterStep) -> None:
            feeding.feed(batches, after_step=after_step)

        return feed, feeding.synchronize, feeding.consumed
    training = backend.train(task)

    def train(batches: Batches, after_step: AfterStep) -> None:
        training.train([batches], after_step=after_step, after_epoch=lambda scores: None)

    return train, training.synchronize, training.weights


def _nothing() -> None:
    """Take no note of a step."""
