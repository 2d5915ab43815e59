"""Which images are for training, which for validation, which for the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchharness.data.rng import Stream, generator
from benchharness.errors import DatasetError

# Files by class.
Files = Mapping[str, tuple[Path, ...]]
# The tutorial's proportion: 1000 of 1400 images of each class are for training.
_TRAIN_SHARE = 5 / 7


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


def by_number(
    index: Files, *, train: int | None, test: int | None, is_lenient: bool = False
) -> tuple[Files, Files]:
    """Return the files for training and for the test, told apart by their order.

    In each class, the first ``train`` files are for training and the next ``test`` for the test.

    Args:
        index: At least two classes, the files of each by number.
        train: Images of each class; None for what ``test`` leaves, or 5/7 if that is None too.
        test: Images of each class; None for what ``train`` leaves.
        is_lenient: Whether a class that has too few gives 5/7 of them for training.

    Raises:
        DatasetError: A class has too few images.
    """
    learnt: dict[str, tuple[Path, ...]] = {}
    held: dict[str, tuple[Path, ...]] = {}
    for name, files in index.items():
        count, tested = _shares(name, files, train=train, test=test, is_lenient=is_lenient)
        learnt[name], held[name] = files[:count], files[count : count + tested]
    return learnt, held


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
        classes: Names of the classes, by label.
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
    require_two(labels[learnable], classes=classes, validation=validation)
    learnt = np.setdiff1d(learnable, held)
    return MappingProxyType({"train": learnt, "validation": held, "test": test})


def require_two(labels: NDArray[np.int32], *, classes: Sequence[str], validation: float) -> None:
    """Refuse a class that cannot be learnt and validated both.

    Raises:
        DatasetError: It has fewer than two images, and some are to be held out.
    """
    if not validation:
        return
    counts = np.bincount(labels, minlength=len(classes))
    single = [name for name, count in zip(classes, counts, strict=True) if count < 2]
    if single:
        raise DatasetError(
            f"validation = {validation}: expected at least two readable training images of each "
            "class, one to learn from and one to validate with, found fewer of "
            f"{', '.join(single)}; add images, leave the class out, or set validation = 0"
        )


def _shares(
    name: str, files: Sequence[Path], *, train: int | None, test: int | None, is_lenient: bool
) -> tuple[int, int]:
    count = len(files)
    if is_lenient and (train or 1) + (test or 1) > count:
        train = test = None
    if train is None:
        train = round(count * _TRAIN_SHARE) if test is None else count - test
    if test is None:
        test = count - train
    if train < 1 or test < 1 or train + test > count:
        raise DatasetError(
            f"{files[0].parent}: class {name}: expected {max(train, 1)} images for training and "
            f"{max(test, 1)} for the test, found {count}; ask for fewer"
        )
    return train, test
