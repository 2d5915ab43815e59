"""Images with their class in each file's name: cat.0.jpg, dog.12.jpg."""

from __future__ import annotations

from pathlib import Path

from benchharness.data.folder import folder
from benchharness.data.layout import Index, by_name, pictures_in, places
from benchharness.data.listing import Listing
from benchharness.errors import DatasetError


def flat(
    path: Path,
    *,
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
    is_lenient: bool = False,
) -> Listing:
    """Return the images of ``path`` by the class in their names; nothing is copied.

    As ``folder`` does, but class folders are refused.

    Raises:
        DatasetError: The folder is missing, holds fewer than two classes, or too few images.
    """
    index = index_of(path)
    if len(index) < 2:
        raise DatasetError(
            f"{path}: expected images named like cat.0.jpg and dog.0.jpg, of at least two classes, "
            f"found {', '.join(index) or 'none'}"
        )
    return folder(path, seed=seed, train=train, test=test, is_lenient=is_lenient)


def holds(path: Path) -> bool:
    """Return whether images named like cat.0.jpg lie at ``path`` or in its training folder."""
    return bool(index_of(path))


def index_of(path: Path) -> Index:
    """Return the files by class, classes by name, files by number; empty where there are none."""
    for place in places(path):
        if index := by_name(pictures_in(place)):
            return index
    return {}
