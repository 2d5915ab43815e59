"""The same picture for training and for the test: what was learnt by heart scores as understood."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from benchharness.data.indexed_images import ABSENT, IndexedImages
from benchharness.errors import DatasetError

OnLeak = Literal["warn", "error"]
Leak = tuple[str, str]


def leaks(
    images: IndexedImages, contents: Sequence[bytes], *, skipped: Collection[int]
) -> tuple[Leak, ...]:
    """Return the images of the test that are also for training, each with the first such twin.

    Twins are the same to the byte: a picture that was stored anew is another one here.

    Args:
        images: The dataset.
        contents: The digest of each image, by position.
        skipped: Positions of images that are in no split.

    Returns:
        Names: that of the test, then that of the training.
    """
    train = len(images.listing.train)
    absent = {ABSENT, *(contents[position] for position in skipped)}
    learnt: dict[bytes, int] = {}
    for position, content in enumerate(contents[:train]):
        learnt.setdefault(content, position)

    def found() -> Iterator[Leak]:
        for position, content in enumerate(contents[train:], start=train):
            if content in learnt and content not in absent:
                yield images.name(position), images.name(learnt[content])

    return tuple(found())


def refuse(found: Sequence[Leak]) -> None:
    """Refuse a dataset with leaks.

    Raises:
        DatasetError: There are some; the first is named.
    """
    if found:
        test, train = found[0]
        raise DatasetError(
            f"{test}: expected a picture that is not for training too, found the bytes of {train} "
            f'({len(found)} such in all); remove one of each two, or set on_leak = "warn"'
        )
