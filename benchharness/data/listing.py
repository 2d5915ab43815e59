"""What a source gives: the labelled images of a dataset, not yet decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchharness.data.images import read_image, resize_array
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

    def read(self, index: int, *, size: int, channels: int) -> NDArray[np.uint8]:
        """Return the decoded image, uint8, shape (size, size, channels).

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
        """Return the file's path."""
        return str(self.paths[index])

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of the file."""
        try:
            return hashlib.sha256(self.paths[index].read_bytes()).digest()
        except OSError as error:
            raise DatasetError(
                f"{self.paths[index]}: expected a readable file, found: {error.strerror}"
            ) from error

    def read(self, index: int, *, size: int, channels: int) -> NDArray[np.uint8]:
        """Return the decoded file, uint8, shape (size, size, channels)."""
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

    def read(self, index: int, *, size: int, channels: int) -> NDArray[np.uint8]:
        """Return the resized image, uint8, shape (size, size, channels)."""
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

    def read(self, index: int, *, size: int, channels: int) -> NDArray[np.uint8]:
        """Return the decoded image, uint8, shape (size, size, channels)."""
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
    """

    name: str
    classes: tuple[str, ...]
    train: Examples
    test: Examples
    channels: int
    is_real: bool
    origin: str

    def first(self, *, train: int | None, test: int | None) -> Listing:
        """Return this listing with the first ``train`` and ``test`` images; None for all.

        Raises:
            DatasetError: There are not enough.
        """
        try:
            chosen = select(self.train, count=train, classes=self.classes)
            return replace(
                self, train=chosen, test=select(self.test, count=test, classes=self.classes)
            )
        except DatasetError as error:
            raise DatasetError(f"dataset {self.name} ({self.origin}): {error}") from error


def select(examples: Examples, *, count: int | None, classes: Sequence[str] = ()) -> Examples:
    """Return the first ``count`` images, taken equally from each class, in their order.

    What does not divide evenly goes to the first classes.

    Args:
        examples: Where to choose from.
        count: Images in all; None for every image.
        classes: Names for the message; every class that occurs where none are given.

    Raises:
        DatasetError: A class has fewer images than its share.
    """
    if count is None:
        return examples
    labels = examples.labels
    names = list(classes) or [f"class {label}" for label in range(int(labels.max()) + 1)]
    shares = [count // len(names) + (label < count % len(names)) for label in range(len(names))]
    found = [np.flatnonzero(labels == label) for label in range(len(names))]
    for name, share, members in zip(names, shares, found, strict=True):
        if len(members) < share:
            most = min(len(members) for members in found) * len(names)
            raise DatasetError(
                f"expected {count} images, {share} of {name}; found {len(examples)}, "
                f"{len(members)} of {name}; ask for at most {most}"
            )
    chosen = [members[:share] for members, share in zip(found, shares, strict=True)]
    return Selection(examples=examples, indices=np.sort(np.concatenate(chosen)))
