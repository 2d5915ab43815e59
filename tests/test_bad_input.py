"""Pictures, files and suites that no one should have to cope with, and everyone meets."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from photographs import picture, prepared_of, save_classes
from PIL import Image
from suite_files import CNN, PETS, problems_of, suite_of

from benchharness.data.fashion_mnist import FashionMnist
from benchharness.data.folder import folder
from benchharness.data.images import read_image, sample_channels
from benchharness.data.prepared import Prepared, check_images
from benchharness.errors import DatasetError, SuiteError
from benchharness.report.table import inputs_text
from benchharness.run.messages import dataset_messages
from benchharness.suite.resolve import resolve

TOOLS = Path(__file__).parent.parent / "tools"


def ready(root: Path, cache: Path, **policy: str) -> Prepared:
    """Prepare class folders, everything else at rest."""
    return prepared_of(folder(root), cache, **policy)


def refusal(path: Path) -> str:
    """Return what reading a picture says against it."""
    with pytest.raises(DatasetError) as caught:
        read_image(path, size=16, channels=3)
    return str(caught.value)


def png_head(width: int, height: int) -> bytes:
    """Return a PNG that claims to be so large, and holds no pixel."""
    chunks = (b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "found: an empty file"),
        (b"just a note\n", "found: none of JPEG, PNG, BMP, GIF, WEBP, TIFF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "found: SVG"),
        (png_head(20_000, 20_000), "found: .*400000000 pixels"),
    ],
)
def test_what_is_no_picture_is_named_with_what_it_is(tmp_path: Path, content: bytes, reason: str):
    """Where, what was found, and both remedies."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)

    found = refusal(path)

    assert found.startswith(f"{path}: expected a readable image, ")
    assert re.search(reason, found)
    assert found.endswith('repair or remove the file, or set on_bad_image = "skip"')


def test_a_real_picture_of_20000_pixels_a_side_is_refused_at_once(tmp_path: Path):
    """A bomb: 50 kB on disk, 400 MB of grey in memory."""
    path = tmp_path / "poster.png"
    Image.new("1", (20_000, 20_000)).save(path)
    started_s = time.process_time()

    found = refusal(path)

    assert "pixels" in found
    assert time.process_time() - started_s < 2.0


def test_a_picture_of_one_pixel_fills_its_square(tmp_path: Path):
    """Small is not damaged."""
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (10, 20, 30)).save(path)

    assert (read_image(path, size=16, channels=3).pixels == (10, 20, 30)).all()


