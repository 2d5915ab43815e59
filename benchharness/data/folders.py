"""Image files for the loaders of the frameworks: a list by id, and folders of classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from benchharness.data.build_folder import atomic_dir
from benchharness.data.image_formats import SUFFIXES
from benchharness.data.listing import Examples, FileExamples, Listing, Selection
from benchharness.data.prepared import Prepared
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, unwritten
from benchharness.model.conversions import ALIKE, describe

# What the loaders of all frameworks decode, and what they know it by.
_LOADED = {"JPEG": ".jpg", "PNG": ".png"}


def image_files(listing: Listing) -> tuple[Path, ...]:
    """Return the absolute path of each image by id: those for training, then those of the test.

    Raises:
        DatasetError: The images are not JPEG or PNG files of their own.
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
        DatasetError: The images are not in files of their own.
    """
    return [*_paths(listing.train, listing.name), *_paths(listing.test, listing.name)]


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
        found = describe([kind for kind, ids in prepared.kinds.items() if first in ids])
        raise DatasetError(
            f"{paths[first]}: expected an upright, opaque JPEG or PNG of 8 bits in RGB or grey, "
            f"which every framework's loader decodes alike, found: {found} ({len(odd)} such in "
            'all); convert them, or set input = "prepared"'
        )


def class_folder(paths: Sequence[Path], prepared: Prepared, *, cache_dir: Path) -> Path:
    """Return a folder of the training images by class, made of links, as loaders want it.

    The classes' folders bear their labels in front, so that sorted by name they stand in the order
    of the labels; links are named by id. The folder is made once for the same files.

    Args:
        paths: The file of each image, by id.
        prepared: Which images are for training, and their classes.
        cache_dir: The folder lies in ``folders`` below it.

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
    folder = cache_dir / "folders" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    try:
        if not folder.is_dir():
            with atomic_dir(folder) as building:
                for name in names:
                    (building / name).mkdir()
                for link, path in links.items():
                    (building / link).symlink_to(path)
    except OSError as error:
        raise DatasetError(
            f"{folder}: expected to link {len(links)} images by class, found: "
            f'{unwritten(error, elsewhere=ANOTHER_CACHE)}, or set input = "prepared"'
        ) from error
    return folder


def _paths(examples: Examples, dataset: str) -> Sequence[Path]:
    if isinstance(examples, FileExamples):
        return examples.paths
    if isinstance(examples, Selection):
        every = _paths(examples.examples, dataset)
        return [every[index] for index in examples.indices.tolist()]
    raise DatasetError(
        f"dataset {dataset}: expected image files for a framework's own loader, found images in "
        'one array; set input = "prepared"'
    )
