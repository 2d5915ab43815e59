"""Datasets whose folders are their classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchharness.data.draws import Stream, generator
from benchharness.data.images import is_image, sample_channels
from benchharness.data.listing import FileExamples, Listing, Selection
from benchharness.data.splits import hold_out
from benchharness.errors import DatasetError

_TEST_NAMES = ("test", "validation", "val")
_TEST_SHARE = 0.2

Index = Mapping[str, tuple[Path, ...]]


def folder(path: Path, *, seed: int = 0) -> Listing:
    """Return the images of ``path``, by class.

    Accepts ``train/<class>/*`` beside ``test/<class>/*`` (or ``validation``, or ``val``; the first
    of these that exists), or classes without splits, of which 20 % become the test split. Classes
    are sorted by name, files in the order of the numbers in their names.

    Args:
        path: The folder.
        seed: Draws the test split where the folder has none.

    Raises:
        DatasetError: The folder is missing, has fewer than two classes or an empty one, or its
            splits have different classes.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: expected a folder of classes, found none")
    train = path / "train" if _class_folders(path / "train") else path
    index = _index(train)
    tests = [path / name for name in _TEST_NAMES if _class_folders(path / name)]
    if train == path or not tests:
        return _drawn_split(index, path=path, seed=seed)
    test_index = _index(tests[0])
    _require_same_classes(index, test_index, train=train, test=tests[0])
    return _listing(
        train=examples(index),
        test=examples(test_index),
        index=index,
        origin=f"class folders in {path}",
    )


def holds(path: Path) -> bool:
    """Return whether there are class folders with images at ``path`` or in its ``train``."""
    classes = _class_folders(path / "train") or _class_folders(path)
    return any(is_image(file) for item in classes for file in item.iterdir())


def classes_in(path: Path) -> tuple[str, ...]:
    """Return the names of the class folders at ``path`` or in its ``train``; perhaps none."""
    return tuple(item.name for item in _class_folders(path / "train") or _class_folders(path))


def natural(path: Path) -> tuple[list[str | int], str]:
    """Return a sorting key that puts cat.2 before cat.10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def examples(index: Index) -> FileExamples:
    """Return the files of an index, class after class, labelled by the class's position."""
    counts = [len(paths) for paths in index.values()]
    return FileExamples(
        paths=tuple(path for paths in index.values() for path in paths),
        labels=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
    )


def _class_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(
        item for item in path.iterdir() if item.is_dir() and not item.name.startswith((".", "__"))
    )


def _index(path: Path) -> Index:
    folders = _class_folders(path)
    if len(folders) < 2:
        names = ", ".join(item.name for item in folders) or "none"
        hint = (
            '; for files named like cat.0.jpg use source = "flat"'
            if any(is_image(item) for item in path.iterdir())
            else ""
        )
        raise DatasetError(f"{path}: expected at least two class folders, found {names}{hint}")
    index = {
        item.name: tuple(sorted(filter(is_image, item.iterdir()), key=natural)) for item in folders
    }
    empty = [name for name, paths in index.items() if not paths]
    if empty:
        raise DatasetError(
            f"{path}: expected images in every class folder, found none in {', '.join(empty)}; "
            "add images (jpg, png, bmp, gif, webp, tif) or remove the folder"
        )
    return index


def _require_same_classes(
    train_index: Index, test_index: Index, *, train: Path, test: Path
) -> None:
    for here, there, path in ((train_index, test_index, test), (test_index, train_index, train)):
        missing = sorted(set(here) - set(there))
        if missing:
            raise DatasetError(
                f"{path}: expected the same classes as in the other split, "
                f"found none named {', '.join(missing)}"
            )


def _drawn_split(index: Index, *, path: Path, seed: int) -> Listing:
    single = [name for name, paths in index.items() if len(paths) < 2]
    if single:
        raise DatasetError(
            f"{path}: expected at least two images of each class, one of them for the test, "
            f"found one of {', '.join(single)}; add images or a test folder"
        )
    everything = examples(index)
    draw = generator(Stream.TEST_SPLIT, seed=seed)
    test = hold_out(everything.labels, share=_TEST_SHARE, draw=draw)
    train = np.setdiff1d(np.arange(len(everything)), test)
    return _listing(
        train=Selection(examples=everything, indices=train),
        test=Selection(examples=everything, indices=test),
        index=index,
        origin=f"class folders in {path}, 20 % of them drawn as the test split (seed {seed})",
    )


def _listing(
    *, train: FileExamples | Selection, test: FileExamples | Selection, index: Index, origin: str
) -> Listing:
    return Listing(
        name="folder",
        classes=tuple(index),
        train=train,
        test=test,
        channels=sample_channels([path for paths in index.values() for path in paths]),
        is_real=True,
        origin=origin,
    )
