"""The prepared cache."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import prepared_of, save_classes

from benchharness.data.batches import split
from benchharness.data.folder import folder
from benchharness.data.images import read_image
from benchharness.data.listing import FileExamples
from benchharness.data.prepared import Prepared
from benchharness.errors import DatasetError


@pytest.fixture
def listing(tmp_path):
    """Twenty training and six test photographs of two classes."""
    return folder(save_classes(tmp_path / "data", train=10, test=3))


def ready(listing, tmp_path, **options) -> Prepared:
    """Prepare with a validation split, everything else at rest."""
    given = {"validation": 0.2, "seed": 7, "cache_dir": tmp_path / "cache"} | options
    return prepared_of(listing, given.pop("cache_dir"), **given)


def entries(tmp_path):
    """Return everything in the cache, hidden leftovers included."""
    return sorted((tmp_path / "cache" / "prepared").iterdir())


def spoil(listing, index):
    """Overwrite a training file with something that is no image."""
    path = listing.train.paths[index]
    path.write_bytes(b"no picture")
    return path


def test_images_labels_and_splits_come_from_the_listing(listing, tmp_path):
    """Row i of the map is the i-th file decoded; first training, then test."""
    prepared = ready(listing, tmp_path)

    for i in (0, 13, 19):
        expected = read_image(listing.train.paths[i], size=16, channels=3).pixels
        assert np.array_equal(prepared.images[i], expected)
    assert np.array_equal(
        prepared.images[25], read_image(listing.test.paths[5], size=16, channels=3).pixels
    )
    assert prepared.labels.tolist() == [0] * 10 + [1] * 10 + [0] * 3 + [1] * 3
    assert prepared.labels.dtype == np.int32
    assert prepared.splits["test"].tolist() == list(range(20, 26))
    assert [len(prepared.splits[name]) for name in ("train", "validation")] == [16, 4]
    assert prepared.seconds > 0


def test_images_are_a_read_only_memory_map(listing, tmp_path):
    """Nothing is loaded until it is read, and nobody can change it."""
    images = ready(listing, tmp_path).images

    assert isinstance(images, np.memmap)
    assert images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_the_second_time_nothing_is_decoded(listing, tmp_path, monkeypatch):
    """Other validation shares and seeds share the entry too."""
    first = ready(listing, tmp_path)
    monkeypatch.setattr(FileExamples, "read", None)

    second = ready(listing, tmp_path, validation=0.3, seed=8)

    assert second.seconds == 0.0
    assert second.digest == first.digest
    assert not np.array_equal(second.splits["validation"], first.splits["validation"])
    assert len(entries(tmp_path)) == 1


def test_the_digest_does_not_depend_on_the_place(listing, tmp_path):
    """A moved copy of a dataset is the same dataset."""
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")

    here, there = ready(listing, tmp_path), ready(folder(tmp_path / "elsewhere"), tmp_path)

    assert there.digest == here.digest
    assert there.seconds == 0.0


@pytest.mark.parametrize(
    "change", [{"size": 20}, {"channels": 1}, {"train_images": 18}, {"test_images": 4}]
)
def test_the_digest_depends_on_what_is_prepared(listing, tmp_path, change):
    """Size, channels and the choice of images are part of the identity."""
    assert ready(listing, tmp_path, **change).digest != ready(listing, tmp_path).digest


def test_the_digest_depends_on_each_file(listing, tmp_path):
    """One changed byte is another dataset."""
    before = ready(listing, tmp_path).digest
    path = listing.test.paths[0]
    path.write_bytes(path.read_bytes() + b"\0")

    assert ready(listing, tmp_path).digest != before


def test_the_digest_does_not_depend_on_the_threads(listing, tmp_path):
    """Nor do the pixels."""
    one = ready(listing, tmp_path, workers=1, cache_dir=tmp_path / "one")
    many = ready(listing, tmp_path, workers=5, cache_dir=tmp_path / "many")

    assert one.digest == many.digest
    assert np.array_equal(one.images, many.images)


def test_another_process_opens_the_same_by_a_small_dictionary(listing, tmp_path):
    """as_dict goes through JSON; from_dict gives equal images, labels and splits."""
    prepared = ready(listing, tmp_path)

    opened = Prepared.from_dict(json.loads(json.dumps(prepared.as_dict())))

    for name in ("classes", "digest", "kinds", "folder"):
        assert getattr(opened, name) == getattr(prepared, name)
    assert np.array_equal(opened.images, prepared.images)
    assert np.array_equal(opened.labels, prepared.labels)
    for name, ids in prepared.splits.items():
        assert np.array_equal(opened.splits[name], ids)


def test_a_dictionary_whose_entry_is_gone_is_an_error(listing, tmp_path):
    """The message names the folder."""
    fields = ready(listing, tmp_path).as_dict()
    shutil.rmtree(fields["folder"])

    with pytest.raises(DatasetError, match="expected prepared images"):
        Prepared.from_dict(fields)


def test_counts_choose_the_first_of_each_class(listing, tmp_path):
    """Eight training images are the first four of each class."""
    prepared = ready(listing, tmp_path, train_images=8, test_images=2, validation=0.0)

    assert len(prepared.images) == 10
    assert np.array_equal(
        prepared.images[4], read_image(listing.train.paths[10], size=16, channels=3).pixels
    )
    assert len(prepared.splits["validation"]) == 0


def test_progress_counts_to_the_end(listing, tmp_path):
    """Done and total, rising."""
    seen = []

    ready(listing, tmp_path, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (26, 26)
    assert seen == sorted(seen)


def test_a_bad_image_is_an_error_and_leaves_nothing_behind(listing, tmp_path):
    """The file is named; no half-written entry stays."""
    spoil(listing, 3)

    with pytest.raises(DatasetError, match=r"cats\.3\.jpg"):
        ready(listing, tmp_path)

    assert entries(tmp_path) == []


def test_a_bad_image_can_be_skipped(listing, tmp_path):
    """It is named, is in no split, and is not tried again from the cache."""
    bad = spoil(listing, 3)

    built = ready(listing, tmp_path, on_bad_image="skip")
    cached = ready(listing, tmp_path, on_bad_image="skip")

    for prepared in (built, cached):
        assert prepared.skipped == (str(bad),)
        assert 3 not in np.concatenate(list(prepared.splits.values()))
        assert sum(map(len, prepared.splits.values())) == 25
    assert cached.seconds == 0.0


def test_what_one_run_skipped_is_an_error_in_a_run_that_does_not_skip(listing, tmp_path):
    """The cache does not soften the policy."""
    spoil(listing, 3)
    ready(listing, tmp_path, on_bad_image="skip")

    with pytest.raises(DatasetError, match=r"cats\.3\.jpg.*skipped"):
        ready(listing, tmp_path)


def test_a_file_that_cannot_be_read_can_be_skipped_too(listing, tmp_path):
    """Skipping covers files that are gone since they were listed."""
    listing.train.paths[0].unlink()

    prepared = ready(listing, tmp_path, on_bad_image="skip")

    assert len(prepared.skipped) == 1


def test_a_class_without_readable_images_is_an_error(listing, tmp_path):
    """Skipping has an end."""
    for index in range(10, 20):
        spoil(listing, index)

    with pytest.raises(DatasetError, match=r"train: .*found none of dogs"):
        ready(listing, tmp_path, on_bad_image="skip")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_a_damaged_entry_is_rebuilt(listing, tmp_path, name, damage):
    """Whatever happened to the files, the images come back right."""
    good = ready(listing, tmp_path)
    pixels, path = np.array(good.images), good.folder / name
    if damage == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"{}")

    again = ready(listing, tmp_path)

    assert again.seconds > 0
    assert np.array_equal(again.images, pixels)
    assert entries(tmp_path) == [again.folder]


def test_an_entry_of_another_dataset_is_not_taken(listing, tmp_path):
    """The digest inside is compared in full, not only the folder's name."""
    good = ready(listing, tmp_path)
    meta = json.loads((good.folder / "meta.json").read_text())
    meta["digest"] = meta["digest"][:32] + "0" * 32
    (good.folder / "meta.json").write_text(json.dumps(meta))

    assert ready(listing, tmp_path).digest == good.digest


