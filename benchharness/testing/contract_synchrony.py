"""Contract's part on waiting: a clock that does not wait for the device measures its queue."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import pytest

from benchharness.api import AfterStep, Backend, Execution, Replayable, Task
from benchharness.measure.clock import now_s
from benchharness.measure.sync_check import (
    Stretches,
    UnsynchronizedError,
    require_synchronize,
    stretch_steps,
)
from benchharness.testing.skip import Contract
from benchharness.testing.tasks import (
    make_batches,
    make_network,
    make_task,
    make_witness,
    small_cnn,
)

# Images that take a device longer than handing them over does; where a step is shorter than half
# a step can be told from noise, the batch is larger, up to so many times.
SHAPE, SIZE = (32, 32, 3), 16
_STEP_S, _TIMES_LARGER = 0.008, 128
# As many steps as are recorded at most: reading back waits for a step only where it is.
_MOST = 64


class SynchronyContract(Contract):
    """``synchronize`` returns when the device has finished, and not before."""

    @pytest.mark.parametrize("kind", ["feed", "train"])
    def test_synchronize_waits_for_the_device(
        self, backend: Backend, execution: Execution, kind: str
    ) -> None:
        """After it, results of the last step are read back without waiting for any more."""
        task = _task(kind, execution)
        shortest_s = min(map(_step_s, _stretches(backend, task, kind, size=SIZE)))
        larger = max(1, min(_TIMES_LARGER, ceil(_STEP_S / shortest_s)))
        for stretches in _stretches(backend, task, kind, size=SIZE * larger):
            step_s = _step_s(stretches)
            steps = min(_MOST, stretch_steps(step_s))
            try:
                require_synchronize(stretches, steps=steps, step_s=step_s)
            except UnsynchronizedError as error:
                pytest.fail(f"synchronize: {error}", pytrace=False)


def _step_s(stretches: Stretches) -> float:
    """Return about how long a step takes, whoever waits for it."""
    few, times_s = 4, []
    # The first steps may compile something; of the others the fastest, since noise only adds.
    stretches.run(few)
    for _ in range(3):
        began_s = stretches.now()
        stretches.run(few)
        times_s.append((stretches.now() - began_s) / few)
    return min(times_s)


def _task(kind: str, execution: Execution) -> Task:
    layers = () if kind == "feed" else small_cnn().layers
    return make_task(
        make_network(*layers, input_shape=SHAPE),
        optimizer=None if kind == "feed" else make_task(small_cnn()).optimizer,
        execution=execution,
        witness=make_witness(shape=SHAPE, steps=range(_MOST)),
    )


def _stretches(backend: Backend, task: Task, kind: str, *, size: int) -> list[Stretches]:
    """Return stretches of every way in which a backend takes steps of a kind of work."""
    (batch,) = make_batches(sizes=(size,), shape=SHAPE)
    if kind == "feed":
        feeding = backend.feed(task)

        def feed(steps: int, after_step: AfterStep) -> None:
            feeding.feed([batch] * steps, after_step=after_step)

        return [_made(feed, feeding.synchronize, feeding.consumed)]
    training = backend.train(task)

    def train(steps: int, after_step: AfterStep) -> None:
        training.train([[batch] * steps], after_step=after_step, after_epoch=lambda scores: None)

    found = [_made(train, training.synchronize, lambda: training.evaluate([batch]))]
    if isinstance(training, Replayable):
        step = training.replay(batch)

        def replay(steps: int, after_step: AfterStep) -> None:
            for _ in range(steps):
                step()
                after_step()

        found.append(_made(replay, training.synchronize, lambda: training.evaluate([batch])))
    return found


def _made(
    work: Callable[[int, AfterStep], None],
    synchronize: Callable[[], None],
    read_back: Callable[[], object],
) -> Stretches:
    return Stretches(work=work, synchronize=synchronize, read_back=read_back, now=now_s)
