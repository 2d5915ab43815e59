"""Where datasets come from: how each is found on this machine."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.data.catalogue import SOURCES, VARIABLE
from benchharness.errors import DatasetError

if TYPE_CHECKING:
    from benchharness.data.listing import Listing

Progress = Callable[[int, int], None]


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
) -> Listing:
    """Return the listing of a source.

    Looks at ``path`` if given, and nowhere else; otherwise at $BENCHHARNESS_DATA and at the places
    where the system keeps such a dataset. Each is tried itself and then with the source's name
    below it.

    Args:
        name: A key of SOURCES.
        path: What the user named.
        environment: Environment variables.
        cache_dir: Where drawn pictures are kept.
        train_images: Training images in all that will be used; None for all.
        test_images: Test images in all that will be used; None for all.
        seed: Draws pictures, and a test split where a folder has none.
        fallback: "drawn" to draw pictures where nothing is found; None for an error.
        progress: Called with pictures drawn and pictures in all, while any are drawn.

    Raises:
        DatasetError: Nothing is found, or what is found is no such dataset.
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
    places = _places(name, path=path, environment=environment)
    place = next((place for place in places if _holds(name, place)), path)
    if place is not None:
        return _load(name, place, train_images=train_images, test_images=test_images, seed=seed)
    looked = ", ".join(map(str, places)) or f"no folder, as {VARIABLE} is not set"
    if fallback == "drawn":
        drawn = draw(None)
        return replace(
            drawn, origin=f"{drawn.origin}; in place of {name}, not found (looked in {looked})"
        )
    raise DatasetError(
        f"dataset {name}: expected {SOURCES[name].description}; "
        f"found nothing (looked in {looked}); {SOURCES[name].remedy}"
    )


def _require_known(name: str) -> None:
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise DatasetError(
            f'dataset source: expected one of {", ".join(SOURCES)}, found "{name}"{hint}'
        )


def _places(name: str, *, path: Path | None, environment: Mapping[str, str]) -> list[Path]:
    if path is not None:
        return [path, path / name]
    root = environment.get(VARIABLE)
    places = [Path(root), Path(root) / name] if root else []
    if name == "fashion_mnist":
        from benchharness.data.fashion_mnist import standard_places

        home = environment.get("HOME")
        places += standard_places(home=Path(home) if home else None)
    return places


def _holds(name: str, place: Path) -> bool:
    from benchharness.data import cats_dogs, fashion_mnist, flat, folder

    modules = {
        "folder": folder.holds,
        "flat": flat.holds,
        "cats_dogs": cats_dogs.holds,
        "fashion_mnist": fashion_mnist.holds,
    }
    return modules[name](place)


def _load(
    name: str, place: Path, *, train_images: int | None, test_images: int | None, seed: int
) -> Listing:
    from benchharness.data import cats_dogs, fashion_mnist, flat, folder

    if name == "folder":
        return folder.folder(place, seed=seed)
    if name == "fashion_mnist":
        return fashion_mnist.fashion_mnist(place)
    classes = max(1, len(flat.index_of(place)))
    train, test = _per_class(train_images, classes), _per_class(test_images, classes)
    if name == "flat":
        return flat.flat(place, train=train, test=test)
    return cats_dogs.cats_dogs(place, train=train, test=test, seed=seed)


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
    from benchharness.data.pictures import pictures

    return pictures(train=train, test=test, seed=seed, cache_dir=cache_dir, progress=progress)
