"""Synthetic images: the drawn cats and dogs, kept on disk from one run to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchharness.data.drawn.picture import draw
from benchharness.data.folder import folder
from benchharness.data.listing import Listing
from benchharness.download.manifest import Manifest, damages, write_manifest
from benchharness.errors import DatasetError
from benchharness.files import (
    atomic_dir,
    build_lock,
    file_digest,
    remove_dir,
    require_free_space,
    writable,
)

Progress = Callable[[int, int], None]
# Part of the cache's path and so of a dataset's identity: raise it when any picture changes.
VERSION = 1
TRAIN, TEST = 2000, 800
# Of a picture on disk, at most; most are half of it.
_BYTES = 30_000


def synthetic_images(
    *,
    train: int | None,
    test: int | None,
    seed: int,
    cache_dir: Path,
    progress: Progress | None = None,
) -> Listing:
    """Return drawn pictures of cats and dogs, as ordinary JPEGs in class folders.

    Args:
        train: Training pictures in all; None for 2000.
        test: Test pictures in all; None for 800.
        seed: Draws them.
        cache_dir: They are kept below it, and drawn only if they are not there yet.
        progress: Called with pictures drawn and pictures in all.

    Raises:
        DatasetError: They cannot be written.
    """
    train, test = train or TRAIN, test or TEST
    place = cache_dir / "drawn" / f"{train}-{test}-{seed}-v{VERSION}"
    with writable(place, what=f"to write {train + test} pictures", error=DatasetError):
        if not _is_whole(place):
            with build_lock(place):
                # Another process may have drawn them while we waited.
                if not _is_whole(place):
                    remove_dir(place)
                    _draw(place, train=train, test=test, seed=seed, progress=progress)
    origin = f"drawn by benchharness (version {VERSION}, seed {seed}), no photographs"
    return replace(folder(place), name="drawn", is_real=False, origin=origin)


def write_drawn(
    folder: Path, *, train: int, test: int, seed: int, progress: Progress | None = None
) -> None:
    """Write train/cats/cat.0.jpg, train/dogs/dog.0.jpg, ..., test/cats/..., test/dogs/...

    A picture depends on seed, split, class and index alone, so asking for more pictures leaves
    the first ones as they were. Bytes repeat on one machine with the same NumPy and Pillow.

    Args:
        folder: Made if it is missing.
        train: Training pictures of both classes together; cats get the odd one.
        test: Test pictures of both classes together; cats get the odd one.
        seed: From 0.
        progress: Called with pictures done and pictures in all.
    """
    done = 0
    for split, (part, total) in enumerate((("train", train), ("test", test))):
        for label, name in enumerate(("cat", "dog")):
            place = folder / part / f"{name}s"
            place.mkdir(parents=True, exist_ok=True)
            for index in range((total + 1 - label) // 2):
                rng = np.random.default_rng([seed, split, label, index])
                picture = draw(label, rng)
                picture.save(place / f"{name}.{index}.jpg", quality=int(rng.integers(60, 96)))
                done += 1
                if progress is not None:
                    progress(done, train + test)


def _is_whole(place: Path) -> bool:
    return place.is_dir() and not any(damages(place))


def _draw(place: Path, *, train: int, test: int, seed: int, progress: Progress | None) -> None:
    with atomic_dir(place) as building:
        require_free_space(
            building, needed=_BYTES * (train + test), what="pictures", error=DatasetError
        )
        write_drawn(building, train=train, test=test, seed=seed, progress=progress)
        files = sorted(building.rglob("*.jpg"))
        digests = {str(file.relative_to(building)): file_digest(file) for file in files}
        write_manifest(building, Manifest(source="drawn", remark="", files=digests))
