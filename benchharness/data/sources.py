"""Sources of datasets: their names, what each is, and where each is found on this machine.

Imports neither NumPy nor Pillow, so that listing the sources is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchharness.download.caches import keras_home
from benchharness.download.manifest import read_manifest
from benchharness.errors import AbsentError, DatasetError, FetchError
from benchharness.files import expanded
from benchharness.plugins import extensions, load_extension

if TYPE_CHECKING:
    from benchharness.data.listing import Examples, Listing, Progress
    from benchharness.download.fetcher import Fetcher
    from benchharness.model.extension import Dataset, Images, Pictures

VARIABLE = "BENCHHARNESS_DATA"
_Reader = tuple[Callable[[Path], object], Callable[..., "Listing"]]


class SourceInfo(NamedTuple):
    """One line about a source, and how to make its images available."""

    description: str
    remedy: str


_NAME_IT = f"name the folder with --data DIR, [dataset] path, or {VARIABLE}"
_FETCH_IT = "with a network it is downloaded automatically; otherwise"

SOURCES: dict[str, SourceInfo] = {
    "folder": SourceInfo(
        "class folders of images: train/<class>/*, test/<class>/*, or just <class>/*", _NAME_IT
    ),
    "flat": SourceInfo("images named by class in one folder: cat.0.jpg, dog.0.jpg", _NAME_IT),
    "cats_dogs": SourceInfo(
        "photographs of cats and dogs (Asirra), in any of their layouts",
        f"{_FETCH_IT} {_NAME_IT}; it holds train/cats/*.jpg, train/dogs/*.jpg and test "
        "likewise, or cat.0.jpg ... dog.12499.jpg, or PetImages/Cat/0.jpg ...",
    ),
    "fashion_mnist": SourceInfo(
        "70 000 grayscale images of clothes in ten classes, 28 x 28",
        f"{_FETCH_IT} apt-get install dataset-fashion-mnist (Debian, Ubuntu), or put "
        f"train-images-idx3-ubyte.gz and its three companions into a folder and {_NAME_IT}",
    ),
    "drawn": SourceInfo(
        "cats and dogs drawn by benchharness; nothing to download", "nothing is needed"
    ),
}


def names() -> list[str]:
    """Return every source that a suite can name."""
    return list(dict.fromkeys([*SOURCES, *extensions("datasets")]))


def info(name: str) -> SourceInfo | Dataset:
    """Return what a source is, and what to do where it has nothing."""
    return SOURCES.get(name) or load_extension("datasets", name)()


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
    """Return the listing of a source, one of ``names()``.

    Looks at ``path`` if given, and nowhere else; otherwise at $BENCHHARNESS_DATA, then at the
    places where the system and Keras keep such a dataset, then at what was fetched before, and
    fetches it where it has a public home. Each place is tried itself and then with the source's
    name below it.

    Args:
        train_images, test_images: How many in all will be used; None for all.
        seed: Draws pictures, and a test split where a folder has none.
        fallback: "drawn" to draw pictures where nothing is found; None for an error.
        progress: Called with pictures drawn and pictures in all, while any are drawn.
        fetcher: Fetches what is nowhere on this machine; None for nothing.
        is_lenient: Whether fewer images than these are enough.

    Raises:
        AbsentError: Nothing is found.
        DatasetError: What is found is no such dataset.
    """
    if path is not None and not path.is_dir():
        raise DatasetError(f"{path}: expected a folder with the dataset {name}, found none")

    def draw() -> Listing:
        from benchharness.data.drawn import synthetic_images

        return synthetic_images(
            train=train_images, test=test_images, seed=seed, cache_dir=cache_dir, progress=progress
        )

    if name == "drawn":
        if path is not None:
            raise DatasetError(
                f"dataset drawn: expected no folder, found {path}; "
                'for your own images use source = "folder"'
            )
        return draw()
    holds, read = _reader(name)

    def load(place: Path) -> Listing:
        listing = read(
            place, seed=seed, train=train_images, test=test_images, is_lenient=is_lenient
        )
        return replace(listing, is_lenient=is_lenient)

    places = _places(name, path=path, environment=environment)
    place = next((place for place in places if holds(place)), path)
    if place is not None:
        return load(place)
    looked = f"looked in {', '.join(map(str, places)) or f'no folder, as {VARIABLE} is not set'}"
    if fetcher is not None and name in fetcher.homes:
        from benchharness.download.fetcher import DamagedError

        try:
            folder = fetcher.fetch(name)
        except DamagedError as error:
            # Nothing takes the place of photographs that are there.
            raise DatasetError(str(error)) from error
        except FetchError as error:
            looked += f"; not downloaded: {fetcher.refusal() or error}"
        else:
            listing, manifest = load(folder), read_manifest(folder)
            origin = f", downloaded: {manifest.source}" if manifest else ""
            return replace(listing, origin=listing.origin + origin)
    if fallback == "drawn":
        drawn = draw()
        return replace(drawn, origin=f"{drawn.origin}; in place of {name}, not found ({looked})")
    raise AbsentError(
        f"dataset {name}: expected {info(name).description}; "
        f"found nothing ({looked}); {info(name).remedy}"
    )


def holds(name: str, path: Path) -> bool:
    """Return whether a folder holds a dataset of known classes, itself or in a folder of its name.

    Never of ``folder`` and ``flat``, which know no classes.
    """
    if name in ("folder", "flat", "drawn"):
        return False
    is_there, _ = _reader(name)
    return any(map(is_there, _places(name, path=path, environment={})))


def _places(name: str, *, path: Path | None, environment: Mapping[str, str]) -> list[Path]:
    if path is not None:
        return [path, path / name]
    root = environment.get(VARIABLE)
    places = [expanded(root), expanded(root) / name] if root else []
    keras = keras_home(environment)
    if plugin := _plugin(name):
        places += plugin.places(environment)
    if name == "cats_dogs" and keras is not None:
        places.append(keras / "datasets")
    return places


def _reader(name: str) -> _Reader:
    """Return what tells whether a folder holds a dataset, and what lists it."""
    from benchharness.data import cats_dogs, folder

    if plugin := _plugin(name):

        def listed(place: Path, **_: object) -> Listing:
            return replace(plugin_listing(name, plugin.read(place)), place=place)

        return plugin.holds, listed
    readers: dict[str, _Reader] = {
        "folder": (folder.holds, folder.folder),
        "flat": (folder.flat_index, folder.flat),
        "cats_dogs": (cats_dogs.holds, cats_dogs.cats_dogs),
    }
    if name not in readers:
        raise DatasetError(
            f"dataset {name}: expected the entry point that it comes through, found none; "
            "install benchharness again, its code is newer than what is installed"
        )
    return readers[name]


def _plugin(name: str) -> Dataset | None:
    """Return the dataset of a plugin; None for a source of the core's own."""
    is_plugin = name in extensions("datasets")
    dataset: Dataset | None = load_extension("datasets", name)() if is_plugin else None
    return dataset


def plugin_listing(name: str, pictures: Pictures) -> Listing:
    """Return the listing of what a plugin's dataset has read."""
    from benchharness.data.listing import ArrayExamples, FileExamples, Listing

    def examples(images: Images, split: str) -> Examples:
        if images.array is not None:
            source = f"{name} {split}"
            return ArrayExamples(images=images.array, labels=images.labels, source=source)
        return FileExamples(paths=tuple(images.files or ()), labels=images.labels)

    return Listing(
        name=name,
        classes=pictures.classes,
        train=examples(pictures.train, "train"),
        test=examples(pictures.test, "test"),
        channels=pictures.channels,
        is_real=pictures.is_real,
        origin=pictures.origin,
    )
