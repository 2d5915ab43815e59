"""Folders of pictures as datasets: class folders, or files named by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from benchharness.data.batches import Stream, generator, hold_out
from benchharness.data.images import SUFFIXES, sample_channels
from benchharness.data.layout import Index, by_name, places, read_layout
from benchharness.data.listing import FileExamples, Listing
from benchharness.data.prepared import Prepared
from benchharness.data.tree import class_folders, display_name, pictures_in
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, atomic_dir, json_digest, writable
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
    class, the last by number, of which ``train`` and ``test`` tell how many there are in all.

    Raises:
        DatasetError: The layout is not understood, or a class has too few images.
    """
    layout = read_layout(path)
    split = f"/{display_name(layout.splits[0])}" if layout.splits else ""
    if layout.test is not None:
        parts = _examples(layout.train), _examples(layout.test)
        how = f" ({', '.join(map(display_name, layout.splits))})"
    elif layout.is_flat:
        parts = by_number(layout.train, train=train, test=test, is_lenient=is_lenient)
        count, all_files = len(parts[1]), sum(map(len, parts))
        how = f"{split}; no test set: the last {count:,} of {all_files:,} by number"
    else:
        parts = _draw_test(layout.train, place=layout.place, seed=seed)
        how = (
            f"{split}; no test set: {len(parts[1]):,} of {sum(map(len, parts)):,} drawn as one "
            f"(20 % of each class, seed {seed})"
        )
    kind = "files named by class" if layout.is_flat else "class folders"
    files = chain.from_iterable((*layout.train.values(), *(layout.test or {}).values()))
    where = display_name(str(Path(path.resolve().name, layout.place.relative_to(path))))
    return Listing(
        name="flat" if layout.is_flat else "folder",
        classes=tuple(layout.train),
        train=parts[0],
        test=parts[1],
        channels=sample_channels([*files]),
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
    """Return the user's own pictures in a folder of which no suite knows, called by its name.

    Raises:
        DatasetError: It is missing, or holds fewer than two classes, or too few of one.
    """
    title = display_name(path.resolve().name) or "pictures"
    return replace(folder(path, seed=seed), title=title, is_own=True, is_lenient=True)


def holds(path: Path) -> bool:
    """Return whether there are class folders with images at ``path`` or in its training folder."""
    return any(pictures_in(place / name) for place in places(path) for name in class_folders(place))


def flat_index(path: Path) -> Index:
    """Return the files named by class at ``path`` or in its training folder; perhaps none.

    Classes are sorted by name, files by number.
    """
    indices = (by_name(pictures_in(place)) for place in places(path))
    return next(filter(None, indices), {})


def _examples(index: Index) -> FileExamples:
    """Return the files of an index, class after class, labelled by the class's position."""
    counts = [len(paths) for paths in index.values()]
    return FileExamples(
        paths=tuple(chain.from_iterable(index.values())),
        labels=np.repeat(np.arange(len(counts), dtype=np.int32), counts),
    )


def by_number(
    index: Index, *, train: int | None, test: int | None, is_lenient: bool = False
) -> tuple[FileExamples, FileExamples]:
    """Return the files for training and for the test, by their order.

    Args:
        index: At least two classes, the files of each by number.
        train: Images in all, shared by the classes, rounded up; None for what ``test`` leaves, or
            5/7 if that is None too.
        test: Images in all, the next ones; None for what ``train`` leaves.
        is_lenient: Whether a class that has too few gives 5/7 of them for training.

    Raises:
        DatasetError: A class has too few images.
    """
    learnt, tested = dict[str, tuple[Path, ...]](), dict[str, tuple[Path, ...]]()
    shares = [None if total is None else -(-total // len(index)) for total in (train, test)]
    for name, files in index.items():
        first, last = shares
        count = len(files)
        if is_lenient and (first or 1) + (last or 1) > count:
            first = last = None
        if first is None:
            first = round(count * _TRAIN_SHARE) if last is None else count - last
        if last is None:
            last = count - first
        if first < 1 or last < 1 or first + last > count:
            raise DatasetError(
                f"{files[0].parent}: class {name}: expected {max(first, 1)} images for "
                f"training and {max(last, 1)} for the test, found {count}; ask for fewer"
            )
        learnt[name], tested[name] = files[:first], files[first : first + last]
    return _examples(learnt), _examples(tested)


def _draw_test(index: Index, *, place: Path, seed: int) -> tuple[FileExamples, FileExamples]:
    if single := [name for name, paths in index.items() if len(paths) < 2]:
        raise DatasetError(
            f"{place}: expected at least two images of each class, one of them for the "
            f"test, found one of {', '.join(single)}; add images or a test folder"
        )
    every = _examples(index)
    draw = generator(Stream.TEST_SPLIT, seed=seed)
    test = hold_out(every.labels, share=_TEST_SHARE, draw=draw)
    return every.take(np.setdiff1d(np.arange(len(every)), test)), every.take(test)


def image_files(listing: Listing) -> tuple[Path, ...]:
    """Return the absolute path of each image by id, for the loaders of the frameworks.

    Raises:
        DatasetError: The images are not separate JPEG or PNG files.
    """
    train, test = listing.train, listing.test
    if not (isinstance(train, FileExamples) and isinstance(test, FileExamples)):
        raise DatasetError(
            f"dataset {listing.name}: expected image files for a framework's own loader, found "
            'images in one array; set input = "prepared"'
        )
    paths = (*train.paths, *test.paths)
    for path in paths:
        if SUFFIXES.get(path.suffix.lower()) not in _LOADED:
            raise DatasetError(
                f"{path}: expected a JPEG or PNG file, which every framework's loader decodes; "
                'convert it, or set input = "prepared"'
            )
    return tuple(path.absolute() for path in paths)


def require_alike(paths: Sequence[Path], prepared: Prepared) -> None:
    """Refuse images, in files by id, which frameworks' loaders would give other pixels.

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

    Raises:
        DatasetError: The folder cannot be written, or holds no links.
    """
    digits = max(4, len(str(len(prepared.classes) - 1)))
    names = [f"{label:0{digits}d}_{name}" for label, name in enumerate(prepared.classes)]
    links = {}
    for image in prepared.splits["train"].tolist():
        suffix = _LOADED[SUFFIXES[paths[image].suffix.lower()]]
        links[f"{names[prepared.labels[image]]}/{image:08d}{suffix}"] = str(paths[image])
    target = cache_dir / "folders" / json_digest([names, links])
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
