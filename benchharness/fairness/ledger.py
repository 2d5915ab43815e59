"""Batch ledger: what a backend really consumes, compared with what the core has planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from benchharness.model.network import Shape
from benchharness.model.task import Batch, ConsumedBatches, FingerprintSpec

AS_PLANNED = "as planned"
# Enough images to tell a batch from any other, few enough to cost nothing.
_IMAGES = 4
# A timed trial samples one step of eight, and at least and at most so many of an epoch.
_EVERY, _FEWEST, _MOST = 8, 3, 32
# Philox's second key, so that sampling follows no other sequence of the same seed.
_SAMPLING = 0x1ED6E2
# Sampled steps of an epoch whose pixels the core computes itself, in NumPy; labels are compared in
# all.
_CHECKED = 6
# Steps among which a record that fits no plan is looked up, to name the order it follows.
_LOOKED_UP = 256
# Of the fingerprints' root mean square. Rounding gives 1e-5, another image 1.
TOLERANCE = 1e-3

Inputs = NDArray[np.float32]


def witness(shape: Shape, *, steps: int, seed: int | None = None) -> FingerprintSpec:
    """Return what a backend is to record of epochs with so many steps.

    Args:
        shape: Of one input, channels last.
        steps: Of one epoch.
        seed: Of a timed trial, which samples some steps; trials of different seeds sample
            different steps. None for a proof, which samples all.
    """
    random = np.random.Generator(np.random.Philox(1))
    values = random.uniform(-1, 1, int(np.prod(shape))) / np.sqrt(np.prod(shape))
    return FingerprintSpec(
        pattern=values.reshape(shape).astype(np.float32),
        images=_IMAGES,
        steps=tuple(range(steps)) if seed is None else _sampled(steps, seed=seed),
    )


def _sampled(steps: int, *, seed: int) -> tuple[int, ...]:
    """Return some positions of an epoch: the first, the last, and others drawn.

    The last, because dropping it is the usual fault. The first and not the second, so that two
    steps of warm-up compile a step that is recorded and a step that is not.
    """
    count = min(steps, _MOST, max(_FEWEST, steps // _EVERY))
    if count == steps:
        return tuple(range(steps))
    random = np.random.Generator(np.random.Philox(key=[seed, _SAMPLING]))
    drawn = 2 + random.choice(steps - 3, size=count - 2, replace=False)
    return (0, *sorted(drawn.tolist()), steps - 1)


def expected(
    witness: FingerprintSpec, batch: Batch, as_inputs: Callable[[Batch], Inputs]
) -> Inputs:
    """Return the fingerprints that a batch must leave, shape (images,).

    Args:
        witness: What is recorded.
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
    """Compares what a backend consumed with the plan, epoch by epoch.

    Attributes:
        witness: What the backend records.
        as_inputs: Gives what the network must see of a batch; None where only the framework
            knows (it draws order and augmentation itself), and then only steps are counted.
        tolerance: Distance of two fingerprints over their root mean square.
        epochs: Checked so far.
        steps: Likewise, those recorded.
        deviations: What was not as planned, the first of each epoch.
    """

    witness: FingerprintSpec
    as_inputs: Callable[[Batch], Inputs] | None
    tolerance: float = TOLERANCE
    epochs: int = 0
    steps: int = 0
    deviations: list[str] = field(default_factory=list)

    def check(
        self,
        planned: Sequence[Batch],
        consumed: ConsumedBatches,
        *,
        labels: Callable[[int], NDArray[np.int32]],
    ) -> None:
        """Compare the record of one epoch with the plan.

        Args:
            planned: All batches of the epoch; a few of them are gathered.
            consumed: As the backend gave it after the epoch.
            labels: Gives all labels of the planned batch at an index, gathering no images.
        """
        self.epochs += 1
        positions = [position for position in self.witness.steps if position < len(planned)]
        rows = len(consumed.labels), len(consumed.fingerprints)
        if rows != (len(positions), len(positions)):
            wrong = next(count for count in rows if count != len(positions))
            self._note(f"{wrong} recorded steps instead of {len(positions)}")
            return
        self.steps += len(positions)
        if self.as_inputs is None:
            return
        trouble = self._in_pixels(planned, positions, consumed.fingerprints)
        trouble = trouble or self._in_labels(labels, positions, consumed.labels)
        if trouble:
            self._note(f"{trouble} (of {len(planned)})")

    def note(self, trouble: str) -> None:
        """Add what was not as planned beside the batches of an epoch."""
        self.deviations.append(trouble)

    @property
    def verdict(self) -> str:
        """``as planned``, or what was not."""
        return self.deviations[0] if self.deviations else AS_PLANNED

    def _in_pixels(self, planned: Sequence[Batch], positions: Sequence[int], found: Inputs) -> str:
        """Return what is wrong with the pixels of some steps; empty for nothing."""
        wanted = {
            row: self._expected(planned[positions[row]]) for row in self._chosen(len(positions))
        }
        scale = float(np.sqrt(np.mean(np.square(np.stack(list(wanted.values())))))) or 1.0
        for row, prints in wanted.items():
            off = float(np.abs(found[row] - prints).max()) / scale
            if off <= self.tolerance:
                continue
            step = f"step {positions[row] + 1}"
            taken = self._looked_up(planned, found[row], reach=self.tolerance * scale)
            if taken is not None:
                return f"{step} took the batch of step {taken + 1}, another order"
            return f"{step}: other pixels than planned, off by {off:.1e} of their size"
        return ""

    def _in_labels(
        self,
        labels: Callable[[int], NDArray[np.int32]],
        positions: Sequence[int],
        found: NDArray[np.int32],
    ) -> str:
        """Return what is wrong with the labels of any recorded step; empty for nothing."""
        for position, row in zip(positions, found, strict=True):
            planned = labels(position)
            if not np.array_equal(row, planned[np.arange(self.witness.images) % len(planned)]):
                return f"step {position + 1}: other labels than planned"
        return ""

    def _looked_up(self, planned: Sequence[Batch], row: Inputs, *, reach: float) -> int | None:
        """Return the planned step that left a record; None where none of those looked at did."""
        if self.deviations:
            # Only the first trouble is shown, and looking up gathers many batches.
            return None
        for position, batch in enumerate(islice(planned, _LOOKED_UP)):
            if np.abs(row - self._expected(batch)).max() <= reach:
                return position
        return None

    def _expected(self, batch: Batch) -> Inputs:
        assert self.as_inputs is not None
        return expected(self.witness, batch, self.as_inputs)

    def _chosen(self, count: int) -> list[int]:
        """Return the rows whose pixels are checked: the last, and others in each epoch."""
        random = np.random.Generator(np.random.Philox(self.epochs))
        others = random.permutation(count - 1)[: _CHECKED - 1]
        return sorted({count - 1, *others.tolist()})

    def _note(self, trouble: str) -> None:
        self.deviations.append(f"epoch {self.epochs}: {trouble}")
