"""Many images at once: their digests and their pixels, on a few threads.

Threads suffice: Pillow and hashlib release the interpreter while they work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchharness.data.images import DECODER
from benchharness.data.listing import Examples, Listing
from benchharness.errors import DatasetError

# Enough images to hide what handing work to a thread costs, few enough to keep 16 threads busy
# to the end of a small dataset.
_BLOCK = 8
# The digest of an image that cannot be read.
ABSENT = bytes(hashlib.sha256().digest_size)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Consecutive images.

    Attributes:
        pixels: uint8, shape (images, size, size, channels); black where decoding failed.
        kinds: What was special about some files, by position in the listing.
        failures: The error of each image that failed, by position in the listing.
    """

    pixels: NDArray[np.uint8]
    kinds: Mapping[int, tuple[str, ...]]
    failures: Mapping[int, DatasetError]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexedImages:
    """The training images of a listing, then those of its test, by one position: the id."""

    listing: Listing

    def __len__(self) -> int:
        return len(self.listing.train) + len(self.listing.test)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class of each image, int32, shape (images,)."""
        return np.concatenate([self.listing.train.labels, self.listing.test.labels])

    def at(self, position: int) -> tuple[Examples, int]:
        """Return the split that holds the image, and the image's index there."""
        train = len(self.listing.train)
        if position < train:
            return self.listing.train, position
        return self.listing.test, position - train

    def name(self, position: int) -> str:
        """Return what to call the image in a message."""
        examples, index = self.at(position)
        return examples.name(index)


def digests(images: IndexedImages, *, workers: int, may_skip: bool) -> list[bytes]:
    """Return the SHA-256 of each image's content, by position; ``ABSENT`` where there is none.

    Args:
        images: What to read.
        workers: Threads.
        may_skip: Whether an image that cannot be read counts as absent.

    Raises:
        DatasetError: An image cannot be read.
    """

    def some(positions: range) -> list[bytes]:
        return [_digest(images, position, may_skip=may_skip) for position in positions]

    parts = _on_threads(some, count=len(images), workers=workers)
    return [digest for part in parts for digest in part]


def identity(images: IndexedImages, contents: Sequence[bytes], *, size: int, channels: int) -> str:
    """Return the dataset's digest: what its pixels and labels follow from, and no path.

    Args:
        images: What to identify.
        contents: Their digests.
        size: Side of the decoded images, pixels.
        channels: 1 or 3.

    Returns:
        SHA-256 in hex.
    """
    header = {
        "name": images.listing.name,
        "classes": images.listing.classes,
        "train": len(images.listing.train),
        "size": size,
        "channels": channels,
        "decoder": DECODER,
    }
    whole = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    whole.update(images.labels.astype("<i4").tobytes())
    whole.update(b"".join(contents))
    return whole.hexdigest()


def decode(images: IndexedImages, *, size: int, channels: int, workers: int) -> Iterator[Block]:
    """Yield all images in order, decoded ahead on ``workers`` threads."""

    def block(positions: range) -> Block:
        pixels = np.zeros((len(positions), size, size, channels), dtype=np.uint8)
        kinds: dict[int, tuple[str, ...]] = {}
        failures: dict[int, DatasetError] = {}
        for row, position in enumerate(positions):
            examples, index = images.at(position)
            try:
                decoded = examples.read(index, size=size, channels=channels)
                pixels[row], kinds[position] = decoded.pixels, decoded.kinds
            except DatasetError as error:
                failures[position] = error
        return Block(pixels=pixels, kinds=kinds, failures=failures)

    return _on_threads(block, count=len(images), workers=workers)


def _digest(images: IndexedImages, position: int, *, may_skip: bool) -> bytes:
    examples, index = images.at(position)
    try:
        return examples.digest(index)
    except DatasetError:
        if may_skip:
            return ABSENT
        raise


def _on_threads(work: Callable[[range], T], *, count: int, workers: int) -> Iterator[T]:
    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            yield from pool.map(work, blocks)
        finally:
            # After an error nobody wants the rest.
            pool.shutdown(wait=False, cancel_futures=True)
