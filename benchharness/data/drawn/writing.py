"""Drawn pictures as files: class folders of JPEGs, like a data set that was downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchharness.data.drawn.picture import draw

# Part of the cache's path and so of a data set's identity: raise it when any picture changes.
VERSION = 1
_CLASSES = ("cat", "dog")
_SPLITS = ("train", "test")


def write_drawn(
    folder: Path,
    *,
    train: int,
    test: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write train/cats/cat.0.jpg, train/dogs/dog.0.jpg, ..., test/cats/..., test/dogs/...

    A picture depends on seed, split, class and index alone, so asking for more pictures leaves
    the first ones as they were. Bytes repeat on one machine with the same NumPy and Pillow.

    Args:
        folder: Made if it is missing.
        train: Training pictures of both classes together; cats get the odd one.
        test: Test pictures of both classes together; cats get the odd one.
        seed: From 0.
        progress: Called with pictures done and pictures in all.
    """
    done = 0
    for split, total in enumerate((train, test)):
        for label, name in enumerate(_CLASSES):
            home = folder / _SPLITS[split] / f"{name}s"
            home.mkdir(parents=True, exist_ok=True)
            for index in range((total + 1 - label) // 2):
                rng = np.random.default_rng([seed, split, label, index])
                _save(home / f"{name}.{index}.jpg", label, rng)
                done += 1
                if progress is not None:
                    progress(done, train + test)


def _save(path: Path, label: int, rng: np.random.Generator) -> None:
    picture = draw(label, rng)
    picture.save(path, quality=int(rng.integers(60, 96)))
