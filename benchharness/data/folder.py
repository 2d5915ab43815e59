"""Folders of pictures as datasets: class folders, or files named by class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from benchharness.data.batches import Stream, generator, hold_out
from benchharness.data.images import SUFFIXES, sample_channels
from benchharness.data.layout import Index, Layout, by_name, places, read_layout
from benchharness.data.listing import Examples, FileExamples, Listing
from benchharness.data.prepared import Prepared
from benchharness.data.tree import class_folders, display_name, pictures_in
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, atomic_dir, writable
from benchharness.model.image_files import ALIKE, describe_kinds

_TEST_SHARE = 0.2
# The tutorial's proportion: 1000 of 1400 images of each class are for training.
_TRAIN_SHARE = 5 / 7
# What the loaders of all frameworks decode, and what they know it by.
_LOADED = {"JPEG": ".jpg", "PNG": ".png"}


def folder(
    path: Path,
    *,
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
    is_lenient: bool = False,
) -> Listing:
    """Return the images of ``path``, by class, as ``layout.read_layout`` has them.

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
    layout = read_layout(path)
    where = display_name(str(Path(path.resolve().name, layout.place.relative_to(path))))
    if layout.test is not None:
        parts: tuple[Examples, Examples] = examples(layout.train), examples(layout.test)
        how = f" ({', '.join(map(display_name, layout.splits))})"
    elif layout.is_flat:
        first, last = by_number(layout.train, train=train, test=test, is_lenient=is_lenient)
        parts = examples(first), examples(last)
        how = f"; no test set: the last {len(parts[1]):,} of {sum(map(len, parts)):,} by number"
    else:
        parts = _draw_test(layout, seed=seed)
        how = (
            f"; no test set: {len(parts[1]):,} of {sum(map(len, parts)):,} drawn as one "
            f"(20 % of each class, seed {seed})"
        )
    if layout.test is None and layout.splits:
        how = f"/{display_name(layout.splits[0])}{how}"
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


def flat(
    path: Path,
    *,
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
    is_lenient: bool = False,
) -> Listing:
    """Return the images of ``path`` by the class in their names, such as cat.0.jpg.

    As ``folder`` does, but class folders are refused.

    Raises:
        DatasetError: The folder is missing, holds fewer than two classes, or too few images.
    """
    index = flat_index(path)
    if len(index) < 2:
        raise DatasetError(
            f"{path}: expected images named like cat.0.jpg and dog.0.jpg, of at least two classes, "
            f"found {', '.join(index) or 'none'}"
        )
    return folder(path, seed=seed, train=train, test=test, is_lenient=is_lenient)


def user_images(path: Path, *, seed: int) -> Listing:
    """Return the user's own pictures in a folder of which no suite knows anything.

    The dataset is called by the folder's name.

    Args:
        path: The folder.
        seed: Draws the test split where class folders have none.

    Raises:
        DatasetError: It is missing, or holds fewer than two classes, or too few of one.
    """
    title = display_name(path.resolve().name) or "pictures"
    return replace(folder(path, seed=seed), title=title, is_own=True, is_lenient=True)


def holds(path: Path) -> bool:
    """Return whether there are class folders with images at ``path`` or in its training folder."""
    return any(pictures_in(place / name) for place in places(path) for name in class_folders(place))


def holds_flat(path: Path) -> bool:
    """Return whether there are images named by class at ``path`` or in its training folder."""
    return bool(flat_index(path))


def flat_index(path: Path) -> Index:
    """Return the files named by class, classes by name, files by number; perhaps none."""
    indices = (by_name(pictures_in(place)) for place in places(path))
    return next(filter(None, indices), {})


def examples(index: Index) -> FileExamples:
    """Return the files of an index, class after class, labelled by the class's position."""
    counts = [len(paths) for paths in index.values()]
    return FileExamples(
        paths=tuple(path for paths in index.values() for path in paths),
        labels=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
    )


def by_number(
    index: Index, *, train: int | None, test: int | None, is_lenient: bool = False
) -> tuple[Index, Index]:
    """Return the files for training and for the test, by their order.

    In each class, the first ``train`` files are for training and the next ``test`` for the test.

    Args:
        index: At least two classes, the files of each by number.
        train: Images of each class; None for what ``test`` leaves, or 5/7 if that is None too.
        test: Images of each class; None for what ``train`` leaves.
        is_lenient: Whether a class that has too few gives 5/7 of them for training.

    Raises:
        DatasetError: A class has too few images.
    """
    first: dict[str, tuple[Path, ...]] = {}
    last: dict[str, tuple[Path, ...]] = {}
    for name, files in index.items():
        count, train_count, test_count = len(files), train, test
        if is_lenient and (train or 1) + (test or 1) > count:
            train_count = test_count = None
        if train_count is None:
            is_free = test_count is None
            train_count = round(count * _TRAIN_SHARE) if is_free else count - (test_count or 0)
        if test_count is None:
            test_count = count - train_count
        if train_count < 1 or test_count < 1 or train_count + test_count > count:
            raise DatasetError(
                f"{files[0].parent}: class {name}: expected {max(train_count, 1)} images for "
                f"training and {max(test_count, 1)} for the test, found {count}; ask for fewer"
            )
        first[name] = files[:train_count]
        last[name] = files[train_count : train_count + test_count]
    return first, last


