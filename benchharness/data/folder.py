"""Datasets whose folders are their classes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchharness.data.draws import Stream, generator
from benchharness.data.images import is_image, sample_channels
from benchharness.data.listing import FileExamples, Listing, Selection
from benchharness.data.splits import hold_out
from benchharness.data.stored import SUFFIXES
from benchharness.errors import DatasetError

_TRAIN_NAMES = ("train", "training")
_TEST_NAMES = ("test", "validation", "val", "valid")
_TEST_SHARE = 0.2

Index = Mapping[str, tuple[Path, ...]]


def folder(path: Path, *, seed: int = 0) -> Listing:
    """Return the images of ``path``, by class.

    Accepts ``train/<class>/*`` beside ``test/<class>/*`` (or ``validation``, ``val``, ``valid``;
    the first of these that exists; in capitals or not), or classes without splits, of which 20 %
    become the test split. Images in folders of a class belong to the class. Classes are sorted by
    name, files in the order of the numbers in their names.

    Args:
        path: The folder.
        seed: Draws the test split where the folder has none.

    Raises:
        DatasetError: The folder is missing, has fewer than two classes or an empty one, or its
            splits have different classes.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: expected a folder of classes, found none")
    train = _split(path, _TRAIN_NAMES) or path
    test = _split(path, _TEST_NAMES) if train != path else None
    index = _index(train)
    if test is None:
        return _drawn_split(index, path=path, train=train, seed=seed)
    test_index = _index(test)
    _require_same_classes(index, test_index, train=train, test=test)
    return _listing(
        train=examples(index),
        test=examples(test_index),
        index=index,
        origin=f"class folders in {path} ({train.name}, {test.name})",
    )


def holds(path: Path) -> bool:
    """Return whether there are class folders with images at ``path`` or in its ``train``."""
    return any(is_image(file) for item in _classes(path) for file in item.iterdir())


def classes_in(path: Path) -> tuple[str, ...]:
    """Return the names of the class folders at ``path`` or in its ``train``; perhaps none."""
    return tuple(item.name for item in _classes(path))


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


def shown(name: str) -> str:
    """Return a name for the eye: accents composed, and nothing that cannot be printed."""
    text = os.fsencode(name).decode("utf-8", "replace")
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in composed)


def visible_files(path: Path) -> Iterator[Path]:
    """Yield the files below ``path``, in folders of any depth; nothing hidden."""
    for place, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (Path(place, name) for name in files if not name.startswith("."))


def _is_hidden(name: str) -> bool:
    # Archives made on a Mac have a folder __MACOSX.
    return name.startswith((".", "__"))


def _split(path: Path, names: Sequence[str]) -> Path | None:
    """Return the first folder of one of the names, in capitals or not, that holds classes."""
    found = {item.name.lower(): item for item in reversed(_class_folders(path))}
    return next(
        (found[name] for name in names if name in found and _class_folders(found[name])), None
    )


def _classes(path: Path) -> list[Path]:
    return _class_folders(_split(path, _TRAIN_NAMES) or path)


def _class_folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(item for item in path.iterdir() if item.is_dir() and not _is_hidden(item.name))


def _index(path: Path) -> Index:
    folders = _class_folders(path)
    if len(folders) < 2:
        raise DatasetError(_no_classes(path, folders))
    index = {
        shown(item.name): tuple(sorted(filter(is_image, visible_files(item)), key=_place_in(item)))
        # By the name as it is read: two splits may write the same accent in two ways.
        for item in sorted(folders, key=lambda item: shown(item.name))
    }
    if len(index) < len(folders):
        raise DatasetError(f"{path}: expected different class names, found two that read alike")
    empty = [name for name, paths in index.items() if not paths]
    if empty:
        raise DatasetError(
            f"{path}: expected images in every class folder, found none in {', '.join(empty)}; "
            f"add images ({', '.join(sorted(SUFFIXES))}) or remove the folder"
        )
    return index


def _place_in(folder: Path) -> Callable[[Path], list[tuple[list[str | int], str]]]:
    """Return the sorting key of files in a folder and in the folders inside."""
    return lambda file: [natural(Path(part)) for part in file.relative_to(folder).parts]


def _no_classes(path: Path, folders: Sequence[Path]) -> str:
    """Return what is wrong with a folder of fewer than two classes, and what was perhaps meant."""
    names = ", ".join(shown(item.name) for item in folders) or "none"
    deeper = [item for item in folders if len(_class_folders(item)) > 1]
    if deeper:
        hint = f"; if the classes are the folders in {deeper[0]}, name that folder"
    elif any(is_image(item) for item in path.iterdir()):
        hint = (
            "; put the images of each class into a folder of its name "
            '(files named like cat.0.jpg are source = "flat")'
        )
    else:
        hint = ""
    return f"{path}: expected at least two class folders, found {names}{hint}"


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


def _drawn_split(index: Index, *, path: Path, train: Path, seed: int) -> Listing:
    single = [name for name, paths in index.items() if len(paths) < 2]
    if single:
        raise DatasetError(
            f"{train}: expected at least two images of each class, one of them for the test, "
            f"found one of {', '.join(single)}; add images or a test folder"
        )
    everything = examples(index)
    draw = generator(Stream.TEST_SPLIT, seed=seed)
    test = hold_out(everything.labels, share=_TEST_SHARE, draw=draw)
    learnt = np.setdiff1d(np.arange(len(everything)), test)
    return _listing(
        train=Selection(examples=everything, indices=learnt),
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
