"""Verification: images that can be read and match the cache, and none in both splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchharness.data.cache import Progress, entry_folder, open_entry
from benchharness.data.listing import UNREADABLE, Listing, decode, digests, identity
from benchharness.errors import DatasetError

OnLeak = Literal["warn", "error"]
Leak = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCheck:
    """Result of decoding a dataset once more.

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
) -> ImageCheck:
    """Decode a listing's images once more, and compare them with the cache.

    Args:
        listing: What to decode.
        size: Side of the decoded images, pixels.
        train_images: Training images to take, validation included; None for all.
        test_images: Test images to take; None for all.
        cache_dir: Prepared images are in ``prepared`` below it.
        workers: Decoding threads.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: There are too few images.
    """
    listing = listing.first(train=train_images, test=test_images)
    channels = listing.channels
    contents = digests(listing, workers=workers, may_skip=True)
    folder = entry_folder(cache_dir, identity(listing, contents, size=size, channels=channels))
    damages: list[str] = []
    entry = None
    if folder.exists():
        try:
            entry = open_entry(folder)
        except DatasetError as error:
            damages.append(str(error))
    remedy = "remove the folder and prepare again"
    done = 0
    for block in decode(listing, size=size, channels=channels, workers=workers):
        damages += [str(error) for error in block.failures.values()]
        if entry is not None:
            cached = entry.images[done : done + len(block.pixels)]
            damages += [
                f"{folder}: expected {listing.image_name(done + int(row))} as decoding gives it, "
                f"found other pixels; {remedy}"
                for row in np.flatnonzero((cached != block.pixels).any(axis=(1, 2, 3)))
            ]
        done += len(block.pixels)
        if progress is not None:
            progress(done, listing.count)
    if entry is not None and not np.array_equal(entry.labels, listing.labels):
        damages.append(f"{folder}: expected the labels of the images, found others; {remedy}")
    return ImageCheck(
        images=listing.count, entry=folder if folder.exists() else None, damages=tuple(damages)
    )


def find_leaks(
    listing: Listing, contents: Sequence[bytes], *, skipped: Collection[int]
) -> tuple[Leak, ...]:
    """Return the test images that also occur in the training set, each with the first such twin.

    Twins are the same to the byte: a picture that was stored again counts as another.

    Args:
        listing: The dataset.
        contents: The digest of each image, by id.
        skipped: Ids of images that are in no split.

    Returns:
        Names: that of the test image, then that of the training image.
    """
    train = len(listing.train)
    ignored = {UNREADABLE, *(contents[image] for image in skipped)}
    trained: dict[bytes, int] = {}
    for image, content in enumerate(contents[:train]):
        trained.setdefault(content, image)
    return tuple(
        (listing.image_name(image), listing.image_name(trained[content]))
        for image, content in enumerate(contents[train:], start=train)
        if content in trained and content not in ignored
    )


def refuse_leaks(leaks: Sequence[Leak]) -> None:
    """Refuse a dataset with leaks.

    Raises:
        DatasetError: There are some; the first is named.
    """
    if leaks:
        test, train = leaks[0]
        raise DatasetError(
            f"{test}: expected a picture that is not for training too, found the bytes of {train} "
            f'({len(leaks)} such in all); remove one of each two, or set on_leak = "warn"'
        )
