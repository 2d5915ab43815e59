"""The photographs of cats and dogs that the classic tutorials learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchharness.data import flat, folder
from benchharness.data.catalogue import SOURCES
from benchharness.data.listing import Listing
from benchharness.errors import DatasetError

CLASSES = ("cats", "dogs")
_REMEDY = SOURCES["cats_dogs"].remedy


def cats_dogs(
    path: Path | None, *, train: int | None = None, test: int | None = None, seed: int = 0
) -> Listing:
    """Return the photographs, in class folders or flat as in the competition's archive.

    The classes are called cats and dogs whatever the files say, so that both layouts of the same
    photographs are the same dataset.

    Args:
        path: The folder.
        train: Training images of each class, where the layout is flat.
        test: Test images of each class, where the layout is flat.
        seed: Draws the test split where class folders have none.

    Raises:
        DatasetError: The folder is missing or holds something else.
    """
    if path is None or not path.is_dir():
        found = "no folder" if path is None else f"none at {path}"
        raise DatasetError(f"dataset cats_dogs: expected photographs, found {found}; {_REMEDY}")
    if not holds(path):
        raise DatasetError(f"{path}: expected the classes cats and dogs, found neither; {_REMEDY}")
    if _is_ours(tuple(flat.index_of(path))):
        listing = flat.flat(path, train=train, test=test)
    else:
        listing = folder.folder(path, seed=seed)
    return replace(listing, name="cats_dogs", classes=CLASSES, origin=f"photographs in {path}")


def holds(path: Path) -> bool:
    """Return whether cats and dogs, and no other class, lie at ``path``."""
    return _is_ours(tuple(flat.index_of(path))) or _is_ours(folder.classes_in(path))


def _is_ours(names: tuple[str, ...]) -> bool:
    return tuple(name.lower().removesuffix("s") for name in names) == ("cat", "dog")
