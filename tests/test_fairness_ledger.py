"""The ledger sees whatever a backend consumed otherwise than planned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchharness.fairness.ledger import AS_PLANNED, Ledger, expected, witness
from benchharness.model.task import Batch, Consumed

SHAPE = (6, 6, 3)


def batches(count: int = 5, size: int = 6, last: int = 3) -> list[Batch]:
    """Return noise in batches, the last one smaller."""
    random = np.random.default_rng(0)
    sizes = [size] * (count - 1) + [last]
    return [
        Batch(
            ids=np.arange(size),
            inputs=random.integers(0, 256, (size, *SHAPE)).astype(np.uint8),
            labels=random.integers(0, 10, size).astype(np.int32),
        )
        for size in sizes
    ]


def as_inputs(batch: Batch):
    """Return pixels / 255."""
    return batch.inputs.astype(np.float32) / 255


WITNESS = witness(SHAPE, steps=5)


def consume(planned: list[Batch], see=as_inputs) -> Consumed:
    """Return what a backend notes that takes these batches."""
    rows = [np.arange(WITNESS.images) % len(batch) for batch in planned]
    return Consumed(
        fingerprints=np.stack([expected(WITNESS, batch, see) for batch in planned]),
        labels=np.stack([batch.labels[row] for batch, row in zip(planned, rows, strict=True)]),
    )


def verdict(planned: list[Batch], consumed: Consumed) -> str:
    """Return the verdict on one epoch."""
    ledger = Ledger(witness=WITNESS, as_inputs=as_inputs)
    ledger.check(planned, consumed, labels=lambda index: planned[index].labels)
    return ledger.verdict


def test_the_plan_consumed_is_as_planned():
    """Every batch in its order, the small last one too."""
    assert verdict(batches(), consume(batches())) == AS_PLANNED


def test_a_dropped_batch_is_missed():
    """Four steps are not five."""
    assert verdict(batches(), consume(batches()[:-1])) == "epoch 1: 4 steps instead of 5"


def test_another_order_is_named_so():
    """The right images in the wrong order are no longer the plan."""
    assert "another order" in verdict(batches(), consume(batches()[::-1]))


@pytest.mark.parametrize(
    "see",
    [
        lambda batch: as_inputs(batch)[..., ::-1],
        lambda batch: as_inputs(batch)[:, :, ::-1],
        lambda batch: as_inputs(batch) * 1.01,
        lambda batch: as_inputs(batch) + 0.01,
    ],
    ids=["bgr", "mirrored", "one_percent_brighter", "shifted"],
)
def test_other_pixels_are_named_so(see):
    """A channel order, a flip, a scale: each shows in the fingerprints."""
    assert "other pixels" in verdict(batches(), consume(batches(), see))


def test_rounding_is_no_other_pixel():
    """A relative error of 1e-5 is what float32 gives."""
    assert verdict(batches(), consume(batches(), lambda b: as_inputs(b) * (1 + 1e-5))) == AS_PLANNED


def test_other_labels_are_named_so():
    """The labels of one image changed in one step."""
    lied = batches()
    lied[2] = replace(lied[2], labels=(lied[2].labels + 1).astype(np.int32))

    assert verdict(batches(), consume(lied)) == "epoch 1: step 3: other labels than planned (of 5)"


def test_the_first_trouble_stays():
    """A later epoch that is as planned takes nothing back."""
    ledger = Ledger(witness=WITNESS, as_inputs=as_inputs)
    planned = batches()
    for consumed in (consume(planned[:-1]), consume(planned)):
        ledger.check(planned, consumed, labels=lambda index: planned[index].labels)

    assert ledger.verdict == "epoch 1: 4 steps instead of 5"
    assert (ledger.epochs, ledger.steps) == (2, 5)


def test_where_only_the_framework_knows_the_order_steps_are_counted():
    """In the native track the core can neither foresee pixels nor labels."""
    ledger = Ledger(witness=WITNESS, as_inputs=None)
    planned = batches()

    ledger.check(planned, consume(planned[::-1]), labels=lambda index: planned[index].labels)

    assert ledger.verdict == AS_PLANNED
