"""Folders of pictures: class folders, files named by class, files for frameworks' loaders."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from photographs import prepared_of, save, save_classes

from benchharness.data.cats_dogs import cats_dogs
from benchharness.data.folder import class_folder, flat, folder, holds, image_files
from benchharness.data.listing import ArrayExamples, Listing
from benchharness.errors import DatasetError

PETS = [f"{split}/{name}/1.jpg" for split in ("train", "test") for name in ("cats", "dogs")]
REMEDIES = r"--data DIR, \[dataset\] path, or BENCHHARNESS_DATA"


def names(examples) -> list[str]:
    """Return the file names of some examples, without their folders."""
    return [examples.name(i).rsplit("/", 1)[-1] for i in range(len(examples))]


def test_train_and_test_folders_are_the_splits(tmp_path):
    """Classes come by name, files by the numbers in their names."""
    save_classes(tmp_path, train=12, test=3)

    listing = folder(tmp_path)

    assert listing.classes == ("cats", "dogs")
    assert names(listing.train)[:12] == [f"cats.{i}.jpg" for i in range(12)]
    assert np.bincount(listing.train.labels).tolist() == [12, 12]
    assert listing.train.labels.dtype == np.int32
    assert len(listing.test) == 6
    assert listing.channels == 3
    assert listing.is_real


@pytest.mark.parametrize("name", ["validation", "val"])
def test_a_validation_folder_serves_as_the_test_set(tmp_path, name):
    """Where there is no test folder, validation or val takes its place."""
    save_classes(tmp_path, train=2, test=1)
    (tmp_path / "test").rename(tmp_path / name)

    assert f"{name}/cats" in folder(tmp_path).test.name(0)


def test_classes_without_splits_give_a_fifth_of_each_to_the_test(tmp_path):
    """The test split is stratified, disjoint, and the same for the same seed."""
    for name in ("a", "b", "c"):
        for number in range(10):
            save(tmp_path / name / f"{number}.png", seed=number)

    listing, again, other = folder(tmp_path), folder(tmp_path), folder(tmp_path, seed=1)

    def files(examples):
        return [examples.name(i) for i in range(len(examples))]

    assert np.bincount(listing.test.labels).tolist() == [2, 2, 2]
    assert sorted(files(listing.train) + files(listing.test)) == sorted(
        map(str, tmp_path.glob("*/*"))
    )
    assert files(listing.test) == files(again.test)
    assert files(listing.test) != files(other.test)
    assert "20 %" in listing.origin


def test_files_that_are_no_images_and_hidden_ones_are_left_alone(tmp_path):
    """Notes, thumbnails' leftovers and hidden folders do not count."""
    save_classes(tmp_path, train=2, test=1)
    (tmp_path / "train" / "cats" / "notes.txt").write_text("hello")
    (tmp_path / "train" / "cats" / "._cats.1.jpg").write_bytes(b"x")
    (tmp_path / "train" / ".cache").mkdir()

    assert len(folder(tmp_path).train) == 4


