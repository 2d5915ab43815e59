"""Layouts of folders: what is a class, what a split, and what neither."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchharness.data import layout
from benchharness.data.cats_dogs import holds
from benchharness.data.layout import read_layout, role
from benchharness.errors import DatasetError

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import fuzz_folders

PETS = ("cats", "dogs")


def touch(root: Path, *names: str, count: int = 2) -> Path:
    """Make folders with ``count`` files that have a picture's name; nothing opens them here."""
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number}.jpg").touch()
    return root


def files(root: Path, *names: str) -> Path:
    """Make single files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def counts(index: Mapping[str, tuple[Path, ...]] | None) -> dict[str, int] | None:
    """Return how many pictures each class has."""
    return None if index is None else {name: len(paths) for name, paths in index.items()}


@contextmanager
def readable_by_all() -> Iterator[Path]:
    """Give a folder in which a process without rights can look for others."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("training_set/training_set", "test_set/test_set"),
        ("Training", "Testing"),
        ("TRAIN", "VAL"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_test/asl_alphabet_test"),
        ("train", "valid"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "evaluation"),
        ("train", "holdout"),
        ("train", "hold-out"),
        ("train/images", "test/images"),
        ("train_images", "test_images"),
        ("trainset", "testset"),
        ("TrainData", "TestData"),
        ("archive/ProjectX/train", "archive/ProjectX/test"),
        ("Images/train", "Images/test1"),
        ("photos/photos/train", "photos/photos/test"),
        ("flowers-train", "flowers-test"),
    ],
)
def test_folders_named_as_splits_are_the_splits(tmp_path: Path, train: str, test: str) -> None:
    """Nested, in any letters, with other words beside; the classes are below."""
    touch(tmp_path, *(f"{train}/{name}" for name in PETS), count=3)
    touch(tmp_path, *(f"{test}/{name}" for name in PETS), count=1)

    found = read_layout(tmp_path)

    assert counts(found.train) == {"cats": 3, "dogs": 3}
    assert counts(found.test) == {"cats": 1, "dogs": 1}
    assert found.notes == ()


@pytest.mark.parametrize(
    "place", [".", "Images", "archive/data", "flower_photos", "root", "train", "train/train"]
)
def test_folders_that_only_wrap_the_classes_are_none(tmp_path: Path, place: str) -> None:
    """Called for their content, as the folder above, or as the training; then no test is there."""
    touch(tmp_path / "root", *(f"{place}/{name}" for name in PETS))

    found = read_layout(tmp_path / "root")

    assert (counts(found.train), found.test) == ({"cats": 2, "dogs": 2}, None)


def test_names_that_may_be_classes_stay_classes(tmp_path: Path) -> None:
    """Trains, test tubes and masks are things that pictures show."""
    names = ("plane", "train", "steam_train", "test_tube", "with_mask", "without_mask", "1", "2")

    found = read_layout(touch(tmp_path, *names))

    assert sorted(found.train) == sorted(names)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test"),
        ("train", "test", "valid"),
        ("test", "val"),
        ("train_1", "train_2"),
        ("images", "masks"),
        ("JPEGImages", "Annotations"),
        ("train/train", "train/valid", "holdout"),
    ],
)
def test_nothing_is_learnt_from_splits_as_if_they_were_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    """They are refused, with what was found."""
    with pytest.raises(DatasetError, match=f"{Path(names[0]).name}|found none"):
        read_layout(touch(tmp_path, *names))


