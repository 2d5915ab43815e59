"""Record of what the network and the loss really receive."""

from __future__ import annotations

import numpy as np
from keras import ops

from benchharness.api import ConsumedBatches, FingerprintSpec
from benchharness_keras.engines import ENGINE, Tensor


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device.

    Twin note: the step gives the network's inputs back, as in JAX; in PyTorch they are at hand.
    """

    def __init__(self, witness: FingerprintSpec | None) -> None:
        self._witness = witness
        self._rows: list[tuple[Tensor, Tensor]] = []
        if witness is not None:
            self._sampled = frozenset(witness.steps)
            self._take = ENGINE.function(self._first_rows)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: Tensor, labels: Tensor) -> None:
        """Record a step if it is sampled, without waiting for the device.

        Args:
            step: Position in the epoch, from 0.
            inputs: Of the network, shape (batch, ...), float32.
            labels: Of the loss, shape (batch,), int32.
        """
        if self._witness is not None and step in self._sampled:
            self._rows.append(self._take(inputs, labels))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        shape = (len(self._rows), self._witness.images)
        columns = list(zip(*self._rows, strict=True)) or [(), ()]
        prints, labels = ([ops.convert_to_numpy(row) for row in rows] for rows in columns)
        return ConsumedBatches(
            fingerprints=np.array(prints, np.float32).reshape(shape),
            labels=np.array(labels, np.int32).reshape(shape),
        )

    def _first_rows(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fingerprints and labels of a batch's first images."""
        assert self._witness is not None
        return fingerprints(inputs, self._witness), first_rows(labels, count=self._witness.images)


def fingerprints(inputs: Tensor, witness: FingerprintSpec) -> Tensor:
    """Return the fingerprints of a batch's first images, shape (images,)."""
    rows = first_rows(inputs, count=witness.images)
    axes = tuple(range(1, len(inputs.shape)))
    pattern = ENGINE.constant(witness.pattern, like=rows)
    return ops.sum(ops.multiply(rows, pattern), axis=axes)


def first_rows(values: Tensor, *, count: int) -> Tensor:
    """Return the first ``count`` rows, starting over where there are fewer."""
    size = values.shape[0]
    # Unknown while a graph for every batch size is traced.
    if size is not None and size >= count:
        return values[:count]
    return ops.take(values, ops.arange(count) % ops.shape(values)[0], axis=0)
