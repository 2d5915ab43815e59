"""Prepared dataset: decoded once, kept on disk, and read by every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchharness.data.batches import split
from benchharness.data.cache import (
    CacheEntry,
    Meta,
    Progress,
    entry_folder,
    open_entry,
    open_or_build,
)
from benchharness.data.listing import Listing, digests, identity
from benchharness.data.verify import Leak, OnLeak, find_leaks, refuse_leaks
from benchharness.errors import DatasetError

OnBadImage = Literal["error", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """Decoded images with their labels and splits.

    Attributes:
        images: uint8, shape (images, size, size, channels), a read-only memory map. An image's id
            is its position here. An image that was skipped is black and in no split.
        labels: int32, shape (images,).
        splits: Ids, int64, by "train", "validation" and "test"; no id is in two.
        name: Identity of the source, for example ``cats_dogs``.
        digest: Identity of the content, SHA-256 in hex; the same wherever the files are.
        origin: Where the images came from, in words for the user.
        is_real: False for pictures that a program drew.
        skipped: Images left out because they could not be read.
        kinds: Ids of images that were special, by the keys of ``model.image_files.WORDS``.
        seconds: Time spent decoding now; 0.0 when they came from the cache.
        folder: The cache entry.
        validation: Share of the training images held out, 0-1.
        seed: Decided which ones.
        leaks: Images of the test that are for training too, each with its twin.
        rebuilt_because: What was wrong with the cache entry that this one replaces; else empty.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    splits: Mapping[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    name: str
    digest: str
    origin: str
    is_real: bool
    skipped: tuple[str, ...]
    kinds: Mapping[str, tuple[int, ...]]
    seconds: float
    folder: Path
    validation: float
    seed: int
    leaks: tuple[Leak, ...] = ()
    rebuilt_because: str = ""

    @property
    def majority_share(self) -> float:
        """Share of the test images that are of the largest class of the training images, 0-1.

        Who always guesses that class is right so often.
        """
        counts = np.bincount(self.labels[self.splits["train"]])
        return float((self.labels[self.splits["test"]] == counts.argmax()).mean())

    def class_counts(self) -> dict[str, list[int]]:
        """Return how many images of each class, in the order of ``classes``, each split has."""
        return {
            name: np.bincount(self.labels[ids], minlength=len(self.classes)).tolist()
            for name, ids in self.splits.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what another process on this machine needs to open the same, ready for JSON."""
        return {
            "folder": str(self.folder),
            "validation": self.validation,
            "seed": self.seed,
            "origin": self.origin,
            "skipped": list(self.skipped),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Prepared:
        """Open what ``as_dict`` describes.

        Raises:
            DatasetError: The cache entry is gone or damaged.
        """
        return _with_splits(
            open_entry(Path(fields["folder"])),
            validation=fields["validation"],
            seed=fields["seed"],
            origin=fields["origin"],
            skipped=tuple(fields["skipped"]),
        )


def prepare(
    listing: Listing,
    *,
    size: int,
    channels: int | None,
    train_images: int | None,
    test_images: int | None,
    validation: float,
    seed: int,
    cache_dir: Path,
    workers: int,
    on_bad_image: OnBadImage,
    on_leak: OnLeak = "warn",
    progress: Progress | None = None,
) -> Prepared:
    """Return the listing's images decoded, from the cache where it has them.

    Neither ``validation`` nor ``seed`` decodes anything again.

    Args:
        listing: What to decode.
        size: Side of the decoded images, pixels.
        channels: 1 or 3; None for the listing's own.
        train_images: Training images to take, validation included; None for all.
        test_images: Test images to take; None for all.
        validation: Share of each class of the training images to hold out, 0-1.
        seed: Decides which ones.
        cache_dir: The entry is in ``prepared`` below it.
        workers: Decoding threads.
        on_bad_image: "skip" leaves out images that cannot be read.
        on_leak: "error" refuses images of the test that are for training too.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: There are too few images, one cannot be read or is not allowed, or the disk is
            full.
    """
    listing = listing.first(train=train_images, test=test_images)
    channels = listing.channels if channels is None else channels
    may_skip = on_bad_image == "skip"
    contents = digests(listing, workers=workers, may_skip=may_skip)
    digest = identity(listing, contents, size=size, channels=channels)
    meta = Meta(
        digest=digest,
        name=listing.name,
        classes=listing.classes,
        is_real=listing.is_real,
        shape=(listing.count, size, size, channels),
        train=len(listing.train),
    )
    entry = open_or_build(
        entry_folder(cache_dir, digest),
        listing,
        meta=meta,
        workers=workers,
        may_skip=may_skip,
        progress=progress,
    )
    skipped = tuple(map(listing.image_name, entry.meta.skipped))
    if skipped and not may_skip:
        raise DatasetError(
            f"{skipped[0]}: expected a readable image, found one that an earlier run skipped "
            f'({len(skipped)} such in all); repair or remove it, or set on_bad_image = "skip"'
        )
    leaks = find_leaks(listing, contents, skipped=entry.meta.skipped)
    if on_leak == "error":
        refuse_leaks(leaks)
    prepared = _with_splits(
        entry, validation=validation, seed=seed, origin=listing.origin, skipped=skipped
    )
    return replace(prepared, leaks=leaks)


def _with_splits(
    entry: CacheEntry, *, validation: float, seed: int, origin: str, skipped: tuple[str, ...]
) -> Prepared:
    meta = entry.meta
    return Prepared(
        images=entry.images,
        labels=entry.labels,
        splits=split(
            entry.labels,
            classes=meta.classes,
            train=meta.train,
            skipped=meta.skipped,
            validation=validation,
            seed=seed,
        ),
        classes=meta.classes,
        name=meta.name,
        digest=meta.digest,
        origin=origin,
        is_real=meta.is_real,
        skipped=skipped,
        kinds=meta.kinds,
        seconds=entry.seconds,
        folder=entry.folder,
        validation=validation,
        seed=seed,
        rebuilt_because=entry.rebuilt_because,
    )
