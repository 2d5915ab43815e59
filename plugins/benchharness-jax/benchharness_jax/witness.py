"""Record of what the network and the loss really receive."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from benchharness.api import ConsumedBatches, FingerprintSpec
from benchharness_jax.images import Array
from benchharness_jax.steps import compiled


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device."""

    def __init__(self, witness: FingerprintSpec | None, *, device: jax.Device) -> None:
        self._witness = witness
        self._rows: list[tuple[jax.Array, jax.Array]] = []
        self._sampled = frozenset(witness.steps if witness else ())
        if witness is not None:
            self._pattern = jax.device_put(witness.pattern, device)
            self._first_rows = compiled(first_rows, device=device, images=witness.images)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: Array, labels: Array) -> None:
        """Record a step if it is sampled, without waiting for the device.

        Args:
            step: Position in the epoch, from 0.
            inputs: The array that the compiled step receives, shape (batch, ...).
            labels: Likewise, shape (batch,).
        """
        if step in self._sampled:
            if isinstance(inputs, np.ndarray):
                # Features in host memory: no more than are needed are brought to the device.
                inputs, labels = inputs[: self._witness.images], labels[: self._witness.images]
            self._rows.append(self._first_rows(inputs, labels, self._pattern))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        rows = jax.device_get(self._rows)
        shape = (len(rows), self._witness.images)
        return ConsumedBatches(
            fingerprints=np.array([prints for prints, _ in rows], np.float32).reshape(shape),
            labels=np.array([labels for _, labels in rows], np.int32).reshape(shape),
        )


def first_rows(
    inputs: jax.Array, labels: jax.Array, pattern: jax.Array, *, images: int
) -> tuple[jax.Array, jax.Array]:
    """Return the fingerprints and labels of a batch's first images, starting over at its end."""
    rows, seen = inputs[:images], labels[:images]
    if len(labels) < images:
        chosen = np.arange(images) % len(labels)
        rows, seen = inputs[chosen], labels[chosen]
    # Faster than a product and a sum; the precision keeps it from TF32.
    prints = jnp.dot(rows.reshape(images, -1), pattern.ravel(), precision="highest")
    return prints, seen
