"""Ledger: names whatever a backend consumed otherwise than planned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchharness.fairness.ledger import AS_PLANNED, BatchLedger, expected, fingerprint_spec
from benchharness.model.task import Batch, ConsumedBatches

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


SPEC = fingerprint_spec(SHAPE, steps=5)


def consume(taken: list[Batch], see=as_inputs, spec=SPEC) -> ConsumedBatches:
    """Return what a backend records that takes these batches."""
    sampled = [taken[position] for position in spec.steps if position < len(taken)]
    rows = [np.arange(spec.images) % len(batch) for batch in sampled]
    return ConsumedBatches(
        fingerprints=np.stack([expected(spec, batch, see) for batch in sampled]),
        labels=np.stack([batch.labels[row] for batch, row in zip(sampled, rows, strict=True)]),
    )


def verdict(planned: list[Batch], consumed: ConsumedBatches, spec=SPEC) -> str:
    """Return the verdict on one epoch."""
    ledger = BatchLedger(spec=spec, as_inputs=as_inputs)
    ledger.check(planned, consumed, labels=lambda index: planned[index].labels)
    return ledger.verdict


def test_a_proof_samples_every_step():
    """Without a seed, however long the epoch."""
    assert fingerprint_spec(SHAPE, steps=300).steps == tuple(range(300))


@pytest.mark.parametrize(
    ("steps", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (25, 3), (80, 10), (256, 32), (9000, 32)]
)
def test_a_timed_trial_samples_one_step_of_eight(steps: int, count: int):
    """At least three, at most 32, in order, each once, and within the epoch."""
    for seed in range(20):
        positions = fingerprint_spec(SHAPE, steps=steps, seed=seed).steps
        assert len(positions) == count
        assert list(positions) == sorted(set(positions))
        assert positions[-1] == steps - 1
        assert positions[0] == 0


def test_trials_sample_different_steps_and_repeat_their_own():
    """In the end every step but the second is sampled; warming up sees it unrecorded."""
    samples = [fingerprint_spec(SHAPE, steps=40, seed=seed).steps for seed in range(200)]

    assert set().union(*samples) == set(range(40)) - {1}
    assert len(set(samples)) > 150
    assert samples[7] == fingerprint_spec(SHAPE, steps=40, seed=7).steps


SAMPLED, LONGER = fingerprint_spec(SHAPE, steps=24, seed=3), fingerprint_spec(SHAPE, steps=9)


@pytest.mark.parametrize(
    ("steps", "asked", "taken", "expected"),
    [
        (5, SPEC, slice(None), AS_PLANNED),
        (24, SAMPLED, slice(None), AS_PLANNED),
        # A spec of longer epochs asks for no row that cannot be.
        (5, LONGER, slice(None), AS_PLANNED),
        (5, SPEC, slice(4), "epoch 1: 4 recorded steps instead of 5"),
        # The last position is always sampled; a batch missing before it ends the epoch early.
        (24, SAMPLED, slice(23), "epoch 1: 2 recorded steps instead of 3"),
        (24, SAMPLED, slice(1, None), "epoch 1: 2 recorded steps instead of 3"),
    ],
)
def test_a_missing_batch_is_missed(steps: int, asked, taken: slice, expected: str):
    """Whether all steps are recorded or some."""
    planned = batches(steps)

    assert verdict(planned, consume(planned[taken], spec=asked), asked) == expected


def test_recording_every_step_in_spite_of_sampling_is_named_so():
    """More rows than positions: the record costs more than it may."""
    planned = batches(24)

    found = verdict(planned, consume(planned, spec=fingerprint_spec(SHAPE, steps=24)), SAMPLED)

    assert found == "epoch 1: 24 recorded steps instead of 3"


def test_labels_without_fingerprints_are_named_so():
    """Both have a row for each position."""
    planned = batches()
    consumed = consume(planned)

    found = verdict(planned, replace(consumed, fingerprints=consumed.fingerprints[:2]))

    assert found == "epoch 1: 2 recorded steps instead of 5"


@pytest.mark.parametrize("seed", range(5))
def test_another_order_shows_in_sampled_steps(seed: int):
    """The step is named by its place in the epoch, and so is the batch that it took."""
    planned = batches(24)
    sampled = fingerprint_spec(SHAPE, steps=24, seed=seed)

    found = verdict(planned, consume(planned[::-1], spec=sampled), sampled)

    assert found == "epoch 1: step 1 took the batch of step 24, another order (of 24)"


@pytest.mark.parametrize(
    ("steps", "asked", "place"), [(5, SPEC, 2), (24, SAMPLED, SAMPLED.steps[1])]
)
def test_other_labels_in_a_step_are_named_by_its_place(steps: int, asked, place: int):
    """Steps are counted from 1 in the epoch, not among those recorded."""
    planned = batches(steps)
    lied = list(planned)
    lied[place] = replace(lied[place], labels=(lied[place].labels + 1).astype(np.int32))

    found = verdict(planned, consume(lied, spec=asked), asked)

    assert found == f"epoch 1: step {place + 1}: other labels than planned (of {steps})"


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


def test_the_first_trouble_stays():
    """A later epoch that is as planned takes nothing back."""
    ledger = BatchLedger(spec=SPEC, as_inputs=as_inputs)
    planned = batches()
    for consumed in (consume(planned[:-1]), consume(planned)):
        ledger.check(planned, consumed, labels=lambda index: planned[index].labels)

    assert ledger.verdict == "epoch 1: 4 recorded steps instead of 5"
    assert (ledger.epochs, ledger.steps) == (2, 5)


def test_where_only_the_framework_knows_the_order_steps_are_counted():
    """In the native track the core can neither foresee pixels nor labels."""
    ledger = BatchLedger(spec=SPEC, as_inputs=None)
    planned = batches()

    ledger.check(planned, consume(planned[::-1]), labels=lambda index: planned[index].labels)

    assert ledger.verdict == AS_PLANNED
