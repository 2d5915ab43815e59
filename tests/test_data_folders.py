"""Image files for the loaders of the frameworks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import save, save_classes

from benchharness.data.folder import class_folder, folder, image_files
from benchharness.data.listing import ArrayExamples, Listing
from benchharness.data.prepared import Prepared, prepare
from benchharness.errors import DatasetError


def prepared_of(listing: Listing, cache: Path, **changes: object) -> Prepared:
    """Return small prepared images of a listing."""
    options = {"train_images": None, "test_images": None, "validation": 0.25, "seed": 1}
    return prepare(
        listing,
        size=8,
        channels=3,
        cache_dir=cache,
        workers=1,
        on_bad_image="skip",
        **options | changes,
    )


def test_paths_are_those_of_the_ids(tmp_path: Path) -> None:
    """A selection of the images keeps each id with its own file."""
    listing = folder(save_classes(tmp_path / "data", train=4, test=2))

    paths = image_files(listing.first(train=4, test=2))

    train, test = tmp_path / "data/train", tmp_path / "data/test"
    assert paths == (
        train / "cats/cats.0.jpg",
        train / "cats/cats.1.jpg",
        train / "dogs/dogs.0.jpg",
        train / "dogs/dogs.1.jpg",
        test / "cats/cats.0.jpg",
        test / "dogs/dogs.0.jpg",
    )


def test_paths_hold_in_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker elsewhere finds the files of a relative folder."""
    save_classes(tmp_path / "data", train=1, test=1)
    monkeypatch.chdir(tmp_path)

    paths = image_files(folder(Path("data")))

    assert all(path.is_absolute() and path.is_file() for path in paths)


def test_images_in_one_array_are_refused() -> None:
    """The error names the dataset and the way out."""
    examples = ArrayExamples(
        images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2, np.int32), source="clothes"
    )
    listing = Listing(
        name="clothes",
        classes=("coat", "shirt"),
        train=examples,
        test=examples,
        channels=1,
        is_real=True,
        origin="memory",
    )

    with pytest.raises(DatasetError, match=r'dataset clothes: .* set input = "prepared"'):
        image_files(listing)


def test_format_that_not_every_loader_decodes_is_refused(tmp_path: Path) -> None:
    """The file is named; Pillow would read it."""
    root = save_classes(tmp_path, train=1, test=1)
    save(root / "train/cats/odd.bmp", seed=1)

    with pytest.raises(DatasetError, match=r"odd\.bmp: expected a JPEG or PNG"):
        image_files(folder(root))


def test_folder_holds_the_training_images_by_class(tmp_path: Path) -> None:
    """Each is there once, under its class, as a link to its file; nothing else is."""
    listing = folder(save_classes(tmp_path / "data", train=4, test=2))
    prepared, paths = prepared_of(listing, tmp_path / "cache"), image_files(listing)

    links = class_folder(paths, prepared, cache_dir=tmp_path / "cache")

    found = {link.resolve(): link.parent.name for link in links.glob("*/*")}
    assert found == {
        paths[image]: ("0000_cats", "0001_dogs")[prepared.labels[image]]
        for image in prepared.splits["train"]
    }
    assert len(found) == 6


def test_unreadable_image_is_left_out_of_the_folder(tmp_path: Path) -> None:
    """What the prepared images skip, a loader of folders does not meet."""
    root = save_classes(tmp_path / "data", train=4, test=2)
    (root / "train/cats/cats.9.jpg").write_bytes(b"no image")
    listing = folder(root)
    prepared = prepared_of(listing, tmp_path / "cache", validation=0.0)

    links = class_folder(image_files(listing), prepared, cache_dir=tmp_path / "cache")

    assert len(prepared.skipped) == 1
    assert len(list(links.glob("*/*"))) == 8


def test_sorted_class_folders_stand_in_the_order_of_the_labels(tmp_path: Path) -> None:
    """Also where the names of the classes sort otherwise than their labels."""
    root = save_classes(tmp_path / "data", train=2, test=1, classes=("B", "a", "C"))
    listing = folder(root)
    prepared = prepared_of(listing, tmp_path / "cache", validation=0.0)

    links = class_folder(image_files(listing), prepared, cache_dir=tmp_path / "cache")

    names = sorted(path.name for path in links.iterdir())
    assert [name.split("_", 1)[1] for name in names] == list(listing.classes)


def test_folder_is_made_once_for_the_same_files(tmp_path: Path) -> None:
    """The same split is the same folder, untouched; another split is another."""
    listing = folder(save_classes(tmp_path / "data", train=4, test=2))
    prepared, paths = prepared_of(listing, tmp_path / "cache"), image_files(listing)
    first = class_folder(paths, prepared, cache_dir=tmp_path / "cache")
    made = first.stat().st_ctime_ns

    again = class_folder(paths, prepared, cache_dir=tmp_path / "cache")
    other = class_folder(
        paths,
        prepared_of(listing, tmp_path / "cache", validation=0.5),
        cache_dir=tmp_path / "cache",
    )

    assert (again, again.stat().st_ctime_ns) == (first, made)
    assert other != first


def test_folder_that_cannot_be_written_is_a_dataset_error(tmp_path: Path) -> None:
    """The error names the folder and the way out, and leaves nothing half done."""
    listing = folder(save_classes(tmp_path / "data", train=2, test=1))
    prepared = prepared_of(listing, tmp_path / "cache", validation=0.0)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")

    with pytest.raises(DatasetError, match="expected to link 4 images by class"):
        class_folder(image_files(listing), prepared, cache_dir=blocked)
