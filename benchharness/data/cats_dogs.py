"""Photographs of cats and dogs that the classic tutorials use."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

from benchharness.data.folder import by_number, folder
from benchharness.data.images import sample_channels
from benchharness.data.layout import by_name, natural, places
from benchharness.data.listing import Listing
from benchharness.data.sources import SOURCES
from benchharness.data.tree import class_folders, pictures_in
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
    path: Path,
    *,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    is_lenient: bool = False,
) -> Listing:
    """Return the photographs, in class folders or flat as in the competition's archive.

    The classes are called cats and dogs whatever the files say, so that all layouts of the same
    photographs are the same dataset. The path may also hold the folder of an archive; the other
    parameters are those of ``folder.folder``.

    Raises:
        DatasetError: The folder is missing or holds something else.
    """
    places_here = _places_of(path)
    if places_here is None:
        raise DatasetError(f"{path}: expected the classes cats and dogs, found neither; {_REMEDY}")
    base, place = places_here
    if place.resolve().name != _NUMBERED:
        listing = folder(base, seed=seed, train=train, test=test, is_lenient=is_lenient)
        if not _is_ours(listing.classes):
            raise DatasetError(
                f"{base}: expected the classes cats and dogs, found {', '.join(listing.classes)}; "
                f"{_REMEDY}"
            )
        origin = f"photographs, {listing.origin}"
        return replace(listing, name="cats_dogs", classes=CLASSES, origin=origin)
    index = {
        # Cat/666.jpg and Dog/11702.jpg are empty in Microsoft's archive, and no photographs.
        name: tuple(sorted((f for f in pictures_in(place / name) if f.stat().st_size), key=natural))
        for name in class_folders(place)
    }
    learnt, tested = by_number(index, train=train, test=test, is_lenient=is_lenient)
    return Listing(
        name="cats_dogs",
        classes=CLASSES,
        train=learnt,
        test=tested,
        channels=sample_channels([*chain.from_iterable(index.values())]),
        origin=f"photographs in {place.name}, for training and test by their numbers",
        place=place,
    )


def holds(path: Path) -> bool:
    """Return whether cats and dogs, and no others, are at ``path`` or in an archive's folder."""
    return _places_of(path) is not None


def _places_of(path: Path) -> tuple[Path, Path] | None:
    """Return the folder of the dataset, at ``path`` or below, and that of its classes."""
    for base in (path, *(path / name for name in _BELOW)):
        for place in places(base):
            names = tuple(by_name(pictures_in(place)))
            if _is_ours(names) or _is_ours(tuple(class_folders(place))):
                return base, place
    return None


def _is_ours(names: tuple[str, ...]) -> bool:
    return tuple(name.lower().removesuffix("s") for name in names) == ("cat", "dog")
