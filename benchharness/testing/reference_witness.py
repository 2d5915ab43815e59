"""What the reference backend has consumed, in plain NumPy."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from benchharness.api import Consumed, Witness
from benchharness.testing.reference_layers import Array


class Ledger:
    """The fingerprints and labels of the last steps."""

    def __init__(self, witness: Witness | None) -> None:
        self._witness = witness
        self._rows: deque[tuple[Array, NDArray[np.int32]]] = deque(
            maxlen=witness.steps if witness else 0
        )

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, inputs: Array, labels: NDArray[np.int32]) -> None:
        """Write down one step.

        Args:
            inputs: As the network sees them, shape (batch, ...).
            labels: Shape (batch,).
        """
        if self._witness is None:
            return
        chosen = np.arange(self._witness.images) % len(labels)
        weighed = inputs[chosen].astype(np.float64) * self._witness.pattern
        prints = weighed.reshape(len(chosen), -1).sum(axis=1)
        self._rows.append((prints, labels[chosen]))

    def consumed(self) -> Consumed:
        """Return the steps written down, the oldest first.

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
