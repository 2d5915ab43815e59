"""Listing of a dataset: its labelled images, not yet decoded.

Many images are read on a few threads: Pillow and hashlib release the interpreter while they work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchharness.data.images import (
    DECODER,
    Decoded,
    complaint,
    open_file,
    read_image,
    resize_array,
)
from benchharness.errors import DatasetError

# Enough images to hide what handing work to a thread costs, few enough to keep 16 threads busy
# to the end of a small dataset.
_BLOCK = 8
# The digest of an image that cannot be read.
UNREADABLE = bytes(hashlib.sha256().digest_size)

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileExamples:
    """Images in separate files, each known by its position; labels int32, shape (images,)."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: NDArray[np.int64]) -> FileExamples:
        """Return some of the images, in the order of their positions."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return FileExamples(paths=paths, labels=self.labels[indices])

    def name(self, index: int) -> str:
        """Return the file's path, for messages; bytes in it that are no UTF-8 are replaced."""
        return os.fsencode(self.paths[index]).decode("utf-8", "replace")

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file, 32 bytes; a DatasetError where it cannot be read."""
        path = self.paths[index]
        try:
            with open_file(path) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DatasetError(
                f"{path}: expected a readable file, found: {complaint(error, path)}"
            ) from error

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the image decoded and resized to a square; a DatasetError where it cannot be."""
        return read_image(self.paths[index], size=size, channels=channels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayExamples:
    """Images in one array, each known by its position; labels int32, shape (images,).

    Attributes:
        images: uint8, shape (rows, height, width) or (rows, height, width, channels).
        source: Name of the array, for messages.
        rows: Row of each image, int64, shape (images,); None for all rows in order.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    source: str
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ArrayExamples:
        """Return some of the images, in the order of their positions."""
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, labels=self.labels[indices], rows=rows)

    def name(self, index: int) -> str:
        """Return the source and the row in it, for messages."""
        return f"{self.source} image {self._row(index)}"

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the image's shape and pixels, 32 bytes."""
        image = np.ascontiguousarray(self.images[self._row(index)])
        return hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the image resized to a square."""
        return resize_array(self.images[self._row(index)], size=size, channels=channels)

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


Examples = FileExamples | ArrayExamples


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetFacts:
    """Description of a dataset, without its images.

    Attributes:
        classes: Names of the classes, by label.
        channels: 1 for grey, 3 for RGB.
        is_real: False for pictures that a program drew.
        origin: Where the images came from, in words for the user.
        title: What to call the dataset in a report; empty for the name of its source.
        place: The folder that they are in; None where they are in none.
        notes: How the folder was read, and what in it was left out, a sentence each.
        is_own: Whether the images are the user's own, of which a suite knows nothing.
        is_lenient: Whether a class that has fewer images than asked for gives those it has.
    """

    classes: tuple[str, ...]
    channels: int
    is_real: bool = True
    origin: str
    title: str = ""
    place: Path | None = None
    notes: tuple[str, ...] = ()
    is_own: bool = False
    is_lenient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing(DatasetFacts):
    """A dataset as its source, for example ``cats_dogs``, lists it.

    The id of an image is its position among the training images, followed by those of the test.
    """

    name: str
    train: Examples
    test: Examples

    @property
    def count(self) -> int:
        """Images in all."""
        return len(self.train) + len(self.test)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class of each image by id, int32, shape (images,)."""
        return np.concatenate([self.train.labels, self.test.labels])

    def image(self, image: int) -> tuple[Examples, int]:
        """Return the split that holds the image of an id, and its position there."""
        train = len(self.train)
        return (self.train, image) if image < train else (self.test, image - train)

    def image_name(self, image: int) -> str:
        """Return what to call the image of an id in a message."""
        examples, index = self.image(image)
        return examples.name(index)

    def first(self, *, train: int | None, test: int | None) -> Listing:
        """Return this listing with the first ``train`` and ``test`` images; None for all.

        Raises:
            DatasetError: There are not enough.
        """
        try:
            return replace(
                self,
                train=select(self.train, train, self.classes, is_lenient=self.is_lenient),
                test=select(self.test, test, self.classes, is_lenient=self.is_lenient),
            )
        except DatasetError as error:
            raise DatasetError(f"dataset {self.name} ({self.origin}): {error}") from error


def select(
    examples: Examples, count: int | None, classes: Sequence[str], *, is_lenient: bool = False
) -> Examples:
    """Return the first ``count`` images, taken equally from each class, in their order.

    What does not divide evenly goes to the first classes. None takes every image; a lenient choice
    takes all of a class that has fewer than its share.

    Raises:
        DatasetError: A class has fewer images than its share, and may not.
    """
    if count is None:
        return examples
    members = [np.flatnonzero(examples.labels == label) for label in range(len(classes))]
    wanted = shares(count, classes=len(classes))
    for name, share, ids in zip(classes, wanted, members, strict=True):
        if len(ids) < share and not is_lenient:
            raise DatasetError(
                f"expected {count} images, {share} of {name}; found {len(examples)}, "
                f"{len(ids)} of {name}; ask for at most {min(map(len, members)) * len(classes)}"
            )
    chosen = [ids[:share] for share, ids in zip(wanted, members, strict=True)]
    return examples.take(np.sort(np.concatenate(chosen)))


def shares(count: int, *, classes: int) -> list[int]:
    """Return how many of ``count`` images each class is to give."""
    return [count // classes + (label < count % classes) for label in range(classes)]


def identify(
    listing: Listing, *, size: int, workers: int, may_skip: bool
) -> tuple[str, list[bytes]]:
    """Return the dataset's digest, SHA-256 in hex, and those of its images, by id.

    Its pixels and labels follow from it, and it from the contents of the images, not their paths.

    Raises:
        DatasetError: An image cannot be read; where it may be skipped it is ``UNREADABLE`` instead.
    """

    def digest(image: int) -> bytes:
        examples, index = listing.image(image)
        try:
            return examples.digest(index)
        except DatasetError:
            if may_skip:
                return UNREADABLE
            raise

    contents = [*_on_threads(digest, count=listing.count, workers=workers)]
    header = {
        "name": listing.name,
        "classes": listing.classes,
        "train": len(listing.train),
        "size": size,
        "channels": listing.channels,
        "decoder": DECODER,
    }
    whole = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    whole.update(listing.labels.astype("<i4").tobytes())
    whole.update(b"".join(contents))
    return whole.hexdigest(), contents


def decode(
    listing: Listing, *, size: int, workers: int, progress: Progress | None
) -> Iterator[Decoded]:
    """Yield all images by id, decoded ahead on threads; progress tells images done and in all."""
    count, shape = listing.count, (size, size, listing.channels)

    def read(image: int) -> Decoded:
        examples, index = listing.image(image)
        try:
            return examples.read(index, size=size, channels=listing.channels)
        except DatasetError as error:
            return Decoded(np.zeros(shape, dtype=np.uint8), failure=error)

    for done, image in enumerate(_on_threads(read, count=count, workers=workers), start=1):
        if progress is not None and (done % _BLOCK == 0 or done == count):
            progress(done, count)
        yield image


def _on_threads(work: Callable[[int], T], *, count: int, workers: int) -> Iterator[T]:
    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for results in pool.map(lambda ids: [*map(work, ids)], blocks):
                yield from results
        finally:
            # After an error nobody wants the rest.
            pool.shutdown(wait=False, cancel_futures=True)
