"""Writing down what the network and the loss really receive."""

from __future__ import annotations

from collections import deque

import torch

from benchharness.api import Consumed, Witness


class Ledger:
    """The fingerprints and labels of the last steps, kept on the device.

    Twin note: the loop hands its tensors over here; in Keras, whose loop is ``fit``, a layer and
    a metric of the compiled model write.
    """

    def __init__(self, witness: Witness | None, *, device: torch.device) -> None:
        self._witness = witness
        self._rows: deque[tuple[torch.Tensor, torch.Tensor]] = deque()
        if witness is not None:
            self._rows = deque(maxlen=witness.steps)
            pattern = torch.from_numpy(witness.pattern).to(device)
            # Images arrive as NCHW seen on channels-last memory; flat features as they are.
            self._pattern = pattern.permute(2, 0, 1) if pattern.ndim == 3 else pattern

    def clear(self) -> None:
        """Forget every step."""
        self._rows.clear()

    @torch.no_grad()
    def write(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        """Write down one step, without waiting for the device."""
        if self._witness is None:
            return
        chosen = torch.arange(self._witness.images, device=inputs.device) % len(labels)
        prints = (inputs[chosen] * self._pattern).flatten(1).sum(1)
        self._rows.append((prints, labels[chosen]))

    def consumed(self) -> Consumed:
        """Return the steps written down, the oldest first, after waiting for the device.

        Raises:
            ValueError: The task has no witness.
        """
        if self._witness is None:
            raise ValueError("task.witness: expected a witness, found None; nothing is recorded")
        # Stacking nothing is an error, and before the first step there is nothing.
        empty = torch.empty((0, self._witness.images))
        prints = torch.stack([row[0] for row in self._rows]) if self._rows else empty
        labels = torch.stack([row[1] for row in self._rows]) if self._rows else empty
        return Consumed(
            fingerprints=prints.float().cpu().numpy(),
            labels=labels.to(torch.int32).cpu().numpy(),
        )
