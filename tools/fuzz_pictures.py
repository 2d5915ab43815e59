"""Damages pictures in every way, and lets every source read them.

``python tools/fuzz_pictures.py --count 2000`` makes class folders of photographs, spoils some of
them, and runs ``benchharness data prepare`` on them. Nothing may crash, hang or go unnamed: each
picture is either decoded or named, as the suite's policy says. The same files are then read one by
one, as flat files, as cats and dogs, and as the user's own; damaged IDX files go the same way.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchharness.data import cats_dogs, fashion_mnist, folder
from benchharness.data.folder import user_images
from benchharness.data.images import read_image
from benchharness.data.listing import Listing
from benchharness.data.prepared import prepare_images
from benchharness.errors import DatasetError

CLASSES = ("cats", "dogs")
FORMATS: dict[str, tuple[str, ...]] = {
    "jpg": ("RGB", "L", "CMYK"),
    "png": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16"),
    "gif": ("P", "L"),
    "bmp": ("RGB", "L", "P"),
    "webp": ("RGB", "RGBA"),
    "tiff": ("RGB", "L", "CMYK", "1", "I;16"),
}
SUITE = """name = "damaged"
backends = ["numpy"]
[dataset]
source = "folder"
path = "pictures"
on_bad_image = "{policy}"
[defaults]
image_size = 16
[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
"""
IMAGE_S = 20.0


def photograph(draw: random.Random, mode: str) -> Image.Image:
    """Return a small picture."""
    width, height = draw.randrange(1, 90), draw.randrange(1, 90)
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (5, 5, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    return image.convert(mode)


def stored(draw: random.Random) -> tuple[str, bytes]:
    """Return the suffix and the bytes of a whole picture in any format and mode."""
    suffix = draw.choice([*FORMATS])
    image, sink = photograph(draw, draw.choice(FORMATS[suffix])), io.BytesIO()
    options: dict[str, object] = {"format": "JPEG" if suffix == "jpg" else suffix.upper()}
    if suffix == "jpg":
        options |= {"progressive": draw.random() < 0.5, "quality": draw.randrange(5, 96)}
    if suffix == "tiff":
        options["compression"] = draw.choice([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    if suffix in ("gif", "webp", "tiff") and draw.random() < 0.3:
        options |= {"save_all": True, "append_images": [image]}
    image.save(sink, **options)  # type: ignore[arg-type]
    return suffix, sink.getvalue()


def cut(draw: random.Random, data: bytes) -> bytes:
    """Return the beginning of a file, as broken transfers leave it."""
    return data[: draw.randrange(len(data))]


def flipped(draw: random.Random, data: bytes) -> bytes:
    """Return a file with some bits turned."""
    spoilt = bytearray(data)
    for _ in range(draw.choice([1, 3, 30])):
        spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
    return bytes(spoilt)


def flipped_head(draw: random.Random, data: bytes) -> bytes:
    """Return a file whose header lies: sizes, depths and offsets stand there."""
    spoilt = bytearray(data)
    for _ in range(draw.choice([1, 2, 6])):
        spoilt[draw.randrange(min(64, len(spoilt)))] = draw.choice([0, 1, 127, 128, 255])
    return bytes(spoilt)


def holed(draw: random.Random, data: bytes) -> bytes:
    """Return a file with a stretch of zeros, as a lost sector leaves it."""
    start, length = draw.randrange(len(data)), draw.randrange(1, 512)
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def spliced(draw: random.Random, data: bytes) -> bytes:
    """Return the head of one file and the tail of another."""
    _, other = stored(draw)
    return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]


def repeated(draw: random.Random, data: bytes) -> bytes:
    """Return a file with a part of it twice."""
    start = draw.randrange(len(data))
    end = draw.randrange(start, len(data))
    return data[:end] + data[start:]


def foreign(draw: random.Random, data: bytes) -> bytes:
    """Return what is no picture at all, or claims to be far too large."""
    huge = struct.pack(">II5B", 20_000, 20_000, 8, 2, 0, 0, 0)
    return draw.choice(
        [
            b"",
            b"\0" * 100,
            b"just a note\n",
            b"<html></html>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + huge + data,
            draw.randbytes(300),
            gzip.compress(data),
        ]
    )


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    cut, cut, flipped, flipped, flipped_head, flipped_head, holed, spliced, repeated, foreign,
)  # fmt: skip


def written(root: Path, *, count: int, seed: int) -> list[Path]:
    """Write damaged pictures beside two whole ones in each class and split, and return them."""
    draw = random.Random(seed)
    damaged = []
    for number in range(count):
        suffix, data = stored(draw)
        name = CLASSES[number % 2]
        split = "test" if number % 10 > 7 else "train"
        path = root / split / name / f"{name}.{number:05d}.{draw.choice([suffix, 'jpg'])}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.choice(DAMAGES)(draw, data))
        damaged.append(path)
    for start, split in ((90_000, "train"), (95_000, "test")):
        for name in CLASSES:
            for number in range(start, start + 2):
                path = root / split / name / f"{name}.{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                photograph(draw, "RGB").save(path)
    return damaged


def prepared(place: Path, *, policy: str) -> tuple[int, str]:
    """Return exit code and standard error of the command that prepares the pictures."""
    suite = place / f"{policy}.toml"
    suite.write_text(SUITE.format(policy=policy), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "benchharness", "data", "prepare", str(suite)],
        env={**os.environ, "BENCHHARNESS_CACHE": str(place / "cache"), "BENCHHARNESS_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def unreadable(paths: list[Path]) -> Iterator[tuple[Path, str, float]]:
    """Yield each picture that is refused, with the reason, and each with the time that it took."""
    for path in paths:
        started_s, reason = time.perf_counter(), ""
        try:
            read_image(path, size=16, channels=3)
        except DatasetError as error:
            reason = str(error)
        yield path, reason, time.perf_counter() - started_s


def skipped_in(listing: Listing, cache: Path) -> set[str]:
    """Return the names of a listing's pictures that preparing leaves out."""
    found = prepare_images(
        listing, size=16, validation=0.0, seed=0,
        cache_dir=cache, workers=2, on_bad_image="skip",
    )  # fmt: skip
    return {Path(name).name for name in found.skipped}


def idx_objections(place: Path, *, count: int, seed: int) -> Iterator[str]:
    """Yield what is wrong with how damaged IDX files are taken."""
    draw = random.Random(seed)
    place.mkdir()
    whole = {}
    for part, images in (("train", 60_000), ("t10k", 10_000)):
        pictures = struct.pack(">4I", 0x0803, images, 28, 28) + bytes(images * 784)
        labels = struct.pack(">2I", 0x0801, images) + bytes(index % 10 for index in range(images))
        whole[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(pictures, 1)
        whole[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(labels, 1)
    for number in range(count):
        for name, data in whole.items():
            (place / name).write_bytes(data)
        name = draw.choice([*whole])
        spoil = draw.choice([cut, flipped, flipped_head, holed, lambda draw, data: b""])
        (place / name).write_bytes(spoil(draw, whole[name]))
        try:
            fashion_mnist.FashionMnist().read(place)
        except DatasetError as error:
            if name.split("-idx")[0].split("-")[0] not in str(error):
                yield f"IDX {number}: {name} is not named: {error}"


def objections(place: Path, *, count: int, seed: int) -> Iterator[str]:
    """Make the pictures, let everything read them, and yield what is wrong."""
    root = place / "pictures"
    damaged = written(root, count=count, seed=seed)
    code, said = prepared(place, policy="skip")
    if code != 0 or "Traceback" in said:
        yield f"skip: exit {code}: {said}"
    verdicts = list(unreadable(damaged))
    refused = {path.name for path, reason, _ in verdicts if reason}
    yield from (f"{p}: not named: {why}" for p, why, _ in verdicts if why and str(p) not in why)
    yield from (f"{p}: took {spent:.0f} s" for p, _, spent in verdicts if spent > IMAGE_S)
    if refused and f"skipped {len(refused)} unreadable images" not in said:
        yield f"skip: expected {len(refused)} left out, found: {said}"
    code, said = prepared(place, policy="error")
    if refused and not (code == 1 and any(name in said for name in refused)):
        yield f"error: exit {code}: {said}"
    sources = {"folder": folder.folder(root), "own": user_images(root, seed=0)}
    mixed = place / "flat"
    mixed.mkdir()
    for path in root.glob("*/*/*"):
        (mixed / path.name.replace("cats.", "cat.").replace("dogs.", "dog.")).symlink_to(path)
    sources["flat"] = folder.flat(mixed)
    sources["cats_dogs"] = cats_dogs.cats_dogs(mixed)
    for name, listing in sources.items():
        found = {file.replace("cat.", "cats.").replace("dog.", "dogs.")
                 for file in skipped_in(listing, place / "cache")}  # fmt: skip
        if found != refused:
            yield f"{name}: expected {len(refused)} left out, found {len(found)}"
    slowest = max(verdicts, key=lambda file: file[2])
    print(f"{count:,} damaged pictures: {len(refused):,} refused by name, "
          f"{count - len(refused):,} decoded; slowest {1000 * slowest[2]:.0f} ms")  # fmt: skip


def main() -> int:
    """Try everything, and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--idx", type=int, default=100, help="Damaged sets of IDX files.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        wrong = [
            *objections(Path(place), count=options.count, seed=options.seed),
            *idx_objections(Path(place, "idx"), count=options.idx, seed=options.seed),
        ]
    for line in wrong:
        print(line)
    print(f"{options.idx} damaged sets of IDX files; {len(wrong)} wrong in all")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