@pytest.mark.parametrize("parts", [("fold1", "fold2"), ("rps", "rps-test-set"), ("part1", "part2")])
def test_parts_with_the_same_folders_are_no_classes(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """The message says what each of them holds."""
    touch(tmp_path, *(f"{part}/{name}" for part in parts for name in PETS))

    with pytest.raises(DatasetError, match=rf"{parts[0]} \(4\), {parts[1]} \(4\), each with cats,"):
        read_layout(tmp_path)


def test_labels_in_a_table_are_reported_as_unread(tmp_path: Path) -> None:
    """Pictures without classes beside a CSV file."""
    files(touch(tmp_path, "train"), "train/labels.csv")

    with pytest.raises(DatasetError, match=r"labels in tables such as labels\.csv are not read"):
        read_layout(tmp_path)


@pytest.mark.parametrize("test", ["test1", "test", "test/unknown", "test_set/test_set"])
def test_a_test_folder_without_labels_leaves_training_possible(tmp_path: Path, test: str) -> None:
    """Beside class folders, and beside files that are named by class."""
    touch(tmp_path / "folders", *(f"train/{name}" for name in PETS), test)
    touch(tmp_path / "flat", test)
    files(tmp_path / "flat/train", "cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg")

    for name in ("folders", "flat"):
        found = read_layout(tmp_path / name)

        assert sum(counts(found.train).values()) == 4
        assert found.test is None
        assert found.notes == (
            f"not read: 2 pictures of a test folder without these classes: {test} (2)",
        )


def test_a_test_folder_beside_the_classes_is_the_test(tmp_path: Path) -> None:
    """It is no class among them, with labels or without."""
    touch(tmp_path, *PETS, "test/cats", "test/dogs")
    touch(tmp_path, "val", count=1)

    found = read_layout(tmp_path)

    assert (counts(found.train), counts(found.test)) == ({"cats": 2, "dogs": 2},) * 2
    assert found.notes == ("not read: 1 picture of a test folder without these classes: val (1)",)


def test_a_further_split_and_what_is_in_no_class_are_reported(tmp_path: Path) -> None:
    """With their numbers and places; as Roboflow exports them."""
    touch(tmp_path, *(f"{part}/{name}" for part in ("train", "valid", "test") for name in PETS))
    touch(tmp_path, "extra/cats", count=5)
    files(tmp_path, "README.roboflow.txt", "train/_annotations.coco.json", "cover.jpg")

    found = read_layout(tmp_path)

    assert found.splits == ("train", "test")
    assert found.notes == (
        "not read: 4 pictures of a further split, for example the test set is test: "
        "valid/cats (2), valid/dogs (2)",
        "not read: 6 pictures in no class: extra/cats (5), . (1)",
        "not read: files that are no pictures: .txt (1), .json (1)",
    )


def test_a_test_set_spells_its_classes_as_the_training(tmp_path: Path) -> None:
    """In other letters it is the same class."""
    found = read_layout(touch(tmp_path, "train/Cats", "train/dogs", "test/cats", "test/Dogs"))

    assert list(found.train) == list(found.test or {}) == ["Cats", "dogs"]


def test_a_class_in_two_spellings_is_refused(tmp_path: Path) -> None:
    """Both are named."""
    with pytest.raises(DatasetError, match="read alike: Cats, cats"):
        read_layout(touch(tmp_path, "Cats", "cats", "dogs"))


def test_a_class_of_formats_that_are_not_read_is_called_so(tmp_path: Path) -> None:
    """It is not taken for empty."""
    files(touch(tmp_path, *PETS), "birds/1.heic", "birds/2.HEIC", "birds/3.avif")

    with pytest.raises(DatasetError, match=r"found none in birds but HEIC \(2\), AVIF \(1\)"):
        read_layout(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", "__MACOSX",
        ".ipynb_checkpoints", ".thumbnails", "thumbnails", "@Recycle", "FOUND.000", ".Trash-1000",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [".", "train", "train/cats"])
def test_what_a_system_adds_is_no_class_and_is_reported(
    tmp_path: Path, name: str, place: str
) -> None:
    """As a folder among splits, among classes and inside one; its pictures are copies."""
    touch(tmp_path, *(f"{part}/{pet}" for part in ("train", "test") for pet in PETS))
    touch(tmp_path, f"{place}/{name}/cat.jpg", count=3)
    files(tmp_path, "train/cats/Thumbs.db")

    found = read_layout(tmp_path)

    assert counts(found.train) == {"cats": 2, "dogs": 2}
    where = (tmp_path / place / name / "cat.jpg").relative_to(tmp_path)
    assert found.notes[0] == (f"not read: 3 pictures hidden or made by the system: {where} (3)")


def test_folders_inside_classes_are_counted(tmp_path: Path) -> None:
    """Masks beside images are read, and seen."""
    touch(tmp_path, *(f"{name}/{inner}" for name in PETS for inner in ("images", "masks")))

    found = read_layout(tmp_path)

    assert counts(found.train) == {"cats": 4, "dogs": 4}
    assert found.notes == ("folders inside classes, read with their class: images (4), masks (4)",)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    """A class that is a link, and a link inside a class."""
    touch(tmp_path / "data", *PETS)
    touch(tmp_path / "store", "wild/tigers", "wolves")
    (tmp_path / "data/cats/more").symlink_to("../../store/wild")
    (tmp_path / "data/wolves").symlink_to(tmp_path / "store/wolves")

    found = read_layout(tmp_path / "data")

    assert counts(found.train) == {"cats": 4, "dogs": 2, "wolves": 2}
    assert found.notes == ("folders inside classes, read with their class: more (2)",)


def test_links_in_circles_and_to_what_is_read_are_reported(tmp_path: Path) -> None:
    """None is followed for ever, and no picture has two classes."""
    data = touch(tmp_path / "data", *PETS)
    (data / "cats/self").symlink_to(".")
    (data / "cats/up").symlink_to("..")
    (data / "cats/home").symlink_to(tmp_path)
    (data / "cats/friends").symlink_to("../dogs")
    (data / "cats/gone").symlink_to("../../nowhere")

    found = read_layout(data)

    assert counts(found.train) == {"cats": 2, "dogs": 2}
    assert found.notes == (
        "not followed, because their targets are read elsewhere: cats/friends (2), "
        "cats/home (a folder above), cats/self (2), cats/up (4)",
        "WARNING: links that lead nowhere: cats/gone (No such file or directory)",
    )


@pytest.mark.parametrize("closed", ["train", "train/cats", "test", "test/cats"])
def test_a_folder_that_may_not_be_read_is_refused_with_the_reason(closed: str) -> None:
    """Where classes or splits depend on it; it is not taken for empty."""
    with readable_by_all() as place:
        touch(place, *(f"{part}/{name}" for part in ("train", "test") for name in PETS))
        (place / closed).chmod(0)

        with (
            pytest.raises(DatasetError, match=rf"/{closed}: .* found: Permission denied"),
            fuzz_folders.without_rights(),
        ):
            read_layout(place)
        (place / closed).chmod(0o755)


@pytest.mark.parametrize("closed", ["train/cats/private", "beside"])
def test_a_folder_that_may_not_be_read_is_named_elsewhere(closed: str) -> None:
    """Inside a class and beside the splits the rest is read."""
    with readable_by_all() as place:
        touch(place, *(f"{part}/{name}" for part in ("train", "test") for name in PETS), closed)
        (place / closed).chmod(0)

        with fuzz_folders.without_rights():
            found = read_layout(place)
        (place / closed).chmod(0o755)

    assert counts(found.train) == {"cats": 2, "dogs": 2}
    assert found.notes == (
        f"WARNING: cannot be read, so its pictures are missing: {closed} (Permission denied)",
    )


def test_a_folder_that_may_not_be_searched_holds_no_cats_and_dogs() -> None:
    """It is passed over like any other, and is no crash."""
    with readable_by_all() as place:
        (place / "closed").mkdir(mode=0)

        with fuzz_folders.without_rights():
            assert not holds(place / "closed")
        (place / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", ("train", ())),
        ("Train-Images", ("train", ())),
        ("seg_train", ("train", ("seg",))),
        ("test1", ("test", ())),
        ("held out", (None, ("held", "out"))),
        ("hold_out", ("test", ())),
        ("straining", (None, ("straining",))),
        ("contest", (None, ("contest",))),
    ],
)
def test_a_name_is_read_by_its_words(name: str, expected: tuple[str | None, tuple[str]]) -> None:
    """Not by letters that happen to be in it."""
    assert role(name) == expected


