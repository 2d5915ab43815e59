"""Record of what the network and the loss really receive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Consumed, Witness
from benchharness.testing.reference_witness import Ledger as ReferenceLedger


class Ledger:
    """The fingerprints and labels of the sampled steps of the last epoch, kept on the device."""

    def __init__(self, witness: Witness | None) -> None:
        self._reference = ReferenceLedger(witness)

    def clear(self) -> None:
        """Forget every step and count from 0: an epoch starts, or everything is reset."""
        self._reference.clear()

    def write(self, inputs: NDArray[Any], labels: NDArray[np.int32]) -> None:
        """Record one step where it is sampled, without waiting for the device.

        What is not sampled must cost nothing: the contract times it.
        """
        self._reference.write(np.asarray(inputs), np.asarray(labels))

    def consumed(self) -> Consumed:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        return self._reference.consumed()
