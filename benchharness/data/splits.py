"""Which images are for training, which for validation, which for the test."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchharness.data.draws import Stream, generator
from benchharness.errors import DatasetError


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
        seed: Decides which ones.

    Raises:
        DatasetError: A class has too few images for a validation split.
    """
    ids = np.setdiff1d(np.arange(len(labels)), np.array(skipped, dtype=np.int64))
    learnable, test = ids[ids < train], ids[ids >= train]
    draw = generator(Stream.VALIDATION, seed=seed)
    held = learnable[hold_out(labels[learnable], share=validation, draw=draw)]
    if validation > 0 and len(held) == 0:
        raise DatasetError(
            f"validation = {validation}: expected at least two training images of some class, "
            f"found {len(learnable)} images of as many classes; use more images or validation = 0"
        )
    learnt = np.setdiff1d(learnable, held)
    return MappingProxyType({"train": learnt, "validation": held, "test": test})
