"""The photographs of cats and dogs that the classic tutorials learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchharness.data import flat, folder
from benchharness.data.catalogue import SOURCES
from benchharness.data.images import is_image
from benchharness.data.listing import Listing
from benchharness.errors import DatasetError

CLASSES = ("cats", "dogs")
# How the archives call their only folder: Microsoft's with 25,000 photographs, whose numbers alone
# tell which are for training, and the tutorials' with 3,000, in train and validation.
_NUMBERED, _FILTERED = "PetImages", "cats_and_dogs_filtered"
# Keras 3 unpacks into a folder of the archive's name, which tutorials choose.
_BELOW = (
    _NUMBERED,
    _FILTERED,
    f"{_FILTERED}_extracted/{_FILTERED}",
    f"cats_and_dogs_extracted/{_FILTERED}",
)
_REMEDY = SOURCES["cats_dogs"].remedy


def cats_dogs(
    path: Path | None, *, train: int | None = None, test: int | None = None, seed: int = 0
) -> Listing:
    """Return the photographs, in class folders or flat as in the competition's archive.

    The classes are called cats and dogs whatever the files say, so that all layouts of the same
    photographs are the same dataset.

    Args:
        path: The folder, or one that holds the folder of an archive.
        train: Training images of each class, where numbers tell which are for training.
        test: Test images of each class, likewise.
        seed: Draws the test split where class folders have none.

    Raises:
        DatasetError: The folder is missing or holds something else.
    """
    if path is None or not path.is_dir():
        found = "no folder" if path is None else f"none at {path}"
        raise DatasetError(f"dataset cats_dogs: expected photographs, found {found}; {_REMEDY}")
    place = _place_of(path)
    if place is None:
        raise DatasetError(f"{path}: expected the classes cats and dogs, found neither; {_REMEDY}")
    if place.name == _NUMBERED:
        listing = flat.by_number(_numbered(place), train=train, test=test, origin="")
    elif _is_ours(tuple(flat.index_of(place))):
        listing = flat.flat(place, train=train, test=test)
    else:
        listing = folder.folder(place, seed=seed)
    return replace(listing, name="cats_dogs", classes=CLASSES, origin=f"photographs in {place}")


def holds(path: Path) -> bool:
    """Return whether cats and dogs, and no other class, lie at ``path`` or in an archive's folder.

    That is, in the folder that the archive unpacked into, as its publisher named it.
    """
    return _place_of(path) is not None


def _place_of(path: Path) -> Path | None:
    """Return where the photographs are: at ``path``, or in the folder of an archive below it."""
    places = (path, *(path / name for name in _BELOW))
    return next((place for place in places if _is_here(place)), None)


def _is_here(place: Path) -> bool:
    return _is_ours(tuple(flat.index_of(place))) or _is_ours(folder.classes_in(place))


def _is_ours(names: tuple[str, ...]) -> bool:
    return tuple(name.lower().removesuffix("s") for name in names) == ("cat", "dog")


def _numbered(place: Path) -> folder.Index:
    """Return the photographs of Microsoft's archive by class and number.

    Cat/666.jpg and Dog/11702.jpg are empty there, and no photographs.
    """
    index = {}
    for name in folder.classes_in(place):
        files = [file for file in (place / name).iterdir() if is_image(file)]
        whole = [file for file in files if file.stat().st_size]
        index[name] = tuple(sorted(whole, key=folder.natural))
    return index