def test_layouts_of_every_kind_are_read_as_the_rules_say() -> None:
    """A hundred of those that tools/fuzz_folders.py draws; no picture is unaccounted."""
    problems: list[str] = []

    total = fuzz_folders.check(100, seed=1, tell=problems.append)

    assert problems == []
    assert total["understood folders"] > 30
    assert min(total["used"], total["left_out"], total["refused"]) > 30


def test_a_rule_that_is_broken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of these layouts, with a validation folder taken for a class."""
    monkeypatch.setitem(layout._ROLES, "test", frozenset({"test", "testing"}))

    total = fuzz_folders.check(30, seed=1, tell=lambda line: None)

    assert total["failures"] > 0


def test_reading_needs_no_right_to_write_or_open(tmp_path: Path) -> None:
    """A large folder is read by its names alone: not one picture is opened."""
    touch(tmp_path, *PETS)
    for file in tmp_path.glob("*/*"):
        file.unlink()
        os.mkfifo(file)

    assert counts(read_layout(tmp_path).train) == {"cats": 2, "dogs": 2}


def test_splits_within_classes_are_refused_with_what_to_do(tmp_path: Path):
    """Read as one, the pictures for testing would be for training."""
    touch(tmp_path, "cats/train", "cats/test", "dogs/train", "dogs/test")

    with pytest.raises(DatasetError, match="put train and test above the classes"):
        read_layout(tmp_path)


def test_masks_are_never_preferred_to_photographs(tmp_path: Path):
    """Whatever comes first in the alphabet."""
    for split in ("train", "test"):
        touch(tmp_path, *(f"{split}_{kind}/{pet}" for kind in ("gt", "images") for pet in PETS))

    found = read_layout(tmp_path)

    paths = [path for of_class in found.train.values() for path in of_class]
    assert paths and all("train_images" in str(path) for path in paths)
