"""Batches: which images are for training, validation and test, and the order of each epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import DatasetError
from benchharness.model.task import AugmentationParams, Batch

Inputs = NDArray[np.uint8] | NDArray[np.float32]
T = TypeVar("T")


class Stream(IntEnum):
    """Purpose of a generator; equal seeds in two streams give independent numbers."""

    ORDER = 0
    AUGMENTATION = 1
    VALIDATION = 2
    TEST_SPLIT = 3


def generator(stream: Stream, *, seed: int, epoch: int = 0) -> np.random.Generator:
    """Return the generator that depends on these three numbers and on nothing else.

    Source:
        Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). The stream
        sits in the counter's highest word, which no draw of ours can carry into.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def hold_out(
    labels: NDArray[np.int32], *, share: float, draw: np.random.Generator
) -> NDArray[np.int64]:
    """Return positions of about ``share`` of each class, drawn at random, in rising order.

    A class of two or more gives at least one image when the share is above 0, and never all.
    """
    held: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = max(1, round(share * len(members))) if share > 0 else 0
        held.append(draw.permutation(members)[: min(wanted, len(members) - 1)])
    return np.sort(np.concatenate(held))


def split(
    labels: NDArray[np.int32],
    *,
    classes: Sequence[str],
    train: int,
    skipped: tuple[int, ...],
    validation: float,
    seed: int,
) -> Mapping[str, NDArray[np.int64]]:
    """Return the ids of "train", "validation" and "test", each in rising order, none in two.

    Args:
        labels: int32, shape (images,): first the training images, then those of the test.
        train: How many are training images.
        skipped: Ids that belong to no split.
        validation: Share of each class of the training images to hold out, 0-1.

    Raises:
        DatasetError: A class has too few images for a validation split.
    """
    ids = np.setdiff1d(np.arange(len(labels)), np.array(skipped, dtype=np.int64))
    learnable, test = ids[ids < train], ids[ids >= train]
    draw = generator(Stream.VALIDATION, seed=seed)
    held = learnable[hold_out(labels[learnable], share=validation, draw=draw)]
    require_two(labels[learnable], classes=classes, validation=validation)
    return MappingProxyType(
        {"train": np.setdiff1d(learnable, held), "validation": held, "test": test}
    )


def require_two(labels: NDArray[np.int32], *, classes: Sequence[str], validation: float) -> None:
    """Refuse a class of fewer than two images where some are to be held out.

    Raises:
        DatasetError: There is one.
    """
    counts = np.bincount(labels, minlength=len(classes)) if validation else ()
    if single := [name for name, count in zip(classes, counts, strict=False) if count < 2]:
        raise DatasetError(
            f"validation = {validation}: expected at least two readable training images of each "
            "class, one to learn from and one to validate with, found fewer of "
            f"{', '.join(single)}; add images, leave the class out, or set validation = 0"
        )


def epoch_order(ids: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the ids in the order of an epoch, counted from 1, the same on every machine."""
    return generator(Stream.ORDER, seed=seed, epoch=epoch).permutation(ids)


class _Lazy(Sequence[T]):
    """A sequence whose items are made when they are asked for."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        places = range(self._length)[index]
        return self._make(places) if isinstance(places, int) else [*map(self._make, places)]


class BatchSequence(_Lazy[Batch]):
    """Consecutive batches of some images, each gathered when it is asked for.

    Args:
        inputs: uint8 images or float32 features of all images, one row per id.
        ids: int64, which images in which order; the last batch may be smaller.
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
        # Plain arrays of the same memory: a memory map is twice as slow to index.
        inputs, labels = inputs.view(np.ndarray), labels.view(np.ndarray)

        def batch(place: int) -> Batch:
            chosen = ids[place * batch_size : (place + 1) * batch_size]
            return Batch(
                ids=chosen,
                # A copy: contiguous, and the backend's own.
                inputs=inputs.take(chosen, axis=0),
                labels=labels.take(chosen),
                warp=None if warp is None else warp(chosen),
            )

        super().__init__(-(-len(ids) // batch_size), batch)


class EpochSequence(_Lazy[Sequence[Batch]]):
    """The batches of each epoch, counted from 1, order and augmentation drawn when asked for."""

    def __init__(self, epochs: int, *, make: Callable[[int], Sequence[Batch]]) -> None:
        # A backend may look at an epoch batch by batch, and a little ahead into the next.
        cached = functools.lru_cache(maxsize=2)(make)
        super().__init__(epochs, lambda place: cached(place + 1))
