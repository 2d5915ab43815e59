"""The batch ledger: what a backend has really consumed, held against what the core had planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchharness.model.network import Shape
from benchharness.model.task import Batch, Consumed, Witness

AS_PLANNED = "as planned"
# Enough images to tell a batch from any other, few enough to cost nothing.
_IMAGES = 4
# Of a longer epoch, the last steps are remembered.
_STEPS = 256
# Steps of an epoch whose pixels the core computes itself, in NumPy; labels are compared in all.
_CHECKED = 6
# Of the fingerprints' root mean square. Rounding gives 1e-5, another image 1.
TOLERANCE = 1e-3

Inputs = NDArray[np.float32]


def witness(shape: Shape, *, steps: int) -> Witness:
    """Return what a backend is to write down of epochs with so many steps.

    Args:
        shape: Of one input, channels last.
        steps: Of one epoch.
    """
    random = np.random.Generator(np.random.Philox(1))
    values = random.uniform(-1, 1, int(np.prod(shape))) / np.sqrt(np.prod(shape))
    return Witness(
        pattern=values.reshape(shape).astype(np.float32),
        images=_IMAGES,
        steps=min(steps, _STEPS),
    )


def expected(witness: Witness, batch: Batch, as_inputs: Callable[[Batch], Inputs]) -> Inputs:
    """Return the fingerprints that a batch must leave, shape (images,).

    Args:
        witness: What is written down.
        batch: As planned.
        as_inputs: Gives what the network must see of a batch, float32, channels last.
    """
    inputs = as_inputs(batch.take(np.arange(witness.images) % len(batch))).reshape(
        witness.images, -1
    )
    prints: Inputs = (inputs.astype(np.float64) @ witness.pattern.ravel()).astype(np.float32)
    return prints


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Takes what a backend consumed, epoch by epoch, and says whether it was the plan.

    Attributes:
        witness: What the backend writes down.
        as_inputs: Gives what the network must see of a batch; None where only the framework
            knows (it draws order and augmentation itself), and then only steps are counted.
        tolerance: Distance of two fingerprints over their root mean square.
        epochs: Checked so far.
        steps: Likewise.
        troubles: What was not as planned, the first of each epoch.
    """

    witness: Witness
    as_inputs: Callable[[Batch], Inputs] | None
    tolerance: float = TOLERANCE
    epochs: int = 0
    steps: int = 0
    troubles: list[str] = field(default_factory=list)

    def check(
        self,
        planned: Sequence[Batch],
        consumed: Consumed,
        *,
        labels: Callable[[int], NDArray[np.int32]],
    ) -> None:
        """Hold one epoch's last steps against the plan.

        Args:
            planned: All batches of the epoch; a few of them are gathered.
            consumed: As the backend gave it after the epoch.
            labels: Gives all labels of the planned batch at an index, gathering no images.
        """
        self.epochs += 1
        count = min(len(planned), self.witness.steps)
        if len(consumed.labels) < count:
            self._note(f"{len(consumed.labels)} steps instead of {count}")
            return
        self.steps += count
        if self.as_inputs is None:
            return
        first = len(planned) - count
        trouble = self._in_pixels(planned, first, consumed.fingerprints[-count:])
        trouble = trouble or self._in_labels(labels, first, consumed.labels[-count:])
        if trouble:
            self._note(f"{trouble} (of {len(planned)})")

    @property
    def verdict(self) -> str:
        """``as planned``, or what was not."""
        return self.troubles[0] if self.troubles else AS_PLANNED

    def _in_pixels(self, planned: Sequence[Batch], first: int, found: Inputs) -> str:
        """Return what is wrong with the pixels of some steps; empty for nothing."""
        assert self.as_inputs is not None
        wanted = {
            place: expected(self.witness, planned[first + place], self.as_inputs)
            for place in self._chosen(len(found))
        }
        scale = float(np.sqrt(np.mean(np.square(np.stack(list(wanted.values())))))) or 1.0
        for place, prints in wanted.items():
            distances = np.abs(found - prints).max(axis=1) / scale
            if distances[place] <= self.tolerance:
                continue
            step = f"step {first + place + 1}"
            if np.any(distances <= self.tolerance):
                return f"{step} came as step {first + int(np.argmin(distances)) + 1}, another order"
            return f"{step}: other pixels than planned, off by {distances[place]:.1e} of their size"
        return ""

    def _in_labels(
        self, labels: Callable[[int], NDArray[np.int32]], first: int, found: NDArray[np.int32]
    ) -> str:
        """Return what is wrong with the labels of any step; empty for nothing."""
        for place, row in enumerate(found):
            planned = labels(first + place)
            if not np.array_equal(row, planned[np.arange(self.witness.images) % len(planned)]):
                return f"step {first + place + 1}: other labels than planned"
        return ""

    def _chosen(self, count: int) -> list[int]:
        """Return the steps whose pixels are looked at: the last, and others in each epoch."""
        random = np.random.Generator(np.random.Philox(self.epochs))
        others = random.permutation(count - 1)[: _CHECKED - 1]
        return sorted({count - 1, *others.tolist()})

    def _note(self, trouble: str) -> None:
        self.troubles.append(f"epoch {self.epochs}: {trouble}")
