"""The batch plan."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchharness.data.draws import Stream, generator
from benchharness.data.plan import batches, epoch_order, evaluation_batches
from benchharness.model.task import Warp


def test_the_order_is_the_same_on_every_machine():
    """These numbers are part of the contract: results of two machines use the same batches."""
    order = epoch_order(np.arange(10), seed=7, epoch=1)

    assert order.tolist() == ["PINNED"]


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

    plan = list(
        batches(inputs, labels, epoch_order(ids, seed=seed, epoch=1), batch_size=batch_size)
    )

    assert sorted(i for batch in plan for i in batch.ids.tolist()) == ids.tolist()
    assert all(len(batch) == batch_size for batch in plan[:-1])
    for batch in plan:
        assert np.array_equal(batch.inputs, inputs[batch.ids])
        assert np.array_equal(batch.labels, labels[batch.ids])
        assert batch.inputs.flags.c_contiguous
        assert batch.warp is None


def test_batches_of_a_memory_map_are_plain_arrays_of_their_own(tmp_path):
    """A backend may keep or change what it is given."""
    np.save(tmp_path / "images.npy", np.zeros((4, 2, 2, 3), dtype=np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")

    batch = next(batches(images, np.zeros(4, dtype=np.int32), np.array([2, 0]), batch_size=2))
    batch.inputs[0] = 1

    assert type(batch.inputs) is np.ndarray
    assert images.max() == 0


def test_each_batch_gets_the_warp_of_its_ids():
    """The warp is asked for by id."""
    inputs, labels = np.zeros((5, 3), dtype=np.float32), np.zeros(5, dtype=np.int32)

    def warp(ids):
        return Warp(affine=np.zeros((len(ids), 2, 3), np.float32), colour=ids[:, None] + 0.0)

    plan = list(batches(inputs, labels, np.array([4, 1, 3]), batch_size=2, warp=warp))

    assert [batch.warp.colour.ravel().tolist() for batch in plan] == [[4.0, 1.0], [3.0]]


def test_evaluation_goes_in_the_order_of_ids():
    """Without augmentation, and the same every time."""
    inputs, labels = np.zeros((9, 3), dtype=np.float32), np.zeros(9, dtype=np.int32)

    plan = list(evaluation_batches(inputs, labels, np.array([8, 2, 5]), batch_size=2))

    assert [batch.ids.tolist() for batch in plan] == [[2, 5], [8]]
    assert all(batch.warp is None for batch in plan)
