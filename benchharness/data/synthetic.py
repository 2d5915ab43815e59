"""The drawn cats and dogs, kept on disk from one run to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchharness.data import drawn
from benchharness.data.build_folder import atomic_dir, build_lock, discard
from benchharness.data.cache_entry import require_space
from benchharness.data.folder import folder
from benchharness.data.listing import Listing
from benchharness.download.stock import Manifest, damages, write_manifest
from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, file_digest, unwritten

Progress = Callable[[int, int], None]
TRAIN, TEST = 2000, 800
# Of a picture on disk, at most; most are half of it.
_BYTES = 30_000


def pictures(
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
    place = cache_dir / "drawn" / f"{train}-{test}-{seed}-v{drawn.VERSION}"
    try:
        if not _is_whole(place):
            with build_lock(place):
                # Another process may have drawn them while we waited.
                if not _is_whole(place):
                    discard(place)
                    _draw(place, train=train, test=test, seed=seed, progress=progress)
    except OSError as error:
        raise DatasetError(
            f"{place}: expected to write {train + test} pictures, found: "
            f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
        ) from error
    origin = f"drawn by benchharness (version {drawn.VERSION}, seed {seed}), no photographs"
    return replace(folder(place), name="drawn", is_real=False, origin=origin)


def _is_whole(place: Path) -> bool:
    return place.is_dir() and not any(damages(place))


def _draw(place: Path, *, train: int, test: int, seed: int, progress: Progress | None) -> None:
    with atomic_dir(place) as building:
        require_space(building, needed=_BYTES * (train + test), what="pictures")
        drawn.write_drawn(building, train=train, test=test, seed=seed, progress=progress)
        files = sorted(building.rglob("*.jpg"))
        digests = {str(file.relative_to(building)): file_digest(file) for file in files}
        write_manifest(building, Manifest(source="drawn", remark="", files=digests))
