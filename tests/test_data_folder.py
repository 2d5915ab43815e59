"""Class folders."""

from __future__ import annotations

import numpy as np
import pytest
from photographs import save, save_classes

from benchharness.data.folder import folder, holds
from benchharness.errors import DatasetError


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
def test_a_validation_folder_stands_in_for_the_test(tmp_path, name):
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


def test_a_class_called_train_is_a_class(tmp_path):
    """A folder named train that holds images, not folders, is one class among others."""
    for name in ("plane", "train"):
        for number in range(5):
            save(tmp_path / name / f"{number}.png", seed=number)

    assert folder(tmp_path).classes == ("plane", "train")


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


def test_a_missing_folder_is_named(tmp_path):
    """The error says what was looked for."""
    with pytest.raises(DatasetError, match="nowhere: expected a folder of classes"):
        folder(tmp_path / "nowhere")


def test_a_single_class_is_refused(tmp_path):
    """One class cannot be learnt."""
    save(tmp_path / "cats" / "1.jpg", seed=1)

    with pytest.raises(DatasetError, match="at least two class folders, found cats"):
        folder(tmp_path)


def test_flat_files_are_recognised_and_the_remedy_named(tmp_path):
    """Who has files named by class, but of one class alone, is told how they are named."""
    save(tmp_path / "cat.0.jpg", seed=1)

    with pytest.raises(DatasetError, match=r"name the files by class, like cat\.0\.jpg and dog"):
        folder(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    """A class folder without images is an error, in any split."""
    save_classes(tmp_path, train=1, test=1)
    (tmp_path / "train" / "birds").mkdir()

    with pytest.raises(DatasetError, match="found none in birds"):
        folder(tmp_path)


@pytest.mark.parametrize(("split", "lacking"), [("train", "test"), ("test", "train")])
def test_classes_that_differ_between_splits_are_named(tmp_path, split, lacking):
    """The class, and the split it is missing from."""
    save_classes(tmp_path, train=1, test=1)
    save(tmp_path / split / "birds" / "1.jpg", seed=1)

    with pytest.raises(DatasetError, match=rf"{lacking}: .*none named birds"):
        folder(tmp_path)


def test_a_class_with_one_image_cannot_be_split(tmp_path):
    """Without a test folder every class needs an image for each side."""
    save(tmp_path / "a" / "1.jpg", seed=1)
    save(tmp_path / "b" / "1.jpg", seed=2)
    save(tmp_path / "b" / "2.jpg", seed=3)

    with pytest.raises(DatasetError, match="found one of a"):
        folder(tmp_path)


def test_holds_tells_class_folders_from_anything_else(tmp_path):
    """Empty folders and folders of folders hold nothing."""
    save_classes(tmp_path / "pets", train=1, test=1)

    assert holds(tmp_path / "pets")
    assert not holds(tmp_path)
    assert not holds(tmp_path / "nowhere")
