"""Record of what the network and the loss really receive."""

from __future__ import annotations

from functools import partial

import torch

from benchharness.api import ConsumedBatches, FingerprintSpec


class Ledger:
    """The fingerprints and labels of an epoch's sampled steps, kept on the device."""

    def __init__(self, witness: FingerprintSpec | None, *, device: torch.device) -> None:
        self._witness = witness
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._sampled = frozenset(witness.steps if witness else ())
        if witness is not None:
            pattern = torch.from_numpy(witness.pattern).to(device)
            # Images arrive as NCHW, flat features as they are.
            pattern = pattern.permute(2, 0, 1) if pattern.ndim == 3 else pattern
            self._first_rows = partial(first_rows, pattern=pattern, images=witness.images)

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    def write(self, step: int, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Record a step if it is sampled, without waiting for the device.

        Args:
            step: Position in the epoch, from 0.
            inputs: The tensor that the network receives, shape (batch, ...).
            labels: Those that the loss receives, shape (batch,).
        """
        if step in self._sampled:
            self._rows.append(self._first_rows(inputs, labels))

    def consumed(self) -> ConsumedBatches:
        """Return the recorded steps in their order, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        # Stacking nothing is an error, and before the first step there is nothing.
        empty = torch.empty((0, self._witness.images))
        prints = torch.stack([row[0] for row in self._rows]) if self._rows else empty
        labels = torch.stack([row[1] for row in self._rows]) if self._rows else empty
        return ConsumedBatches(
            fingerprints=prints.float().cpu().numpy(),
            labels=labels.to(torch.int32).cpu().numpy(),
        )


def first_rows(
    inputs: torch.Tensor, labels: torch.Tensor, pattern: torch.Tensor, *, images: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the fingerprints and labels of a batch's first images, starting over at its end."""
    rows, seen = inputs[:images], labels[:images]
    if len(labels) < images:
        chosen = torch.arange(images, device=labels.device) % len(labels)
        rows, seen = inputs[chosen], labels[chosen]
    # No product of matrices, which may round to TF32.
    return (rows * pattern).sum(tuple(range(1, rows.ndim))), seen
