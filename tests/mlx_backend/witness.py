"""Record of what the network and the loss really receive."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from benchharness.api import ConsumedBatches, FingerprintSpec


class Ledger:
    """The fingerprints and labels of the sampled steps of the last epoch, kept on the device.

    Attributes:
        computed_by: What computes them, for the settings.
    """

    computed_by = "mlx"

    def __init__(self, witness: FingerprintSpec | None) -> None:
        self._witness = witness
        self._sampled = frozenset(witness.steps if witness else ())
        self._pattern = witness and mx.array(witness.pattern)
        self.clear()

    def clear(self) -> None:
        """Forget every step and count from 0: an epoch starts, or everything is reset."""
        self._rows: list[tuple[mx.array, mx.array]] = []
        self._position = 0

    def write(self, inputs: mx.array, labels: mx.array) -> None:
        """Record one step where it is sampled, without waiting for the device."""
        position, self._position = self._position, self._position + 1
        if position not in self._sampled:
            return
        chosen = mx.arange(self._witness.images) % len(labels)
        weighed = (inputs[chosen] * self._pattern).reshape(len(chosen), -1)
        row = weighed.sum(axis=1), labels[chosen]
        mx.async_eval(row)
        self._rows.append(row)

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        shape = (len(self._rows), self._witness.images)
        return ConsumedBatches(
            fingerprints=np.array([np.array(p) for p, _ in self._rows], np.float32).reshape(shape),
            labels=np.array([np.array(seen) for _, seen in self._rows], np.int32).reshape(shape),
        )