def test_grey_pictures_have_one_channel(tmp_path):
    """Where every sample is grey, so is the dataset."""
    for name in ("a", "b"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png", seed=number, mode="L")

    assert folder(tmp_path).channels == 1


def test_holds_tells_class_folders_from_anything_else(tmp_path):
    """Empty folders and folders of folders hold nothing."""
    save_classes(tmp_path / "pets", train=1, test=1)

    assert holds(tmp_path / "pets")
    assert not holds(tmp_path)
    assert not holds(tmp_path / "nowhere")


def save_flat(root, *, count, first=0):
    """Write ``count`` numbered pictures of each class into one folder."""
    for label, name in enumerate(("dog", "cat")):
        for number in range(first, first + count):
            save(root / f"{name}.{number}.jpg", seed=1000 * label + number)
    return root


def test_the_first_files_train_and_the_next_test(tmp_path):
    """In the order of the numbers, whatever the numbers are."""
    listing = flat(save_flat(tmp_path, count=12, first=95), train=6, test=4)

    assert listing.classes == ("cat", "dog")
    assert names(listing.train) == [f"{c}.{n}.jpg" for c in ("cat", "dog") for n in (95, 96, 97)]
    assert names(listing.test) == [f"{c}.{n}.jpg" for c in ("cat", "dog") for n in (98, 99)]
    assert listing.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [(None, None, (5, 2)), (8, None, (4, 3)), (None, 2, (6, 1)), (6, 4, (3, 2))],
)
def test_one_count_leaves_the_rest_to_the_other(tmp_path, train, test, expected):
    """Without counts 5/7 train, the tutorial's 1000 to 400; an unlabelled folder is left alone."""
    save(tmp_path / "test1" / "1.jpg", seed=1)
    save_flat(tmp_path / "train", count=7)

    listing = flat(tmp_path, train=train, test=test)

    assert (len(listing.train) // 2, len(listing.test) // 2) == expected


@pytest.mark.parametrize(
    ("read", "files", "message"),
    [
        (folder, None, "data: expected a folder of classes"),
        (folder, ["cats/1.jpg"], "at least two class folders, found cats"),
        (folder, ["cat.0.jpg"], r"name the files by class, like cat\.0\.jpg and dog"),
        (folder, ["a/1.jpg", "b/1.jpg", "b/2.jpg"], "found one of a"),
        (folder, ["train/birds/", *PETS], "found none in birds"),
        (folder, ["train/birds/1.jpg", *PETS], "test: .*none named birds"),
        (folder, ["test/birds/1.jpg", *PETS], "train: .*none named birds"),
        (flat, ["cat.0.jpg", "holiday.jpg"], r"like cat\.0\.jpg.*found cat"),
        (cats_dogs, None, REMEDIES),
        (cats_dogs, ["test/birds/1.jpg", "train/birds/1.jpg", *PETS], "classes cats and dogs"),
        (
            lambda path: image_files(folder(path)),
            ["train/cats/odd.bmp", *PETS],
            r"odd\.bmp: ",
        ),
    ],
)
def test_what_is_refused_is_named_with_a_remedy(tmp_path, read, files, message):
    """No folder, one class, none for a split, other classes, a format that loaders do not know."""
    for number, name in enumerate(files or ()):
        if name.endswith("/"):
            (tmp_path / "data" / name).mkdir(parents=True)
        else:
            save(tmp_path / "data" / name, seed=number)

    with pytest.raises(DatasetError, match=message):
        read(tmp_path / "data")


def test_too_few_files_are_counted(tmp_path):
    """The class, what was asked, and what there is."""
    with pytest.raises(DatasetError, match=r"class cat: expected 5 images .* and 2 .*found 6"):
        flat(save_flat(tmp_path, count=6), train=10, test=4)


def test_both_layouts_of_cats_dogs_are_one_dataset(tmp_path):
    """The same photographs in folders and flat give the same names, labels and digests."""
    save_flat(tmp_path / "flat", count=7)
    for split, span in (("train", range(5)), ("test", range(5, 7))):
        for name in ("cat", "dog"):
            for number in span:
                target = tmp_path / "folders" / split / f"{name}s" / f"{name}.{number}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / "flat" / f"{name}.{number}.jpg", target)

    one, two = cats_dogs(tmp_path / "flat"), cats_dogs(tmp_path / "folders")

    for listing in (one, two):
        assert (listing.name, listing.classes) == ("cats_dogs", ("cats", "dogs"))
    for left, right in ((one.train, two.train), (one.test, two.test)):
        assert left.labels.tolist() == right.labels.tolist()
        assert [left.digest(i) for i in range(len(left))] == [
            right.digest(i) for i in range(len(right))
        ]


small = partial(
    prepared_of, size=8, channels=3, validation=0.25, seed=1, workers=1, on_bad_image="skip"
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


def test_folder_holds_the_training_images_by_class(tmp_path: Path) -> None:
    """Each is there once, under its class, as a link to its file; nothing else is."""
    listing = folder(save_classes(tmp_path / "data", train=4, test=2))
    prepared, paths = small(listing, tmp_path / "cache"), image_files(listing)

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
    prepared = small(listing, tmp_path / "cache", validation=0.0)

    links = class_folder(image_files(listing), prepared, cache_dir=tmp_path / "cache")

    assert len(prepared.skipped) == 1
    assert len(list(links.glob("*/*"))) == 8


def test_sorted_class_folders_have_the_order_of_the_labels(tmp_path: Path) -> None:
    """Also where the names of the classes sort otherwise than their labels."""
    root = save_classes(tmp_path / "data", train=2, test=1, classes=("B", "a", "C"))
    listing = folder(root)
    prepared = small(listing, tmp_path / "cache", validation=0.0)

    links = class_folder(image_files(listing), prepared, cache_dir=tmp_path / "cache")

    names = sorted(path.name for path in links.iterdir())
    assert [name.split("_", 1)[1] for name in names] == list(listing.classes)


def test_folder_is_made_once_for_the_same_files(tmp_path: Path) -> None:
    """The same split is the same folder, untouched; another split is another."""
    listing = folder(save_classes(tmp_path / "data", train=4, test=2))
    prepared, paths = small(listing, tmp_path / "cache"), image_files(listing)
    first = class_folder(paths, prepared, cache_dir=tmp_path / "cache")
    made = first.stat().st_ctime_ns

    again = class_folder(paths, prepared, cache_dir=tmp_path / "cache")
    other = class_folder(
        paths,
        small(listing, tmp_path / "cache", validation=0.5),
        cache_dir=tmp_path / "cache",
    )

    assert (again, again.stat().st_ctime_ns) == (first, made)
    assert other != first


def test_folder_that_cannot_be_written_is_a_dataset_error(tmp_path: Path) -> None:
    """The error names the folder and the way out, and leaves nothing half done."""
    listing = folder(save_classes(tmp_path / "data", train=2, test=1))
    prepared = small(listing, tmp_path / "cache", validation=0.0)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")

    with pytest.raises(DatasetError, match="expected to link 4 images by class"):
        class_folder(image_files(listing), prepared, cache_dir=blocked)
