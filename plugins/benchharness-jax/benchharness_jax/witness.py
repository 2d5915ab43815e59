"""Writing down what the network and the loss really receive."""

from __future__ import annotations

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np

from benchharness.api import Consumed, Witness

Seen = tuple[jax.Array, jax.Array]


class Ledger:
    """The fingerprints and labels of the last steps, kept on the device.

    Twin note: the compiled step returns what is written here; in PyTorch the loop hands its
    tensors over, in Keras a layer and a metric write.

    Attributes:
        pattern: The witness's, on the device; None for nothing to write down.
        images: How many of a batch.
    """

    def __init__(self, witness: Witness | None, *, device: jax.Device) -> None:
        self._witness = witness
        self._rows: deque[Seen] = deque(maxlen=witness.steps if witness else 0)
        self.pattern = jax.device_put(witness.pattern, device) if witness else None
        self.images = witness.images if witness else 0

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, seen: Seen | None) -> None:
        """Write down one step, without waiting for the device."""
        if seen is not None:
            self._rows.append(seen)

    def consumed(self) -> Consumed:
        """Return the steps written down, the oldest first, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        rows = jax.device_get(list(self._rows))
        shape = (len(rows), self._witness.images)
        return Consumed(
            fingerprints=np.array([prints for prints, _ in rows], np.float32).reshape(shape),
            labels=np.array([labels for _, labels in rows], np.int32).reshape(shape),
        )


def witness(
    inputs: jax.Array, labels: jax.Array, pattern: jax.Array | None, *, images: int
) -> Seen | None:
    """Return the fingerprints and labels of a batch's first images, as part of a compiled step.

    Beginning again at the first where the batch has fewer; None without a pattern.
    """
    if pattern is None:
        return None
    chosen = np.arange(images) % len(labels)
    prints = (inputs[chosen] * pattern).reshape(images, -1).sum(1)
    return prints, jnp.asarray(labels)[chosen]
