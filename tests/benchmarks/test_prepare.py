"""Cost of preparing a dataset, beside that of decoding alone.

Run with ``pytest tests/benchmarks/test_prepare.py --benchmark-enable``. Photographs come from
$BENCHHARNESS_DATA/cats_dogs where it is set, otherwise the test makes JPEGs of that kind.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchharness.data.folder import folder
from benchharness.data.images import read_image
from benchharness.data.listing import Listing
from benchharness.data.prepared import prepare_images
from benchharness.data.sources import find

SIZE = 150
WORKERS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """Up to 1000 training and 400 test photographs, equally of both classes."""
    place = os.environ.get("BENCHHARNESS_DATA")
    if place:
        listing = find(
            "cats_dogs", path=Path(place), environment={}, cache_dir=Path(place),
            train_images=None, test_images=None, seed=0, fallback=None,
        )  # fmt: skip
        return listing.first(train=1000, test=400)
    made = tmp_path_factory.mktemp("photographs")
    for split, count in (("train", 80), ("test", 20)):
        for name in ("cats", "dogs"):
            _make(made / split / name, count=count)
    return folder(made)


def _make(place: Path, *, count: int) -> None:
    place.mkdir(parents=True)
    rng = np.random.default_rng(len(str(place)))
    for number in range(count):
        coarse = rng.integers(0, 256, (44, 50, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((400, 350), Image.Resampling.BICUBIC)
        picture.save(place / f"{number}.jpg", quality=85)


def test_bare_decoding(benchmark, photographs):
    """The yardstick: every file decoded and resized on the same threads, and thrown away."""
    files = [
        split.name(i) for split in (photographs.train, photographs.test) for i in range(len(split))
    ]

    def decode() -> int:
        with ThreadPoolExecutor(WORKERS) as pool:
            read = pool.map(lambda file: read_image(Path(file), size=SIZE, channels=3), files)
            return sum(image.pixels.shape[0] == SIZE for image in read)

    benchmark.group = "prepare"
    benchmark.extra_info["images"] = len(files)
    count = benchmark.pedantic(decode, rounds=5, iterations=1, warmup_rounds=1)

    assert count == len(files)


def test_preparing_with_a_fresh_cache(benchmark, photographs, tmp_path_factory):
    """Hashing, decoding, writing and syncing; the rate is to reach 85 % of bare decoding."""

    def fresh_cache():
        return (), {"cache_dir": tmp_path_factory.mktemp("cache")}

    def build(*, cache_dir: Path):
        return prepare_images(
            photographs, size=SIZE, validation=0.2, seed=7, cache_dir=cache_dir, workers=WORKERS,
            on_bad_image="error",
        )  # fmt: skip

    benchmark.group = "prepare"
    prepared = benchmark.pedantic(build, setup=fresh_cache, rounds=5, warmup_rounds=1)

    assert len(prepared.images) == len(photographs.train) + len(photographs.test)
    assert prepared.seconds > 0
