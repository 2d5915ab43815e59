"""What a source gives: the labelled images of a dataset, not yet decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchharness.data import image_formats
from benchharness.data.images import Decoded, read_image, resize_array
from benchharness.errors import DatasetError


class Examples(Protocol):
    """Labelled images, each known by its position."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class of each image, int32, shape (images,)."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what to call the image in a message."""
        ...

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the image's content as it is stored, 32 bytes.

        Raises:
            DatasetError: The image cannot be read.
        """
        ...

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the image decoded and resized to a square.

        Raises:
            DatasetError: The image cannot be decoded.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileExamples:
    """Images in files of their own.

    Attributes:
        labels: int32, shape (images,).
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return the file's path; bytes in it that are no UTF-8 are replaced."""
        return os.fsencode(self.paths[index]).decode("utf-8", "replace")

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file."""
        try:
            with image_formats.opened(self.paths[index]) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DatasetError(
                f"{self.paths[index]}: expected a readable file, found: "
                f"{image_formats.complaint(error, self.paths[index])}"
            ) from error

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the decoded file."""
        return read_image(self.paths[index], size=size, channels=channels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayExamples:
    """Images that lie in one array.

    Attributes:
        images: uint8, shape (images, height, width) or (images, height, width, channels).
        labels: int32, shape (images,).
        source: What the array is, for messages.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    source: str

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the source and the position in it."""
        return f"{self.source} image {index}"

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the image's shape and pixels."""
        image = np.ascontiguousarray(self.images[index])
        return hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the resized image."""
        return resize_array(self.images[index], size=size, channels=channels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """Some of the images of ``examples``, in the order of ``indices`` (int64)."""

    examples: Examples
    indices: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class of each image, int32, shape (images,)."""
        return self.examples.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """Return what to call the image in a message."""
        return self.examples.name(int(self.indices[index]))

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the image's content."""
        return self.examples.digest(int(self.indices[index]))

    def read(self, index: int, *, size: int, channels: int) -> Decoded:
        """Return the decoded image."""
        return self.examples.read(int(self.indices[index]), size=size, channels=channels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listing:
    """A dataset as its source lists it.

    Attributes:
        name: Identity of the source, for example ``cats_dogs``.
        classes: Names of the classes, by label.
        channels: 1 for grey, 3 for RGB.
        is_real: False for pictures that a program drew.
        origin: Where the images came from, in words for the user.
        title: What to call the dataset in a report; its name, where empty.
        place: The folder that they are in; None where they are in none.
        notes: How the folder was read, and what in it was left out, a sentence each.
        is_own: Whether the images are the user's own, of which a suite knows nothing.
        is_lenient: Whether a class that has fewer images than asked for gives those it has.
    """

    name: str
    classes: tuple[str, ...]
    train: Examples
    test: Examples
    channels: int
    is_real: bool
    origin: str
    title: str = ""
    place: Path | None = None
    notes: tuple[str, ...] = ()
    is_own: bool = False
    is_lenient: bool = False

    def first(self, *, train: int | None, test: int | None) -> Listing:
        """Return this listing with the first ``train`` and ``test`` images; None for all.

        Raises:
            DatasetError: There are not enough.
        """
        choose = partial(select, classes=self.classes, is_lenient=self.is_lenient)
        try:
            return replace(
                self,
                train=choose(self.train, count=train),
                test=choose(self.test, count=test),
            )
        except DatasetError as error:
            raise DatasetError(f"dataset {self.name} ({self.origin}): {error}") from error


def select(
    examples: Examples,
    *,
    count: int | None,
    classes: Sequence[str] = (),
    is_lenient: bool = False,
) -> Examples:
    """Return the first ``count`` images, taken equally from each class, in their order.

    What does not divide evenly goes to the first classes.

    Args:
        examples: Where to choose from.
        count: Images in all; None for every image.
        classes: Names for the message; every class that occurs where none are given.
        is_lenient: Whether a class with fewer images than its share gives all of them.

    Raises:
        DatasetError: A class has fewer images than its share, and may not.
    """
    if count is None:
        return examples
    labels = examples.labels
    names = list(classes) or [f"class {label}" for label in range(int(labels.max()) + 1)]
    found = [np.flatnonzero(labels == label) for label in range(len(names))]
    wanted = shares(count, classes=len(names))
    for name, share, members in zip(names, wanted, found, strict=True):
        if len(members) < share and not is_lenient:
            most = min(len(members) for members in found) * len(names)
            raise DatasetError(
                f"expected {count} images, {share} of {name}; found {len(examples)}, "
                f"{len(members)} of {name}; ask for at most {most}"
            )
    chosen = [members[:share] for members, share in zip(found, wanted, strict=True)]
    return Selection(examples=examples, indices=np.sort(np.concatenate(chosen)))


def shares(count: int, *, classes: int) -> list[int]:
    """Return how many of ``count`` images each class is to give."""
    return [count // classes + (label < count % classes) for label in range(classes)]