def _draw_test(layout: Layout, *, seed: int) -> tuple[FileExamples, FileExamples]:
    single = [name for name, paths in layout.train.items() if len(paths) < 2]
    if single:
        raise DatasetError(
            f"{layout.place}: expected at least two images of each class, one of them for the "
            f"test, found one of {', '.join(single)}; add images or a test folder"
        )
    every = examples(layout.train)
    draw = generator(Stream.TEST_SPLIT, seed=seed)
    test = hold_out(every.labels, share=_TEST_SHARE, draw=draw)
    return every.take(np.setdiff1d(np.arange(len(every)), test)), every.take(test)


def image_files(listing: Listing) -> tuple[Path, ...]:
    """Return the absolute path of each image by id, for the loaders of the frameworks.

    Raises:
        DatasetError: The images are not separate JPEG or PNG files.
    """
    paths = every_path(listing)
    for path in paths:
        if SUFFIXES.get(path.suffix.lower()) not in _LOADED:
            raise DatasetError(
                f"{path}: expected a JPEG or PNG file, which every framework's loader decodes; "
                'convert it, or set input = "prepared"'
            )
    return tuple(path.absolute() for path in paths)


def every_path(listing: Listing) -> list[Path]:
    """Return the path of each image by id.

    Raises:
        DatasetError: The images are not in separate files.
    """
    train, test = listing.train, listing.test
    if not (isinstance(train, FileExamples) and isinstance(test, FileExamples)):
        raise DatasetError(
            f"dataset {listing.name}: expected image files for a framework's own loader, found "
            'images in one array; set input = "prepared"'
        )
    return [*train.paths, *test.paths]


def require_alike(paths: Sequence[Path], prepared: Prepared) -> None:
    """Refuse images which the loaders of the frameworks would give other pixels.

    Args:
        paths: The file of each image, by id.
        prepared: The same images, as our decoder found them.

    Raises:
        DatasetError: Such a file is among them; the first is named.
    """
    odd = {image for kind, ids in prepared.kinds.items() if kind not in ALIKE for image in ids}
    if odd:
        first = min(odd)
        kinds = describe_kinds([kind for kind, ids in prepared.kinds.items() if first in ids])
        raise DatasetError(
            f"{paths[first]}: expected an upright, opaque JPEG or PNG of 8 bits in RGB or grey, "
            f"which every framework's loader decodes alike, found: {kinds} ({len(odd)} such in "
            'all); convert them, or set input = "prepared"'
        )


def class_folder(paths: Sequence[Path], prepared: Prepared, *, cache_dir: Path) -> Path:
    """Return a folder of the training images by class, made of links, as loaders want it.

    The classes' folders bear their labels in front, so that sorted by name they are in the order
    of the labels; links are named by id. The folder is made once for the same files.

    Args:
        paths: The file of each image, by id.
        prepared: Which images are for training, and their classes.
        cache_dir: The folder is in ``folders`` below it.

    Raises:
        DatasetError: The folder cannot be written, or holds no links.
    """
    digits = max(4, len(str(len(prepared.classes) - 1)))
    names = [f"{label:0{digits}d}_{name}" for label, name in enumerate(prepared.classes)]
    suffixes = [_LOADED[SUFFIXES[path.suffix.lower()]] for path in paths]
    links = {
        f"{names[prepared.labels[image]]}/{image:08d}{suffixes[image]}": paths[image]
        for image in prepared.splits["train"].tolist()
    }
    identity = json.dumps([names, {link: str(path) for link, path in links.items()}])
    target = cache_dir / "folders" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    what = f"to link {len(links)} images by class"
    elsewhere = f'{ANOTHER_CACHE}, or set input = "prepared"'
    with writable(target, elsewhere=elsewhere, what=what, error=DatasetError):
        if not target.is_dir():
            with atomic_dir(target) as building:
                for name in names:
                    (building / name).mkdir()
                for link, path in links.items():
                    (building / link).symlink_to(path)
    return target
