"""Check of the batches that a timed trial consumed, after each epoch and off the clock."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import epoch_order
from benchharness.fairness.ledger import TOLERANCE, Ledger, witness
from benchharness.model.host import preprocess_on_host, warp_on_host
from benchharness.model.task import Batch, ConsumedBatches, Task
from benchharness.model.work import Batches
from benchharness.worker.context import TrialContext

# Two decoders differ by a level of 255 here and there; another image by all it shows.
_FILES_TOLERANCE = 0.05


def with_fingerprints(task: Task, *, steps: int) -> Task:
    """Return the task of a timed trial with a witness for epochs of so many steps.

    The trial's seed samples them, so that its backends record the same steps.
    """
    return replace(task, witness=witness(task.input_shape, steps=steps, seed=task.seed))


@dataclass(slots=True, kw_only=True)
class BatchCheck:
    """Compares what a backend consumed with the plan, epoch by epoch.

    Attributes:
        task: With its witness.
        inputs: Prepared images, or features, of all ids.
    """

    context: TrialContext
    task: Task
    inputs: NDArray[Any]
    _ledger: Ledger = field(init=False)
    _digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        """Open an empty ledger."""
        assert self.task.witness is not None
        has_files = self.task.files is not None
        is_foreseeable = not (self.task.files and self.task.files.folder)
        self._ledger = Ledger(
            witness=self.task.witness,
            as_inputs=self._as_inputs if is_foreseeable else None,
            tolerance=_FILES_TOLERANCE if has_files else TOLERANCE,
        )

    def check_epoch(self, epoch: int, planned: Batches, consumed: ConsumedBatches) -> None:
        """Check one epoch, counted from 1."""
        context = self.context
        with context.clock.phase("ledger"):
            order = epoch_order(
                context.prepared.splits["train"], seed=context.request.seed, epoch=epoch
            )
            size = context.settings.batch_size

            def labels(index: int) -> NDArray[np.int32]:
                batch: NDArray[np.int32] = context.prepared.labels[order[index * size :][:size]]
                return batch

            self._ledger.check(planned, consumed, labels=labels)
            self._digest.update(np.ascontiguousarray(consumed.labels).tobytes())

    def compare_count(self, what: str, count: int, *, planned: int) -> None:
        """Compare a number of steps or images with the plan."""
        if count != planned:
            self._ledger.note(f"{what}: {count} of {planned}")

    def note(self, trouble: str) -> None:
        """Add what was not as planned; empty for nothing."""
        if trouble:
            self._ledger.note(trouble)

    def report(self) -> None:
        """Report the verdict to the runner."""
        ledger = self._ledger
        self.context.emit(
            {
                "event": "ledger",
                "verdict": ledger.verdict,
                "epochs": ledger.epochs,
                "steps": ledger.steps,
                "digest": self._digest.hexdigest()[:16],
            }
        )

    def _as_inputs(self, batch: Batch) -> NDArray[np.float32]:
        """Return what the network must see, by the plain definitions of the core."""
        inputs = self.inputs[batch.ids]
        if batch.warp is not None:
            inputs = warp_on_host(inputs, batch.warp)
        if self.task.preprocessing is None:
            return inputs.astype(np.float32)
        return preprocess_on_host(inputs.astype(np.float32), self.task.preprocessing)
