"""Extensions that plugins add beside backends: datasets, meters and observers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# An event as ``--json`` prints it, and the record of a trial as records.jsonl holds it.
Event = Mapping[str, Any]
Observer = Callable[[Event], None]
Measured = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Labelled images, in files of their own or in one array.

    Attributes:
        labels: int32, shape (images,), from 0.
        files: The file of each image; None where they are in ``array``.
        array: uint8, shape (images, height, width) or (images, height, width, channels); None
            where they are in files.
    """

    labels: NDArray[np.int32]
    files: Sequence[Path] | None = None
    array: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Refuse images that are nowhere, or in two places.

        Raises:
            ValueError: Both or neither of ``files`` and ``array`` are given.
        """
        if (self.files is None) == (self.array is None):
            raise ValueError("images: expected either files or an array, found both or neither")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """A dataset as it was found in a folder.

    Attributes:
        classes: Names of the classes, by label.
        train: Images to learn from; validation images are taken from them.
        test: Images that are scored once, at the end.
        channels: 1 for grey, 3 for RGB.
        origin: Where the images came from, in words for the user.
        is_real: False for pictures that a program drew.
    """

    classes: tuple[str, ...]
    train: Images
    test: Images
    channels: int
    origin: str
    is_real: bool = True


class Dataset(Protocol):
    """A dataset that suites can name as their source.

    Attributes:
        description: One line for ``benchharness list``.
        remedy: What to do where nothing is found, a clause of a sentence.
        has_files: Whether each image is a file of its own, which a framework can load by itself.
    """

    description: str
    remedy: str
    has_files: bool

    def places(self, environment: Mapping[str, str]) -> Sequence[Path]:
        """Return the folders where such a dataset usually is, beside those of the user.

        Args:
            environment: Variables of the process.
        """

    def holds(self, folder: Path) -> bool:
        """Return whether a folder holds the dataset; reads no image."""

    def read(self, folder: Path) -> Pictures:
        """Return the dataset in a folder that holds it; decodes no image.

        Raises:
            DatasetError: Something of it is missing or not what it should be.
        """


class Meter(Protocol):
    """Reads what a trial's processes use, four times a second, from outside of them."""

    def sample(self, *, is_timed: bool) -> None:
        """Take a reading.

        Also called at both edges of timed work, so that no more than that is counted.

        Args:
            is_timed: Whether training or feeding is being timed now.
        """

    def metrics(self) -> Mapping[str, Measured]:
        """Return what was read, when the trial is over; what is not known is absent.

        A name of a column of ``trials.csv`` fills that column; any other becomes the column
        ``METER.NAME``.
        """
