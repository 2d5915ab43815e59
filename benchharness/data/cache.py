"""Filling the cache: an entry is opened where it is whole, and built where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.data.build_folder import atomic_dir, build_lock, discard
from benchharness.data.cache_entry import (
    IMAGES,
    REMEDY,
    Entry,
    Meta,
    open_entry,
    require_space,
    require_whole,
    write_images,
    write_rest,
)
from benchharness.data.indexed_images import IndexedImages, decode
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, unwritten

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheResult:
    """An entry that is whole.

    Attributes:
        seconds: What decoding took; 0.0 where the entry was there already.
        damage: What was wrong with the entry that this one replaces; empty where nothing was.
    """

    entry: Entry
    seconds: float = 0.0
    damage: str = ""


def obtain(
    folder: Path,
    images: IndexedImages,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> CacheResult:
    """Return the entry, built unless it is there and every byte of it is as it was written.

    Of several processes that need the same entry one builds it, and the others wait for that.

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
        # A cache that cannot be written, and so not locked, may still hold what is needed.
        found, _ = _cached(folder, meta=meta)
        if found is not None:
            return CacheResult(entry=found)
        with build_lock(folder):
            found, damage = _cached(folder, meta=meta)
            if found is not None:
                return CacheResult(entry=found)
            if damage:
                discard(folder)
            started = time.perf_counter()
            _build(folder, images, meta=meta, workers=workers, may_skip=may_skip, progress=progress)
    except OSError as error:
        raise DatasetError(
            f"{folder}: expected to write prepared images, found: "
            f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
        ) from error
    return CacheResult(
        entry=open_entry(folder), seconds=time.perf_counter() - started, damage=damage
    )


def _cached(folder: Path, *, meta: Meta) -> tuple[Entry | None, str]:
    """Return the entry if it is whole, else what is wrong with it; empty where there is none."""
    # Looked at first: what another process completes from here on is not ours to remove.
    if not folder.exists():
        return None, ""
    try:
        entry = open_entry(folder)
        require_whole(entry)
    except DatasetError as error:
        return None, str(error).removesuffix(REMEDY)
    except OSError as error:
        return None, f"{folder}: expected prepared images, found: {error}"
    if replace(entry.meta, skipped=(), kinds={}, files={}) != meta:
        return None, f"{folder}: expected the images of {meta.digest}, found others"
    return entry, ""


def _build(
    folder: Path,
    images: IndexedImages,
    *,
    meta: Meta,
    workers: int,
    may_skip: bool,
    progress: Progress | None,
) -> None:
    skipped: dict[int, DatasetError] = {}
    kinds: dict[str, list[int]] = {}

    def blocks() -> Iterator[NDArray[np.uint8]]:
        done, size, channels = 0, meta.shape[1], meta.shape[3]
        for block in decode(images, size=size, channels=channels, workers=workers):
            if block.failures and not may_skip:
                raise next(iter(block.failures.values()))
            skipped.update(block.failures)
            for position, found in block.kinds.items():
                for kind in found:
                    kinds.setdefault(kind, []).append(position)
            done += len(block.pixels)
            if progress is not None:
                progress(done, len(images))
            yield block.pixels

    with atomic_dir(folder) as building:
        require_space(building, needed=int(np.prod(meta.shape)))
        written = write_images(building, shape=meta.shape, blocks=blocks())
        labels = images.labels
        _require_each_class(images, labels, skipped)
        found = replace(
            meta,
            skipped=tuple(skipped),
            kinds={kind: tuple(ids) for kind, ids in kinds.items()},
            files={IMAGES: written},
        )
        write_rest(building, labels=labels, meta=found)


def _require_each_class(
    images: IndexedImages, labels: NDArray[np.int32], skipped: Mapping[int, DatasetError]
) -> None:
    train = len(images.listing.train)
    kept = np.setdiff1d(np.arange(len(labels)), np.array(list(skipped), dtype=np.int64))
    for name, part in (("train", kept[kept < train]), ("test", kept[kept >= train])):
        bare = np.setdiff1d(np.arange(len(images.listing.classes)), labels[part])
        if skipped and len(bare):
            raise DatasetError(
                f"dataset {images.listing.name}: {name}: expected a readable image of each class, "
                f"found none of {images.listing.classes[int(bare[0])]}; "
                f"the first of {len(skipped):,}: {next(iter(skipped.values()))}"
            )
