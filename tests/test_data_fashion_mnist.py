"""Fashion-MNIST's four files."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from benchharness.data.fashion_mnist import FashionMnist
from benchharness.data.listing import Listing
from benchharness.data.sources import plugin_listing
from benchharness.errors import DatasetError


def fashion_mnist(folder: Path) -> Listing:
    """Return the dataset in a folder as the core lists it."""
    return plugin_listing("fashion_mnist", FashionMnist().read(folder))


INSTALLED = [place for place in FashionMnist().places({}) if FashionMnist().holds(place)]


def write(folder: Path) -> Path:
    """Write the four files: black images (as holes in the file), all of one class."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        with (folder / f"{prefix}-images-idx3-ubyte").open("wb") as file:
            file.write(struct.pack(">4I", 0x803, count, 28, 28))
            file.truncate(16 + count * 784)
        content = struct.pack(">2I", 0x801, count) + bytes([3]) * count
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.mark.parametrize("below", [".", "fashion_mnist", "fashion-mnist"])
def test_files_are_found_in_the_folder_or_below_it(tmp_path, below):
    """Zipped or not, and under either spelling of the name."""
    write(tmp_path / below)

    listing = fashion_mnist(tmp_path)

    assert (len(listing.train), len(listing.test)) == (60_000, 10_000)
    assert listing.train.labels.dtype == np.int32
    assert set(listing.test.labels.tolist()) == {3}
    assert listing.channels == 1
    assert len(listing.classes) == 10
    assert listing.train.read(0, size=28, channels=1).pixels.shape == (28, 28, 1)


def overwrite(file: Path, content: bytes = b"", *, size: int | None = None) -> None:
    """Replace the beginning of a file, and cut it to a size."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate(size if size is not None else file.stat().st_size)


def other_labels(folder: Path) -> None:
    """Write labels of an eleventh class."""
    content = struct.pack(">2I", 0x801, 60_000) + bytes([11]) * 60_000
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "apt-get install dataset-fashion-mnist"),
        (
            lambda folder: (folder / "t10k-labels-idx1-ubyte.gz").unlink(),
            r"t10k-labels-idx1-ubyte\[\.gz\]: expected a file",
        ),
        (
            lambda folder: overwrite(folder / "train-images-idx3-ubyte", size=5000),
            "train-images-idx3-ubyte: expected an IDX file",
        ),
        (
            lambda folder: overwrite(folder / "train-images-idx3-ubyte", struct.pack(">I", 0x801)),
            "beginning 00000801",
        ),
        (
            lambda folder: overwrite(folder / "train-labels-idx1-ubyte.gz", size=80),
            r"train-labels-idx1-ubyte\.gz: expected a reada",
        ),
        (other_labels, "expected 0 to 9, found 11"),
    ],
)
def test_files_that_are_missing_or_damaged_are_named(tmp_path, spoil, message):
    """Nothing there, three of four, a short one, labels for images, a cut archive, odd labels."""
    spoil(write(tmp_path / "clothes"))

    with pytest.raises(DatasetError, match=message):
        fashion_mnist(tmp_path / "clothes")


def test_keras_downloads_are_looked_for_in_its_folder(tmp_path):
    """The folder is passed in, never read from the environment."""
    places = FashionMnist().places({"KERAS_HOME": str(tmp_path)})

    assert tmp_path / "datasets/fashion-mnist" in places


@pytest.mark.skipif(not INSTALLED, reason="dataset-fashion-mnist is not installed")
def test_the_installed_dataset_is_balanced_and_begins_with_an_ankle_boot():
    """The real files: 6000 of each class; the first training image is well known."""
    listing = fashion_mnist(INSTALLED[0])

    assert np.bincount(listing.train.labels).tolist() == [6000] * 10
    assert np.bincount(listing.test.labels).tolist() == [1000] * 10
    assert listing.classes[listing.train.labels[0]] == "ankle boot"
    assert listing.train.read(0, size=28, channels=1).pixels.max() == 255
