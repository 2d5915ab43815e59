"""The flat layout, and cats_dogs in either layout."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from photographs import save, save_classes

from benchharness.data.cats_dogs import cats_dogs
from benchharness.data.folder import flat
from benchharness.errors import DatasetError


def save_flat(root, *, count, first=0):
    """Write ``count`` numbered pictures of each class into one folder."""
    for label, name in enumerate(("dog", "cat")):
        for number in range(first, first + count):
            save(root / f"{name}.{number}.jpg", seed=1000 * label + number)
    return root


def numbers(examples) -> list[str]:
    """Return the file names of some examples."""
    return [examples.name(i).rsplit("/", 1)[-1] for i in range(len(examples))]


def test_the_first_files_train_and_the_next_test(tmp_path):
    """In the order of the numbers, whatever the numbers are."""
    listing = flat(save_flat(tmp_path, count=12, first=95), train=3, test=2)

    assert listing.classes == ("cat", "dog")
    assert numbers(listing.train) == [f"{c}.{n}.jpg" for c in ("cat", "dog") for n in (95, 96, 97)]
    assert numbers(listing.test) == [f"{c}.{n}.jpg" for c in ("cat", "dog") for n in (98, 99)]
    assert listing.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_without_counts_five_sevenths_train(tmp_path):
    """The tutorial's 1000 to 400, and nothing is left over."""
    listing = flat(save_flat(tmp_path, count=14))

    assert np.bincount(listing.train.labels).tolist() == [10, 10]
    assert np.bincount(listing.test.labels).tolist() == [4, 4]


@pytest.mark.parametrize(
    ("train", "test", "expected"), [(4, None, (4, 2)), (None, 1, (5, 1)), (3, 2, (3, 2))]
)
def test_one_count_leaves_the_rest_to_the_other(tmp_path, train, test, expected):
    """A count that is not given is what the other leaves."""
    listing = flat(save_flat(tmp_path, count=6), train=train, test=test)

    assert (len(listing.train) // 2, len(listing.test) // 2) == expected


def test_a_train_folder_may_hold_the_files(tmp_path):
    """As in the competition's archive, with its unlabelled test folder beside it."""
    save_flat(tmp_path / "train", count=7)
    save(tmp_path / "test1" / "1.jpg", seed=1)

    assert len(flat(tmp_path).train) == 10


def test_too_few_files_are_counted(tmp_path):
    """The class, what was asked, and what there is."""
    with pytest.raises(DatasetError, match=r"class cat: expected 5 images .* and 2 .*found 6"):
        flat(save_flat(tmp_path, count=6), train=5, test=2)


def test_files_of_one_class_are_refused(tmp_path):
    """The names that would have been understood are in the message."""
    save(tmp_path / "cat.0.jpg", seed=1)
    save(tmp_path / "holiday.jpg", seed=2)

    with pytest.raises(DatasetError, match=r"like cat\.0\.jpg.*found cat"):
        flat(tmp_path)


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


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_missing_cats_dogs_name_all_three_remedies(tmp_path, path):
    """--data, the suite's path and the variable."""
    place = None if path is None else tmp_path / path

    with pytest.raises(DatasetError, match=r"--data DIR, \[dataset\] path, or BENCHHARNESS_DATA"):
        cats_dogs(place)


def test_other_classes_are_not_cats_dogs(tmp_path):
    """Three classes, or two others, are refused."""
    save_classes(tmp_path, train=1, test=1, classes=("cats", "dogs", "birds"))

    with pytest.raises(DatasetError, match="expected the classes cats and dogs"):
        cats_dogs(tmp_path)
