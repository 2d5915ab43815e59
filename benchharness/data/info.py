"""Dataset in numbers: classes, channels and counts, known before an image is decoded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from benchharness.data import cats_dogs, drawn, fashion_mnist
from benchharness.data.listing import DatasetFacts, Listing, shares
from benchharness.download.registry import RemoteResource

Split = Literal["train", "test"]

# Of each class, for training and for the test. Of the 12,500 cats and dogs one of each is empty.
_PUBLISHED = {
    "cats_dogs": (cats_dogs.CLASSES, 3, 8_928, 3_571),
    "fashion_mnist": (fashion_mnist.CLASSES, 1, 6_000, 1_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo(DatasetFacts):
    """A dataset in numbers, never without a title.

    Attributes:
        train: Training images of each class, those for validation included.
        test: Test images of each class.
    """

    title: str
    train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def of(cls, listing: Listing) -> DatasetInfo:
        """Return the numbers of a listing."""
        facts = {field.name: getattr(listing, field.name) for field in fields(DatasetFacts)}
        train, test = (
            tuple(np.bincount(part.labels, minlength=len(listing.classes)).tolist())
            for part in (listing.train, listing.test)
        )
        facts["title"] = listing.title or listing.name
        return cls(**facts, train=train, test=test)

    @classmethod
    def of_drawn(cls) -> DatasetInfo:
        """Return the numbers of the drawn pictures, without drawing them."""
        return cls(
            title="drawn",
            origin="drawn pictures of cats and dogs",
            classes=cats_dogs.CLASSES,
            channels=3,
            train=(drawn.TRAIN // 2,) * 2,
            test=(drawn.TEST // 2,) * 2,
            is_real=False,
        )

    @classmethod
    def of_published(cls, source: str, home: RemoteResource) -> DatasetInfo:
        """Return the numbers of a published dataset, before it is downloaded."""
        classes, channels, train, test = _PUBLISHED[source]
        return cls(
            title=source,
            origin=f"to be downloaded: {home.source}, {home.size_bytes / 1e6:,.0f} MB",
            classes=classes,
            channels=channels,
            train=(train,) * len(classes),
            test=(test,) * len(classes),
        )

    @property
    def description(self) -> str:
        """Origin and folder of the images."""
        return f"{self.origin}, at {self.place}" if self.place else self.origin

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images of each class."""
        return tuple(map(sum, zip(self.train, self.test, strict=True)))

    def used(self, split: Split, limit: int | None) -> int:
        """Return how many images of a split are used under a limit; None for no limit."""
        counts = self.train if split == "train" else self.test
        if limit is None:
            return sum(counts)
        if not self.is_lenient:
            # Fewer are an error, and drawn pictures are as many as are asked for.
            return limit
        return sum(map(min, counts, shares(limit, classes=len(counts))))
