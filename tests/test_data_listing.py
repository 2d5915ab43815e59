"""Lists of images, and choosing from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import save

from benchharness.data.listing import ArrayExamples, FileExamples, Listing, select
from benchharness.errors import DatasetError


def array_examples(labels: list[int]) -> ArrayExamples:
    """Return tiny images whose pixels are their position."""
    count = len(labels)
    return ArrayExamples(
        images=np.repeat(np.arange(count, dtype=np.uint8), 4).reshape(count, 2, 2),
        labels=np.array(labels, dtype=np.int32),
        source="numbers",
    )


@pytest.mark.parametrize(
    ("labels", "count", "expected"),
    [
        ([0, 1, 0, 0, 1, 1, 0], 4, [0, 1, 2, 4]),
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 5, [0, 1, 3, 4, 6]),
    ],
)
def test_selection_takes_the_first_of_each_class_in_order(labels, count, expected):
    """What does not divide evenly goes to the first classes."""
    chosen = select(array_examples(labels), count, "abc"[: max(labels) + 1])

    pixels = [chosen.read(i, size=2, channels=1).pixels for i in range(count)]
    assert [int(image[0, 0, 0]) for image in pixels] == expected
    assert chosen.labels.tolist() == [labels[i] for i in expected]


def test_no_count_means_every_image():
    """None leaves the examples as they are."""
    examples = array_examples([0, 1])

    assert select(examples, None, "ab") is examples


def test_too_few_images_are_counted_in_the_error():
    """The message says how many there are and how many could be had."""
    with pytest.raises(DatasetError, match=r"found 5, 2 of dogs; ask for at most 4"):
        select(array_examples([0, 0, 0, 1, 1]), 6, ("cats", "dogs"))


def test_a_listing_names_itself_when_it_is_too_small():
    """The error of a listing says which dataset and where it came from."""
    listing = Listing(
        name="pets", classes=("a", "b"), train=array_examples([0, 1]), test=array_examples([0, 1]),
        channels=1, is_real=True, origin="somewhere",
    )  # fmt: skip

    with pytest.raises(DatasetError, match=r"dataset pets \(somewhere\): expected 4 images"):
        listing.first(train=None, test=4)


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=5), data=st.data())
def test_shares_of_classes_differ_by_at_most_one(counts, data):
    """However many are asked for, the classes stay balanced."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    wanted = data.draw(st.integers(1, min(counts) * len(counts)))

    shares = np.bincount(
        select(array_examples(labels), wanted, "abcde"[: len(counts)]).labels, minlength=len(counts)
    )

    assert shares.sum() == wanted
    assert shares.max() - shares.min() <= 1


def test_a_digest_follows_the_content_not_the_path(tmp_path):
    """A copy has the digest of its original; another picture has another."""
    first = save(tmp_path / "a.jpg", seed=1)
    other = save(tmp_path / "b.jpg", seed=2)
    copy = tmp_path / "deep" / "c.jpg"
    copy.parent.mkdir()
    copy.write_bytes(first.read_bytes())
    examples = FileExamples(paths=(first, other, copy), labels=np.zeros(3, dtype=np.int32))

    assert examples.digest(0) == examples.digest(2)
    assert examples.digest(0) != examples.digest(1)


def test_arrays_of_equal_bytes_and_different_shape_differ():
    """The shape is part of an image's content."""
    labels = np.zeros(1, dtype=np.int32)
    wide = ArrayExamples(images=np.zeros((1, 2, 8), dtype=np.uint8), labels=labels, source="wide")
    high = ArrayExamples(images=np.zeros((1, 8, 2), dtype=np.uint8), labels=labels, source="high")

    assert wide.digest(0) != high.digest(0)


def test_a_file_that_went_away_is_named(tmp_path):
    """Hashing a missing file is a DatasetError."""
    examples = FileExamples(paths=(tmp_path / "gone.jpg",), labels=np.zeros(1, dtype=np.int32))

    with pytest.raises(DatasetError, match=r"gone\.jpg"):
        examples.digest(0)
