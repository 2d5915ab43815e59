"""Datasets of the files in a folder: in class folders, or named by class."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from benchharness.data.images import sample_channels
from benchharness.data.layout import (
    Index,
    Layout,
    class_folders,
    pictures_in,
    places,
    shown,
    understand,
)
from benchharness.data.listing import Examples, FileExamples, Listing, Selection
from benchharness.data.rng import Stream, generator
from benchharness.data.splits import by_number, hold_out
from benchharness.errors import DatasetError

_TEST_SHARE = 0.2


def folder(
    path: Path,
    *,
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
    is_lenient: bool = False,
) -> Listing:
    """Return the images of ``path``, by class, as ``layout.understand`` has them.

    Where there is no test set, it is drawn: 20 % of each class of class folders; of files named by
    class, the last by number.

    Args:
        path: The folder.
        seed: Draws the test split of class folders.
        train: Training images of each class, where their numbers tell which those are.
        test: Test images of each class, likewise.
        is_lenient: Whether fewer than these are enough.

    Raises:
        DatasetError: The layout is not understood, or a class has too few images.
    """
    layout = understand(path)
    where = shown(str(Path(path.resolve().name, layout.place.relative_to(path))))
    if layout.test is not None:
        parts: tuple[Examples, Examples] = examples(layout.train), examples(layout.test)
        how = f" ({', '.join(map(shown, layout.splits))})"
    elif layout.is_flat:
        learnt, held = by_number(layout.train, train=train, test=test, is_lenient=is_lenient)
        parts = examples(learnt), examples(held)
        how = f"; no test set: the last {len(parts[1]):,} of {sum(map(len, parts)):,} by number"
    else:
        parts = _drawn(layout, seed=seed)
        how = (
            f"; no test set: {len(parts[1]):,} of {sum(map(len, parts)):,} drawn as one "
            f"(20 % of each class, seed {seed})"
        )
    if layout.test is None and layout.splits:
        how = f"/{shown(layout.splits[0])}{how}"
    files = [*chain.from_iterable((*layout.train.values(), *(layout.test or {}).values()))]
    kind = "files named by class" if layout.is_flat else "class folders"
    return Listing(
        name="flat" if layout.is_flat else "folder",
        classes=tuple(layout.train),
        train=parts[0],
        test=parts[1],
        channels=sample_channels(files),
        is_real=True,
        origin=f"{kind} in {where}{how}",
        place=path,
        notes=layout.notes,
    )


def holds(path: Path) -> bool:
    """Return whether there are class folders with images, or images named by class, at ``path``."""
    return any(pictures_in(place / name) for place in places(path) for name in class_folders(place))


def examples(index: Index) -> FileExamples:
    """Return the files of an index, class after class, labelled by the class's position."""
    counts = [len(paths) for paths in index.values()]
    return FileExamples(
        paths=tuple(path for paths in index.values() for path in paths),
        labels=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
    )


def _drawn(layout: Layout, *, seed: int) -> tuple[Selection, Selection]:
    single = [name for name, paths in layout.train.items() if len(paths) < 2]
    if single:
        raise DatasetError(
            f"{layout.place}: expected at least two images of each class, one of them for the "
            f"test, found one of {', '.join(single)}; add images or a test folder"
        )
    everything = examples(layout.train)
    draw = generator(Stream.TEST_SPLIT, seed=seed)
    test = hold_out(everything.labels, share=_TEST_SHARE, draw=draw)
    learnt = np.setdiff1d(np.arange(len(everything)), test)
    return (
        Selection(examples=everything, indices=learnt),
        Selection(examples=everything, indices=test),
    )
