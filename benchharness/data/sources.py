"""Where datasets come from: how each is found on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.data.added import dataset, info, listing_of, names
from benchharness.data.registry import VARIABLE
from benchharness.download.caches import keras_home
from benchharness.download.stock import read_manifest
from benchharness.errors import AbsentError, DatasetError, FetchError
from benchharness.files import expanded

if TYPE_CHECKING:
    from benchharness.data.listing import Listing
    from benchharness.download.fetcher import Fetcher

Progress = Callable[[int, int], None]
# What needs no plugin.
_OWN = ("folder", "flat", "cats_dogs", "drawn")


def find(
    name: str,
    *,
    path: Path | None,
    environment: Mapping[str, str],
    cache_dir: Path,
    train_images: int | None,
    test_images: int | None,
    seed: int,
    fallback: str | None,
    progress: Progress | None = None,
    fetcher: Fetcher | None = None,
    is_lenient: bool = False,
) -> Listing:
    """Return the listing of a source.

    Looks at ``path`` if given, and nowhere else; otherwise at $BENCHHARNESS_DATA, then at the
    places where the system and Keras keep such a dataset, then at what was fetched before, and
    fetches it where it has a public home. Each place is tried itself and then with the source's
    name below it.

    Args:
        name: One of ``names()``.
        path: What the user named.
        environment: Environment variables.
        cache_dir: Where drawn pictures are kept.
        train_images: Training images in all that will be used; None for all.
        test_images: Test images in all that will be used; None for all.
        seed: Draws pictures, and a test split where a folder has none.
        fallback: "drawn" to draw pictures where nothing is found; None for an error.
        progress: Called with pictures drawn and pictures in all, while any are drawn.
        fetcher: Fetches what is nowhere on this machine; None for nothing.
        is_lenient: Whether fewer images than these are enough.

    Raises:
        AbsentError: Nothing is found.
        DatasetError: What is found is no such dataset.
    """
    _require_known(name)
    if path is not None and not path.is_dir():
        raise DatasetError(f"{path}: expected a folder with the dataset {name}, found none")
    draw = partial(
        _drawn,
        train=train_images,
        test=test_images,
        seed=seed,
        cache_dir=cache_dir,
        progress=progress,
    )
    if name == "drawn":
        return draw(path)
    load = partial(
        _load,
        name,
        train_images=train_images,
        test_images=test_images,
        seed=seed,
        is_lenient=is_lenient,
    )
    places = _places(name, path=path, environment=environment)
    place = next((place for place in places if _holds(name, place)), path)
    if place is not None:
        return load(place)
    looked = f"looked in {', '.join(map(str, places)) or f'no folder, as {VARIABLE} is not set'}"
    if fetcher is not None and name in fetcher.homes:
        from benchharness.download.fetcher import DamagedError

        try:
            fetched = fetcher.obtain(name)
        except DamagedError as error:
            # Nothing takes the place of photographs that are there.
            raise DatasetError(str(error)) from error
        except FetchError as error:
            looked += f"; not downloaded: {fetcher.refusal() or error}"
        else:
            return _with_source(load(fetched), fetched)
    if fallback == "drawn":
        drawn = draw(None)
        return replace(drawn, origin=f"{drawn.origin}; in place of {name}, not found ({looked})")
    raise AbsentError(
        f"dataset {name}: expected {info(name).description}; "
        f"found nothing ({looked}); {info(name).remedy}"
    )


def holds(name: str, path: Path) -> bool:
    """Return whether a folder holds a dataset of known classes, itself or in a folder of its name.

    Args:
        name: One of ``names()``. Neither ``folder`` nor ``flat`` knows its classes.
        path: What the user named.
    """
    if name in ("folder", "flat", "drawn"):
        return False
    return any(_holds(name, place) for place in _places(name, path=path, environment={}))


def _require_known(name: str) -> None:
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise DatasetError(
            f'dataset source: expected one of {", ".join(names())}, found "{name}"{hint}'
        )
    if name not in _OWN and dataset(name) is None:
        raise DatasetError(
            f"dataset {name}: expected the entry point that it comes through, found none; "
            "install benchharness again, its code is newer than what is installed"
        )


def _places(name: str, *, path: Path | None, environment: Mapping[str, str]) -> list[Path]:
    if path is not None:
        return [path, path / name]
    root = environment.get(VARIABLE)
    places = [expanded(root), expanded(root) / name] if root else []
    keras = keras_home(environment)
    added = dataset(name)
    if added is not None:
        places += added.places(environment)
    if name == "cats_dogs" and keras is not None:
        places.append(keras / "datasets")
    return places


def _with_source(listing: Listing, folder: Path) -> Listing:
    """Return a fetched listing that tells where it was fetched from."""
    manifest = read_manifest(folder)
    if manifest is None:
        return listing
    return replace(listing, origin=f"{listing.origin}, downloaded: {manifest.source}")


def _holds(name: str, place: Path) -> bool:
    from benchharness.data import cats_dogs, flat, folder

    added = dataset(name)
    if added is not None:
        return added.holds(place)
    modules = {"folder": folder.holds, "flat": flat.holds, "cats_dogs": cats_dogs.holds}
    return modules[name](place)


def _load(
    name: str,
    place: Path,
    *,
    train_images: int | None,
    test_images: int | None,
    seed: int,
    is_lenient: bool,
) -> Listing:
    from benchharness.data import cats_dogs, flat, folder

    added = dataset(name)
    if added is not None:
        return replace(listing_of(name, added.read(place)), place=place, is_lenient=is_lenient)
    classes = 2 if name == "cats_dogs" else max(1, len(flat.index_of(place)))
    loads: dict[str, Callable[..., Listing]] = {
        "folder": folder.folder,
        "flat": flat.flat,
        "cats_dogs": cats_dogs.cats_dogs,
    }
    listing = loads[name](
        place,
        seed=seed,
        train=_per_class(train_images, classes),
        test=_per_class(test_images, classes),
        is_lenient=is_lenient,
    )
    return replace(listing, is_lenient=is_lenient)


def _per_class(images: int | None, classes: int) -> int | None:
    # Rounded up: what is too much is left out when the images are chosen.
    return None if images is None else -(-images // classes)


def _drawn(
    path: Path | None,
    *,
    train: int | None,
    test: int | None,
    seed: int,
    cache_dir: Path,
    progress: Progress | None,
) -> Listing:
    if path is not None:
        raise DatasetError(
            f"dataset drawn: expected no folder, found {path}; "
            'for images of your own use source = "folder"'
        )
    from benchharness.data.synthetic import pictures

    return pictures(train=train, test=test, seed=seed, cache_dir=cache_dir, progress=progress)
