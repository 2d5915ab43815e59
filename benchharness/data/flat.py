"""Datasets in one folder, with the class in each file's name: cat.0.jpg, dog.12.jpg."""

from __future__ import annotations

import re
from pathlib import Path

from benchharness.data.folder import Index, examples, natural
from benchharness.data.images import is_image, sample_channels
from benchharness.data.listing import Listing
from benchharness.errors import DatasetError

_NAME = re.compile(r"(?P<label>[^.].*)\.[0-9]+\.[A-Za-z]+")
# The tutorial's proportion: 1000 of 1400 images of each class are for training.
_TRAIN_SHARE = 5 / 7


def flat(path: Path, *, train: int | None = None, test: int | None = None) -> Listing:
    """Return the images of ``path`` by the class in their names; nothing is copied.

    In each class, in the order of the numbers, the first ``train`` files are for training and the
    next ``test`` for the test. Files whose names do not fit are left alone.

    Args:
        path: The folder, or one whose ``train`` folder holds the files.
        train: Images of each class; None for what ``test`` leaves, or 5/7 if that is None too.
        test: Images of each class; None for what ``train`` leaves.

    Raises:
        DatasetError: The folder is missing, holds fewer than two classes, or too few images.
    """
    index = index_of(path)
    if len(index) < 2:
        raise DatasetError(
            f"{path}: expected images named like cat.0.jpg and dog.0.jpg, of at least two classes, "
            f"found {', '.join(index) or 'none'}"
        )
    return by_number(index, train=train, test=test, origin=f"files named by class in {path}")


def by_number(index: Index, *, train: int | None, test: int | None, origin: str) -> Listing:
    """Return the files of an index, whose order tells which are for training and for the test.

    Args:
        index: At least two classes, the files of each by number.
        train: As for ``flat``.
        test: As for ``flat``.
        origin: Where they are from, in words.

    Raises:
        DatasetError: A class has too few images.
    """
    parts = {name: _part(name, files, train=train, test=test) for name, files in index.items()}
    return Listing(
        name="flat",
        classes=tuple(parts),
        train=examples({name: part[0] for name, part in parts.items()}),
        test=examples({name: part[1] for name, part in parts.items()}),
        channels=sample_channels([file for files in index.values() for file in files]),
        is_real=True,
        origin=origin,
    )


def holds(path: Path) -> bool:
    """Return whether images named like cat.0.jpg lie at ``path`` or in its ``train``."""
    return bool(index_of(path))


def index_of(path: Path) -> Index:
    """Return the files by class, classes by name, files by number; empty where there are none."""
    for place in (path, path / "train"):
        files = sorted(filter(is_image, place.iterdir()), key=natural) if place.is_dir() else []
        index: dict[str, list[Path]] = {}
        for file in files:
            if match := _NAME.fullmatch(file.name):
                index.setdefault(match["label"], []).append(file)
        if index:
            return {name: tuple(index[name]) for name in sorted(index)}
    return {}


def _part(
    name: str, files: tuple[Path, ...], *, train: int | None, test: int | None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    count = len(files)
    if train is None:
        train = round(count * _TRAIN_SHARE) if test is None else count - test
    if test is None:
        test = count - train
    if train < 1 or test < 1 or train + test > count:
        raise DatasetError(
            f"{files[0].parent}: class {name}: expected {max(train, 1)} images for training and "
            f"{max(test, 1)} for the test, found {count}; ask for fewer"
        )
    return files[:train], files[train : train + test]