def test_postscript_is_never_run(tmp_path: Path):
    """Pillow would hand such a file to Ghostscript, which is an interpreter."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(path) as image:
        as_pillow_has_it = image.format

    assert as_pillow_has_it == "EPS"
    assert "found: none of JPEG" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "reason"), [("pipe", "a pipe or a device"), ("folder", "Is a directory")]
)
def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path, kind: str, reason: str):
    """A pipe called cat.jpg would be read without end; it is skipped or named."""
    root = save_classes(tmp_path / "data", train=3, test=2)
    path = root / "train" / "cats" / "pipe.jpg"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()

    assert sample_channels([path, path]) == 3
    assert f"found: {reason}" in refusal(path)
    if kind == "pipe":
        with pytest.raises(DatasetError, match=r"pipe\.jpg: expected a readable file"):
            ready(root, tmp_path / "cache")
        assert ready(root, tmp_path / "cache", on_bad_image="skip").skipped == (str(path),)


def idx_set(root: Path) -> Path:
    """Write four IDX files of the right shape."""
    for part, images in (("train", 60_000), ("t10k", 10_000)):
        pixels = struct.pack(">4I", 0x0803, images, 28, 28) + bytes(images * 784)
        labels = struct.pack(">2I", 0x0801, images) + bytes(n % 10 for n in range(images))
        (root / f"{part}-images-idx3-ubyte").write_bytes(pixels)
        (root / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return root


def test_idx_files_are_read_no_further_than_they_should_reach(tmp_path: Path):
    """Empty ones, and an archive that unpacks to gigabytes: named, and the memory stays ours."""
    name = idx_set(tmp_path) / "train-labels-idx1-ubyte"
    name.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"train-labels-idx1-ubyte: .*found 0 bytes, beginning"):
        FashionMnist().read(tmp_path)
    name.unlink()
    bomb = gzip.compress(bytes(50_000_000), 9)
    name.with_suffix(".gz").write_bytes(bomb * 40)

    with pytest.raises(DatasetError, match=r"train-labels-idx1-ubyte\.gz: .*found more, beginning"):
        FashionMnist().read(tmp_path)


def leaky(root: Path) -> Path:
    """Write class folders in which two pictures of the test are for training too."""
    save_classes(root, train=4, test=3)
    for number in range(2):
        twin = (root / "train" / "dogs" / f"dogs.{number}.jpg").read_bytes()
        (root / "test" / "cats" / f"cats.{number}.jpg").write_bytes(twin)
    return root


def test_the_same_picture_in_training_and_test_is_reported(tmp_path: Path):
    """Both names, whatever the class; the pictures stay, as they were asked for."""
    found = ready(leaky(tmp_path / "data"), tmp_path / "cache")

    names = [(Path(test).name, Path(train).name) for test, train in found.leaks]
    assert names == [("cats.0.jpg", "dogs.0.jpg"), ("cats.1.jpg", "dogs.1.jpg")]
    assert len(found.splits["test"]) == 6


def test_the_same_picture_in_training_and_test_can_be_refused(tmp_path: Path):
    """Each time, whether the cache has the images or not."""
    root = leaky(tmp_path / "data")

    for _ in range(2):
        with pytest.raises(DatasetError, match=r"cats\.0\.jpg: .*dogs\.0\.jpg \(2 such in all\)"):
            ready(root, tmp_path / "cache", on_leak="error")


def test_unreadable_twins_are_no_leak(tmp_path: Path):
    """Two empty files are equal, and in no split."""
    root = save_classes(tmp_path / "data", train=4, test=3)
    for split in ("train", "test"):
        (root / split / "cats" / "empty.jpg").touch()

    found = ready(root, tmp_path / "cache", on_bad_image="skip", on_leak="error")

    assert len(found.skipped) == 2
    assert found.leaks == ()


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 test image also occurs in the training set"), (2, "2 test images also occur in the")],
)
def test_leaks_are_a_warning_before_the_run_and_above_its_table(count: int, words: str):
    """Who reads the scores should know."""
    dataset = {
        "name": "pets", "origin": "somewhere", "notes": [], "slices": [], "converted": {},
        "majority_share": 0.5, "classes": ["a", "b"], "is_real": True, "mended": [],
        "leaks": {"count": count, "first": [["test/a.jpg", "train/b.jpg"]]},
    }  # fmt: skip

    lines = list(dataset_messages(dataset))

    assert lines[-1].startswith(f"WARNING: {words}")
    assert "test/a.jpg is train/b.jpg" in lines[-1]
    assert words in inputs_text({"dataset": dataset})


def test_verifying_does_not_stop_at_damage(tmp_path: Path):
    """Every bad picture is a line, whatever is wrong with it."""
    root = save_classes(tmp_path / "data", train=3, test=2)
    ready(root, tmp_path / "cache")
    paths = folder(root).train.paths
    paths[0].write_bytes(b"")
    paths[1].write_bytes(b"note")

    found = check_images(
        folder(root), size=16, cache_dir=tmp_path / "cache", workers=2
    )  # fmt: skip

    assert [str(path) in line for path, line in zip(paths, found.damages, strict=False)] == [
        True
    ] * 2


ABSURD = [
    "0",
    "-1",
    "1_000_000_000_000",
    "1e12",
    "nan",
    "inf",
    "9223372036854775808",
    '"50"',
    "true",
]


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("key", ["batch_size", "image_size", "epochs", "dense", "threads"])
def test_numbers_that_no_one_can_mean_are_refused_by_key(tmp_path: Path, key: str, value: str):
    """One line each, with the key and what was found there."""
    (line,) = problems_of(tmp_path, f"{PETS}{CNN}{key} = {value}\n")

    assert line.startswith(f'benchmark "cnn": {key}: expected ')


@pytest.mark.parametrize(
    ("key", "value"), [("trials", value) for value in ABSURD] + [("seed", v) for v in ABSURD[1:]]
)
def test_counts_of_a_suite_are_bounded_too(tmp_path: Path, key: str, value: str):
    """A suite cannot ask for a million years by a slip."""
    text = f"{key} = {value}\n" + PETS.replace("seed = 7\n", "") + CNN

    (line,) = problems_of(tmp_path, text)

    assert line.startswith(f"{key}: expected ") or line.startswith(f"{key}: expected numbers")


def test_ten_thousand_trials_are_planned_in_a_second(tmp_path: Path):
    """A thousand points, ten trials each: from the file to the order in which they run."""
    axes = f"batch_size = {list(range(1, 41))}\ndense = {list(range(1, 26))}\n"
    text = f"trials = 5\n{PETS}{CNN}[benchmark.matrix]\n{axes}"
    started_s = time.process_time()

    trials = resolve(suite_of(tmp_path, text), profile=None).trials()

    assert len(trials) == 10_000
    assert time.process_time() - started_s < 5.0


def test_more_combinations_than_anyone_would_run_are_refused(tmp_path: Path):
    """The number is reported, and no list of that length is ever made."""
    axes = "".join(
        f"{key} = {list(range(8, 408))}\n" for key in ("batch_size", "dense", "image_size")
    )

    with pytest.raises(SuiteError, match="at most 1000 combinations, found 64000000"):
        suite_of(tmp_path, f"{PETS}{CNN}[benchmark.matrix]\n{axes}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fuzz_suites.py", "--count", "100", "--seed", "1"],
        ["fuzz_pictures.py", "--count", "100", "--idx", "2", "--seed", "1"],
    ],
)
def test_campaigns_find_nothing(arguments: list[str]):
    """A short run of what tools/ does at length."""
    done = subprocess.run(
        [sys.executable, str(TOOLS / arguments[0]), *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=1800,
    )

    assert done.returncode == 0, done.stdout
    assert "0 wrong" in done.stdout


def test_a_photograph_is_the_same_however_it_is_opened(tmp_path: Path):
    """The guards before decoding change no pixel."""
    path = tmp_path / "cat.jpg"
    picture(seed=3).save(path)

    with Image.open(path) as image:
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))

    assert np.array_equal(read_image(path, size=16, channels=3).pixels, expected)
