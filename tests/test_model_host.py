"""Computation on the host, for plugins whose framework lacks it."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchharness.api import FingerprintSpec, HostLedger


class DeviceArray:
    """An array of a framework, which counts how often it is read back."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.readings = 0

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        """Read it back."""
        self.readings += 1
        return self._values


def test_fingerprints_are_weighed_sums_of_the_first_images():
    """By hand: images of two values, weighed 1 and 10; a short batch starts over at its first."""
    spec = FingerprintSpec(pattern=np.array([1, 10], np.float32), images=3, steps=(0,))
    ledger = HostLedger(spec)

    ledger.write(np.array([[1, 2], [3, 4]], np.float32), np.array([7, 8], np.int32))

    assert ledger.consumed().fingerprints.tolist() == [[21, 43, 21]]
    assert ledger.consumed().labels.tolist() == [[7, 8, 7]]


def test_steps_that_are_not_sampled_are_not_read_back():
    """Reading waits for the device, so it happens where it must and nowhere else."""
    arrays = [DeviceArray(np.ones((4, 2), np.float32)) for _ in range(4)]
    labels = DeviceArray(np.zeros(4, np.int32))
    ledger = HostLedger(FingerprintSpec(pattern=np.ones(2, np.float32), images=2, steps=(1, 3)))

    for inputs in arrays:
        ledger.write(inputs, labels)

    assert [inputs.readings for inputs in arrays] == [0, 1, 0, 1]
    assert labels.readings == 2
    assert ledger.consumed().fingerprints.shape == (2, 2)


def test_a_cleared_ledger_counts_from_the_first_step():
    """An epoch begins anew."""
    ledger = HostLedger(FingerprintSpec(pattern=np.ones(2, np.float32), images=1, steps=(0,)))
    for value in (1, 2):
        ledger.clear()
        ledger.write(np.full((1, 2), value, np.float32), np.array([value], np.int32))

    assert ledger.consumed().fingerprints.tolist() == [[4]]
    assert ledger.consumed().labels.tolist() == [[2]]