def test_a_process_that_finished_first_wins(listing, tmp_path):
    """The entry that appears while ours is being built stays, and ours goes."""
    winner = ready(listing, tmp_path).folder
    kept = tmp_path / "kept"
    winner.rename(kept)

    def another_finishes(done, total):
        if done == total:
            kept.rename(winner)
            (winner / "mark").touch()

    prepared = ready(listing, tmp_path, progress=another_finishes)

    assert (prepared.folder / "mark").exists()
    assert entries(tmp_path) == [winner]


def test_too_little_space_is_an_error_before_decoding(listing, tmp_path, monkeypatch):
    """Needed and free, in the message; nothing stays behind."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 9, 1))

    with pytest.raises(DatasetError, match="free space for prepared images"):
        ready(listing, tmp_path)

    assert entries(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_a_dataset_error(listing, tmp_path):
    """The folder is named."""
    (tmp_path / "cache").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)

    with pytest.raises(DatasetError, match="expected to write prepared images"):
        ready(listing, tmp_path)


def test_a_cache_that_is_a_file_is_a_dataset_error(listing, tmp_path):
    """The remedy is another cache folder."""
    (tmp_path / "cache").write_text("not a folder")

    with pytest.raises(
        DatasetError, match=r"move \S+ away, which is no folder, or set BENCHHARNESS_CACHE"
    ):
        ready(listing, tmp_path)


@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=4),
    tests=st.integers(1, 5),
    validation=st.floats(0, 0.5),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_no_id_is_in_two_splits(counts, tests, validation, seed, data):
    """Every id that was not skipped is in exactly one split, and each class stays in training."""
    train_labels = [label for label, count in enumerate(counts) for _ in range(count + 2)]
    labels = np.array(train_labels + [0] * tests, dtype=np.int32)
    skipped = data.draw(st.sets(st.sampled_from(range(len(labels))), max_size=1))

    splits = split(
        labels,
        classes=[str(label) for label in range(len(counts))],
        train=len(train_labels),
        skipped=tuple(skipped),
        validation=validation,
        seed=seed,
    )

    everything = np.concatenate(list(splits.values()))
    assert sorted(everything.tolist()) == sorted(set(range(len(labels))) - skipped)
    assert set(labels[splits["train"]].tolist()) == set(range(len(counts)))
    assert (splits["test"] >= len(train_labels)).all()
    assert (splits["validation"] < len(train_labels)).all()


def test_validation_is_stratified_and_seeded():
    """A fifth of each class; the same for the same seed."""
    labels = np.array([0] * 50 + [1] * 20 + [0, 1], dtype=np.int32)

    def held(seed):
        parts = split(labels, classes=("a", "b"), train=70, skipped=(), validation=0.2, seed=seed)
        return parts["validation"]

    assert np.bincount(labels[held(1)]).tolist() == [10, 4]
    assert np.array_equal(held(1), held(1))
    assert not np.array_equal(held(1), held(2))


def test_validation_of_single_images_is_refused():
    """A class of one image cannot be learnt and validated both; it is named."""
    labels = np.array([0, 0, 1, 0, 1], dtype=np.int32)

    with pytest.raises(DatasetError, match=r"found fewer of dogs;.* validation = 0"):
        split(labels, classes=("cats", "dogs"), train=3, skipped=(), validation=0.2, seed=0)
