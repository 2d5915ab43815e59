"""Batches: the order of each epoch, and what each batch holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchharness.data.batches import BatchSequence, EpochSequence, Stream, epoch_order, generator
from benchharness.model.task import AugmentationParams


def test_the_order_is_the_same_on_every_machine():
    """These numbers are part of the contract: results of two machines use the same batches."""
    order = epoch_order(np.arange(10), seed=7, epoch=1)

    assert order.tolist() == [1, 9, 2, 8, 5, 0, 4, 3, 7, 6]


def test_the_order_is_philox_keyed_by_seed_and_epoch():
    """Anyone can draw it again with NumPy alone."""
    philox = np.random.Generator(np.random.Philox(key=np.array([3, 5], dtype=np.uint64)))

    order = epoch_order(np.arange(100), seed=3, epoch=5)

    assert np.array_equal(order, philox.permutation(np.arange(100)))


def test_seed_and_epoch_both_change_the_order():
    """No two epochs, and no two trials, see the images in the same order."""
    ids = np.arange(1000)
    orders = {(s, e): tuple(epoch_order(ids, seed=s, epoch=e)) for s in (0, 1) for e in (1, 2)}

    assert len(set(orders.values())) == 4


def test_streams_do_not_share_their_numbers():
    """Augmentation and order of the same seed and epoch have nothing to do with each other."""
    draws = {tuple(generator(stream, seed=1, epoch=1).random(4)) for stream in Stream}

    assert len(draws) == len(Stream)


@given(count=st.integers(0, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 2**63))
def test_an_epoch_sees_every_image_once(count, batch_size, seed):
    """The last partial batch is kept, and rows belong to their ids."""
    inputs = np.arange(2 * count, dtype=np.uint8).reshape(count, 1, 1, 2)
    labels = np.arange(count, dtype=np.int32) % 3
    ids = np.arange(count)

    order = epoch_order(ids, seed=seed, epoch=1)
    plan = BatchSequence(inputs, labels, order, batch_size=batch_size)

    assert sorted(i for batch in plan for i in batch.ids.tolist()) == ids.tolist()
    assert all(len(batch) == batch_size for batch in plan[:-1])
    assert len(plan) == len(list(plan))
    for batch in plan:
        assert np.array_equal(batch.inputs, inputs[batch.ids])
        assert np.array_equal(batch.labels, labels[batch.ids])
        assert batch.inputs.flags.c_contiguous
        assert batch.warp is None


def test_batches_of_a_memory_map_are_plain_arrays_of_their_own(tmp_path):
    """A backend may keep or change what it is given."""
    np.save(tmp_path / "images.npy", np.zeros((4, 2, 2, 3), dtype=np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")

    labels = np.zeros(4, dtype=np.int32)
    batch = BatchSequence(images, labels, np.array([2, 0]), batch_size=2)[0]
    batch.inputs[0] = 1

    assert type(batch.inputs) is np.ndarray
    assert images.max() == 0


def test_each_batch_gets_the_warp_of_its_ids():
    """The warp is asked for by id."""
    inputs, labels = np.zeros((5, 3), dtype=np.float32), np.zeros(5, dtype=np.int32)

    def warp(ids):
        return AugmentationParams(
            affine=np.zeros((len(ids), 2, 3), np.float32), colour=ids[:, None] + 0.0
        )

    plan = BatchSequence(inputs, labels, np.array([4, 1, 3]), batch_size=2, warp=warp)

    assert [batch.warp.colour.ravel().tolist() for batch in plan] == [[4.0, 1.0], [3.0]]


def test_batches_are_found_by_index_and_slice_in_any_order():
    """A backend may prefetch; asking twice gives the same."""
    inputs, labels = np.zeros((9, 3), dtype=np.float32), np.zeros(9, dtype=np.int32)
    plan = BatchSequence(inputs, labels, np.array([8, 2, 5]), batch_size=2)

    assert [batch.ids.tolist() for batch in (plan[1], plan[0], plan[-1])] == [[5], [8, 2], [5]]
    assert [batch.ids.tolist() for batch in plan[1:]] == [[5]]
    with pytest.raises(IndexError):
        plan[2]


def test_epochs_are_made_from_1_and_only_when_asked_for():
    """Orders and augmentation of later epochs cost nothing before their turn."""
    made = []

    def make(epoch):
        made.append(epoch)
        return []

    epochs = EpochSequence(3, make=make)
    untouched = list(made)
    list(epochs)

    assert untouched == []
    assert made == [1, 2, 3]
    assert len(epochs) == 3
    with pytest.raises(IndexError):
        epochs[3]
