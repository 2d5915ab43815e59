"""Peak of a device: matrix products of known size, timed by a clock of known speed."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from benchharness.api import UnsupportedError
from benchharness.measure.peak import backend_flops_per_s, cpu_flops_per_s
from benchharness.testing.reference import NumpyBackend
from benchharness.testing.tasks import CPU


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


def test_the_precision_of_the_cell_reaches_the_backend():
    """A backend that cannot compute so says it, as for any other work."""
    with pytest.raises(UnsupportedError, match="precision"):
        backend_flops_per_s(
            NumpyBackend(), replace(CPU, precision="bfloat16"), rows=1, units=2, layers=1
        )
