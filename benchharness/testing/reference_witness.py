"""Record of what the reference backend consumes, in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Consumed, Witness
from benchharness.testing.reference_layers import Array


class Ledger:
    """The fingerprints and labels of the sampled steps of the last epoch."""

    def __init__(self, witness: Witness | None) -> None:
        self._witness = witness
        self._sampled = frozenset(witness.steps if witness else ())
        self._rows: list[tuple[Array, NDArray[np.int32]]] = []
        self._position = 0

    def clear(self) -> None:
        """Forget every step and count from 0: an epoch starts, or everything is reset."""
        self._rows.clear()
        self._position = 0

    def write(self, inputs: Array, labels: NDArray[np.int32]) -> None:
        """Record one step, where it is sampled.

        Args:
            inputs: As the network sees them, shape (batch, ...).
            labels: Shape (batch,).
        """
        position, self._position = self._position, self._position + 1
        if self._witness is None or position not in self._sampled:
            return
        chosen = np.arange(self._witness.images) % len(labels)
        weighed = inputs[chosen].astype(np.float64) * self._witness.pattern
        prints = weighed.reshape(len(chosen), -1).sum(axis=1)
        self._rows.append((prints, labels[chosen]))

    def consumed(self) -> Consumed:
        """Return the recorded steps in their order.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        shape = (len(self._rows), self._witness.images)
        return Consumed(
            fingerprints=np.array([row[0] for row in self._rows], np.float32).reshape(shape),
            labels=np.array([row[1] for row in self._rows], np.int32).reshape(shape),
        )
