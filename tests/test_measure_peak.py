"""Peak of a device: matrix products of known size, timed by a clock of known speed."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from benchharness.api import UnsupportedError
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import CPU
from benchharness.worker.calibration import backend_flops_per_s, cpu_flops_per_s


def ticking(step_s: float):
    """Return a clock that goes on by so much each time it is read."""
    readings = count()
    return lambda: next(readings) * step_s


def test_a_square_product_is_two_operations_per_multiply_add():
    """32 x 32 x 32 in half a second: 2 * 32768 / 0.5."""
    assert cpu_flops_per_s(size=32, now=ticking(0.5)) == 2 * 32**3 / 0.5


def test_the_best_repeat_counts():
    """Repeats of 4, 1 and 3 s; what else runs only ever slows a product down."""
    readings = iter([0.0, 4.0, 4.0, 5.0, 5.0, 8.0])

    assert cpu_flops_per_s(size=8, now=lambda: next(readings)) == 2 * 8**3


def test_short_products_are_repeated_for_a_tenth_of_a_second():
    """Of 1/64 s each there are seven."""
    readings = count()

    cpu_flops_per_s(size=8, now=lambda: next(readings) / 64)

    assert next(readings) == 2 * 7


def test_a_product_too_short_for_all_cores_is_doubled():
    """Of 1/1024 s at 8, 1/128 s at 16: the larger one counts."""
    readings = count()
    now_s = 0.0

    def now() -> float:
        nonlocal now_s
        reading = next(readings)
        # 103 repeats at 8, two readings each.
        now_s += (1 / 1024 if reading < 206 else 1 / 128) * (reading % 2)
        return now_s

    assert cpu_flops_per_s(size=8, now=now) == 2 * 16**3 * 128


def test_a_backends_products_are_counted_with_the_layers_around_them():
    """Ten rows through 8 -> 16, twice 16 -> 16, 16 -> 8, in a quarter of a second."""
    found = backend_flops_per_s(NumpyBackend(), CPU, rows=10, units=16, layers=2, now=ticking(0.25))

    assert found == 10 * 2 * (8 * 16 + 2 * 16 * 16 + 16 * 8) / 0.25


class Seen(NumpyBackend):
    """The reference, which keeps what it is asked to multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.batches = [], []

    def extract(self, task):
        """Keep the task, and the batches later."""
        self.tasks.append(task)
        extraction = super().extract(task)
        extract = extraction.extract

        def seen(batches):
            self.batches.extend(batches)
            return extract(batches)

        extraction.extract = seen
        return extraction


def test_a_backend_multiplies_random_values_and_none_that_grow():
    """Constants take less power, so a GPU multiplies them at a higher clock."""
    backend = Seen()
    backend_flops_per_s(backend, CPU, rows=64, units=32, layers=3, now=ticking(0.25))
    operands = [backend.batches[0].inputs, *backend.tasks[0].weights.values()]

    assert all(len(np.unique(values)) > 0.99 * values.size for values in operands)
    (outputs,) = backend.extract(backend.tasks[0]).extract(backend.batches[:1])
    assert 0.1 < outputs.std() < 10


def test_of_products_too_short_for_a_gpu_more_follow_each_other_and_not_without_end():
    """Layers in all: two ends, and 1, 5 or 64 of the products."""
    backend = Seen()
    lengths, readings, now_s = (0.0125, 0.2), count(), 0.0

    def now() -> float:
        nonlocal now_s
        now_s += lengths[len(backend.tasks) - 1] * (next(readings) % 2)
        return now_s

    found = backend_flops_per_s(backend, CPU, rows=4, units=8, layers=1, now=now)
    backend_flops_per_s(backend, CPU, rows=4, units=2, layers=64, now=ticking(0.01))

    counts = [len(task.network.layers) for task in backend.tasks]
    assert counts == [3, 7, 66]
    assert found == pytest.approx(4 * 2 * (8 * 8 + 5 * 8 * 8 + 8 * 8) / 0.2)


def test_the_precision_of_the_cell_reaches_the_backend():
    """A backend that cannot compute so says it, as for any other work."""
    with pytest.raises(UnsupportedError, match="precision"):
        backend_flops_per_s(
            NumpyBackend(), replace(CPU, precision="bfloat16"), rows=1, units=2, layers=1
        )
