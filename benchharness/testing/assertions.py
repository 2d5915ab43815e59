"""Clauses of the contract: their subject, and how near to the reference numbers must come."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from benchharness.api import Backend, Execution, Network, Scores, Task, Training, UnsupportedError
from benchharness.testing.reference import NumpyBackend, NumpyTraining
from benchharness.testing.tasks import CPU, make_task, small_cnn

Arrays = Mapping[str, NDArray[np.float32]]

# Before the backend's own reason in the reason of a skipped test.
REFUSED = "refused, as the contract allows: "
# Float32 sums in another order differ by about 1e-6 of the largest value; a convolution by
# Winograd's method or a whitening by a few times that. TF32 would differ by 1e-3.
LOGITS = 1e-5
FEATURES = 1e-4
# Two passes, forward and back, each with that rounding, and small sums of large terms.
GRADIENTS = 1e-4
# A handful of steps add up, and Adam divides by the root of what may be small.
WEIGHTS = 1e-4
LOSS = 1e-4
# The same arithmetic twice; threads may still add in another order.
REPEATED_LOSS = 1e-5
# Sums of what each image is, pixel for pixel; another image, or another warp, gives another sum.
FINGERPRINTS = 5e-4
# Of 255 levels; interpolating at float32 coordinates is off by about a thousandth of a level.
PIXEL_LEVELS = 0.025


class Clause:
    """Checks of one clause; each is skipped where the backend refuses what it asks for.

    Attributes:
        clause: Its name in the output of ``plugin check``; the docstring is its title.
    """

    clause: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str = "") -> None:
        """Let every check of the clause be refused, and know its clause."""
        super().__init_subclass__()
        if name:
            cls.clause = name
        for attribute, check in list(vars(cls).items()):
            if attribute.startswith("test_"):
                setattr(cls, attribute, _refusable(check, clause=cls.clause))


def _refusable(check: Callable[..., None], *, clause: str) -> Callable[..., None]:
    """Return a check that is skipped, with the backend's reason, where the backend refuses."""

    @functools.wraps(check)
    def checked(*arguments: Any, **given: Any) -> None:
        try:
            check(*arguments, **given)
        except UnsupportedError as refusal:
            pytest.skip(f"{REFUSED}{refusal}")

    checked.clause = clause  # type: ignore[attr-defined]
    return checked


@dataclass(frozen=True, slots=True)
class Subject:
    """Backend under test, and the execution that is asked of it.

    Its methods take the options of ``make_task``; the network is ``small_cnn`` unless given.
    """

    backend: Backend
    execution: Execution = CPU

    def task(self, network: Network | None = None, **options: Any) -> Task:
        """Return a task for the backend."""
        return make_task(
            small_cnn() if network is None else network, **{"execution": self.execution} | options
        )

    def train(self, network: Network | None = None, **options: Any) -> Training:
        """Return the backend's training of a task."""
        return self.backend.train(self.task(network, **options))

    def both(self, network: Network | None = None, **options: Any) -> tuple[Training, Training]:
        """Return the backend's training of a task, and the reference's."""
        task = self.task(network, **options)
        return self.backend.train(task), reference(task)


def reference(task: Task) -> NumpyTraining:
    """Return the reference's training of a task."""
    return NumpyBackend().train(replace(task, execution=CPU))


def assert_equal(actual: object, expected: object, *, what: str) -> None:
    """Fail unless both are equal; plain ``assert`` says nothing outside a test module."""
    assert actual == expected, f"{what}: expected {expected}, found {actual}"


def assert_near_largest(
    actual: NDArray[np.float32], expected: NDArray[np.float32], *, tolerance: float, what: str
) -> None:
    """Fail unless no value is off by more than ``tolerance`` of the largest expected one."""
    _assert_alike(actual, expected, what)
    largest = float(np.abs(expected).max())
    off = float(np.abs(actual.astype(np.float64) - expected).max()) / largest
    assert off <= tolerance, (
        f"{what}: expected within {tolerance:g} of the largest value ({largest:g}), found {off:.2g}"
    )


def assert_near_in_norm(actual: Arrays, expected: Arrays, *, tolerance: float, what: str) -> None:
    """Fail unless each array's difference is small beside it, both by their Euclidean norm."""
    assert_equal(sorted(actual), sorted(expected), what=f"names of {what}")
    for name, wanted in expected.items():
        _assert_alike(actual[name], wanted, f"{what} of {name}")
        size = float(np.linalg.norm(wanted))
        off = float(np.linalg.norm(actual[name].astype(np.float64) - wanted))
        assert off <= tolerance * size, (
            f"{what} of {name}: expected within {tolerance:g} of its norm ({size:g}), "
            f"found {off / size if size else off:.2g}"
        )


def assert_same_arrays(actual: Arrays, expected: Arrays, *, what: str) -> None:
    """Fail unless names and every bit of the arrays agree."""
    assert_equal(sorted(actual), sorted(expected), what=f"names of {what}")
    for name, wanted in expected.items():
        _assert_alike(actual[name], wanted, f"{what} of {name}")
        assert np.array_equal(actual[name], wanted), f"{what} of {name}: expected no change at all"


def assert_loss(actual: float, expected: float, *, tolerance: float = LOSS) -> None:
    """Fail unless the two losses differ by at most ``tolerance`` of the expected one."""
    assert abs(actual - expected) <= tolerance * abs(expected), (
        f"loss: expected {expected:.9g} within {tolerance:g} of it, found {actual:.9g}"
    )


def assert_other_loss(actual: float, than: float, *, why: str) -> None:
    """Fail unless the two losses differ by more than rounding explains."""
    assert abs(actual - than) > 10 * LOSS * abs(than), (
        f"loss: expected other than {than:.9g}, found {actual:.9g}: {why}"
    )


def assert_scores(actual: Scores, expected: Scores) -> None:
    """Fail unless both saw as many images, and score them alike."""
    assert_equal(actual.count, expected.count, what="count")
    assert_loss(actual.loss, expected.loss)
    assert abs(actual.top1 - expected.top1) < 1e-6, (
        f"top1: expected {expected.top1}, found {actual.top1}"
    )


def _assert_alike(actual: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> None:
    assert_equal(actual.shape, expected.shape, what=f"shape of {what}")
    assert_equal(str(actual.dtype), "float32", what=f"dtype of {what}")
    assert np.isfinite(actual).all(), f"{what}: expected finite values"
