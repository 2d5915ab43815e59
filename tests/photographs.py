"""Small real image files for the tests of the data part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchharness.data.listing import Listing
from benchharness.data.prepared import Prepared, prepare_images


def picture(*, seed: int, width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """Return a smooth picture that only ``seed`` and the size decide."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def save(path: Path, *, seed: int, **shape: object) -> Path:
    """Write a picture in the format of the path's suffix, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed=seed, **shape).save(path)
    return path


def save_classes(
    root: Path, *, train: int, test: int, classes: tuple[str, ...] = ("cats", "dogs"), seed: int = 0
) -> Path:
    """Write ``train`` and ``test`` JPEGs for each class, in class folders."""
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                seed += 1
                save(root / split / name / f"{name}.{number}.jpg", seed=seed)
    return root


def prepared_of(listing: Listing, cache: Path, **changes: Any) -> Prepared:
    """Prepare all images of a listing at 16 pixels without validation, unless said otherwise."""
    options: dict[str, Any] = {
        "size": 16, "validation": 0.0, "seed": 0, "workers": 2, "on_bad_image": "error",
    }  # fmt: skip
    listing = replace(listing, channels=changes.pop("channels", listing.channels))
    counts = {part: changes.pop(f"{part}_images", None) for part in ("train", "test")}
    listing = listing.first(**counts)
    return prepare_images(listing, cache_dir=cache, **options | changes)
