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


def fingerprint_spec(shape: Shape, *, steps: int, seed: int | None = None) -> FingerprintSpec:
    """Return what a backend is to record of epochs with so many steps.

    The seed of a timed trial samples some of them, another seed others; a proof, without a seed,
    samples all. The shape is that of one input, channels last.
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


def expected(spec: FingerprintSpec, batch: Batch, as_inputs: Callable[[Batch], Inputs]) -> Inputs:
    """Return the fingerprints, shape (images,), of what the network must see of a batch."""
    inputs = as_inputs(batch.take(np.arange(spec.images) % len(batch)))
    rows = inputs.reshape(spec.images, -1).astype(np.float64)
    prints: Inputs = (rows @ spec.pattern.ravel()).astype(np.float32)
    return prints


@dataclass(slots=True, kw_only=True)
class BatchLedger:
    """Compares what a backend consumed with the plan, epoch by epoch.

    Attributes:
        as_inputs: Gives what the network must see of a batch; None where only the framework
            knows (it draws order and augmentation itself), and then only steps are counted.
        tolerance: Distance of two fingerprints over their root mean square.
        steps: Recorded so far, in so many ``epochs``.
        deviations: What was not as planned, the first of each epoch.
    """

    spec: FingerprintSpec
    as_inputs: Callable[[Batch], Inputs] | None
    tolerance: float = TOLERANCE
    epochs: int = 0
    steps: int = 0
    deviations: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``as planned``, or what was not."""
        return self.deviations[0] if self.deviations else AS_PLANNED

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
        positions = [position for position in self.spec.steps if position < len(planned)]
        for count in (len(consumed.labels), len(consumed.fingerprints)):
            if count != len(positions):
                trouble = f"{count} recorded steps instead of {len(positions)}"
                self.deviations.append(f"epoch {self.epochs}: {trouble}")
                return
        self.steps += len(positions)
        if self.as_inputs is None:
            return
        trouble = self._in_pixels(planned, positions, consumed.fingerprints)
        if not trouble:
            for position, row in zip(positions, consumed.labels, strict=True):
                wanted = labels(position)
                if not np.array_equal(row, wanted[np.arange(self.spec.images) % len(wanted)]):
                    trouble = f"step {position + 1}: other labels than planned"
                    break
        if trouble:
            self.deviations.append(f"epoch {self.epochs}: {trouble} (of {len(planned)})")

    def _in_pixels(self, planned: Sequence[Batch], positions: Sequence[int], found: Inputs) -> str:
        """Return what is wrong with the pixels of some steps; empty for nothing.

        Those of the last step, and of others in each epoch.
        """
        random = np.random.Generator(np.random.Philox(self.epochs))
        last = len(positions) - 1
        others = random.permutation(last)[: _CHECKED - 1]
        wanted = {
            row: self._expected(planned[positions[row]]) for row in sorted({last, *others.tolist()})
        }
        scale = float(np.sqrt(np.mean(np.square(np.stack(list(wanted.values())))))) or 1.0
        for row, prints in wanted.items():
            off = float(np.abs(found[row] - prints).max()) / scale
            if off <= self.tolerance:
                continue
            step, reach = f"step {positions[row] + 1}", self.tolerance * scale
            # Only the first trouble is shown, and looking up gathers many batches.
            for place, batch in enumerate(() if self.deviations else islice(planned, _LOOKED_UP)):
                if np.abs(found[row] - self._expected(batch)).max() <= reach:
                    return f"{step} took the batch of step {place + 1}, another order"
            return f"{step}: other pixels than planned, off by {off:.1e} of their size"
        return ""

    def _expected(self, batch: Batch) -> Inputs:
        assert self.as_inputs is not None
        return expected(self.spec, batch, self.as_inputs)
