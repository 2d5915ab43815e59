"""Filling the cache: an entry is opened where it is whole, and built where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.data.decoding import Corpus, decode
from benchharness.data.entry import (
    Entry,
    Meta,
    open_entry,
    require_space,
    write_images,
    write_rest,
)
from benchharness.data.workshop import discard, new_folder
from benchharness.errors import DatasetError

Progress = Callable[[int, int], None]


def obtain(
    folder: Path,
    images: Corpus,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> tuple[Entry, float]:
    """Return the entry and the seconds it took to decode; 0.0 where it was there already.

    Args:
        folder: The entry's place.
        images: What to decode.
        meta: What the entry is to be; which images are skipped or special is found here.
        workers: Decoding threads.
        may_skip: Whether images that cannot be read are left out.
        progress: Called with images done and images in all.

    Raises:
        DatasetError: An image cannot be read, or the disk is full.
    """
    try:
        entry = _cached(folder, digest=meta.digest)
        if entry is not None:
            return entry, 0.0
        started = time.perf_counter()
        _build(folder, images, meta=meta, workers=workers, may_skip=may_skip, progress=progress)
    except OSError as error:
        raise DatasetError(
            f"{folder}: expected to write prepared images, found: {error}; "
            "free some space or choose another cache folder"
        ) from error
    return open_entry(folder), time.perf_counter() - started


def _cached(folder: Path, *, digest: str) -> Entry | None:
    """Return the entry if it is whole; remove it if it is not."""
    # Looked at first: what another process completes from here on is not ours to remove.
    if not folder.exists():
        return None
    with suppress(DatasetError):
        entry = open_entry(folder)
        if entry.meta.digest == digest:
            return entry
    discard(folder)
    return None


def _build(
    folder: Path,
    images: Corpus,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> None:
    skipped: list[int] = []
    kinds: dict[str, list[int]] = {}

    def blocks() -> Iterator[NDArray[np.uint8]]:
        done, size, channels = 0, meta.shape[1], meta.shape[3]
        for block in decode(images, size=size, channels=channels, workers=workers):
            if block.failures and not may_skip:
                raise next(iter(block.failures.values()))
            skipped.extend(block.failures)
            for position, found in block.kinds.items():
                for kind in found:
                    kinds.setdefault(kind, []).append(position)
            done += len(block.pixels)
            if progress is not None:
                progress(done, len(images))
            yield block.pixels

    with new_folder(folder) as building:
        require_space(building, needed=int(np.prod(meta.shape)))
        write_images(building, shape=meta.shape, blocks=blocks())
        labels = images.labels
        _require_each_class(images, labels, skipped)
        special = {kind: tuple(ids) for kind, ids in kinds.items()}
        write_rest(
            building, labels=labels, meta=replace(meta, skipped=tuple(skipped), kinds=special)
        )


def _require_each_class(images: Corpus, labels: NDArray[np.int32], skipped: list[int]) -> None:
    train = len(images.listing.train)
    kept = np.setdiff1d(np.arange(len(labels)), np.array(skipped, dtype=np.int64))
    for name, part in (("train", kept[kept < train]), ("test", kept[kept >= train])):
        bare = np.setdiff1d(np.arange(len(images.listing.classes)), labels[part])
        if skipped and len(bare):
            raise DatasetError(
                f"dataset {images.listing.name}: {name}: expected a readable image of each class, "
                f"found none of {images.listing.classes[int(bare[0])]}"
            )
