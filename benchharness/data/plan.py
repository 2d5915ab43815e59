"""The batch plan: which images each step sees, in which order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from benchharness.data.rng import Stream, generator
from benchharness.model.task import AugmentationParams, Batch

Inputs = NDArray[np.uint8] | NDArray[np.float32]


def epoch_order(ids: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the ids in the order of one epoch, the same on every machine.

    Args:
        ids: Shape (images,).
        seed: Of the trial, from 0.
        epoch: From 1.
    """
    return generator(Stream.ORDER, seed=seed, epoch=epoch).permutation(ids)


class BatchSequence(Sequence[Batch]):
    """Consecutive batches of some images, each gathered when it is asked for.

    Args:
        inputs: uint8 images or float32 features of all images, one row per id.
        labels: int32, of all images.
        ids: int64, which images in which order; the last batch may be smaller.
        batch_size: Images per batch.
        warp: Gives the augmentation of some ids; None for none.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: NDArray[np.int32],
        ids: NDArray[np.int64],
        *,
        batch_size: int,
        warp: Callable[[NDArray[np.int64]], AugmentationParams] | None = None,
    ) -> None:
        # A plain array of the same memory: a memory map is twice as slow to index.
        self._inputs: Inputs = inputs.view(np.ndarray)
        self._labels = labels.view(np.ndarray)
        self._ids = ids
        self._batch_size = batch_size
        self._warp = warp

    def __len__(self) -> int:
        return -(-len(self._ids) // self._batch_size)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        start = range(len(self))[index] * self._batch_size
        ids = self._ids[start : start + self._batch_size]
        return Batch(
            ids=ids,
            # A copy: contiguous, and the backend's own.
            inputs=self._inputs.take(ids, axis=0),
            labels=self._labels.take(ids),
            warp=None if self._warp is None else self._warp(ids),
        )


class EpochSequence(Sequence[Sequence[Batch]]):
    """The batches of each epoch, its order and augmentation drawn when it is asked for.

    Args:
        epochs: How many.
        make: Gives the batches of an epoch, counted from 1.
    """

    def __init__(self, epochs: int, *, make: Callable[[int], Sequence[Batch]]) -> None:
        self._epochs = epochs
        # A backend may look at an epoch batch by batch, and a little ahead into the next.
        self._make = functools.lru_cache(maxsize=2)(make)

    def __len__(self) -> int:
        return self._epochs

    @overload
    def __getitem__(self, index: int) -> Sequence[Batch]: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sequence[Batch]]: ...

    def __getitem__(self, index: int | slice) -> Sequence[Batch] | list[Sequence[Batch]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._make(range(len(self))[index] + 1)
