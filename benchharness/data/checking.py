"""Whether images are readable, and their prepared form still what decoding gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchharness.data.cache import Progress
from benchharness.data.cache_entry import Entry, open_entry
from benchharness.data.indexed_images import IndexedImages, decode, digests, identity
from benchharness.data.listing import Listing
from benchharness.errors import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found.

    Attributes:
        images: How many were decoded.
        entry: Their place in the cache; None where they are not prepared.
        damages: A line for each image that cannot be read, and for each that is not in the cache
            as it should be.
    """

    images: int
    entry: Path | None
    damages: tuple[str, ...]


def check_images(
    listing: Listing,
    *,
    size: int,
    train_images: int | None,
    test_images: int | None,
    cache_dir: Path,
    workers: int,
    progress: Progress | None = None,
) -> Checked:
    """Decode a listing's images once more, and hold them against the cache.

    Args:
        listing: What to decode.
        size: Side of the decoded images, pixels.
        train_images: Training images to take, validation included; None for all.
        test_images: Test images to take; None for all.
        cache_dir: Prepared images lie in ``prepared`` below it.
        workers: Decoding threads.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: There are too few images.
    """
    images = IndexedImages(listing=listing.first(train=train_images, test=test_images))
    channels = listing.channels
    contents = digests(images, workers=workers, may_skip=True)
    digest = identity(images, contents, size=size, channels=channels)
    folder = cache_dir / "prepared" / digest[:32]
    damages: list[str] = []
    entry = _opened(folder, damages)
    done = 0
    for block in decode(images, size=size, channels=channels, workers=workers):
        damages += [str(error) for error in block.failures.values()]
        if entry is not None:
            kept = entry.images[done : done + len(block.pixels)]
            strange = np.flatnonzero((kept != block.pixels).any(axis=(1, 2, 3)))
            damages += [_strange(folder, images.name(done + int(row))) for row in strange]
        done += len(block.pixels)
        if progress is not None:
            progress(done, len(images))
    if entry is not None and not np.array_equal(entry.labels, images.labels):
        damages.append(
            f"{folder}: expected the labels of the images, found others; "
            "remove the folder and prepare again"
        )
    return Checked(
        images=len(images), entry=folder if folder.exists() else None, damages=tuple(damages)
    )


def _opened(folder: Path, damages: list[str]) -> Entry | None:
    if not folder.exists():
        return None
    try:
        return open_entry(folder)
    except DatasetError as error:
        damages.append(str(error))
        return None


def _strange(folder: Path, name: str) -> str:
    return (
        f"{folder}: expected {name} as decoding gives it, found other pixels; "
        "remove the folder and prepare again"
    )
