"""``benchharness data``: what it makes ready, and what it finds damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photographs import save_classes
from safetensors.numpy import save_file

from benchharness.download.manifest import Manifest, write_manifest
from benchharness.files import file_digest
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Network
from benchharness.weights.initial import initial_weights

pytestmark = pytest.mark.slow

SUITE = """
name = "pets"
trials = 1
backends = ["numpy"]

[dataset]
source = "cats_dogs"

[defaults]
image_size = 32
train_images = 8
test_images = 4

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"

[[benchmark]]
name = "small"
strategy = "dataset"
image_size = 16
"""
BOTTLENECK = '\n[[benchmark]]\nname = "bottleneck"\nstrategy = "bottleneck"\n'
WEIGHTS = BACKBONES["vgg16"].releases["imagenet"].file


class Desk:
    """A suite, its data and its cache, and the command that works on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "pets.toml"
        self.suite.write_text(SUITE, encoding="utf-8")
        self.cache = folder / "cache"
        self.data = save_classes(folder / "data", train=4, test=2)
        self.variables = {"BENCHHARNESS_DATA": str(self.data)}

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``benchharness data`` on the suite."""
        hidden = ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        return subprocess.run(
            [sys.executable, "-m", "benchharness", "data", *arguments],
            env=kept | {"BENCHHARNESS_CACHE": str(self.cache)} | self.variables,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def entry(self, size: int) -> Path:
        """Return the prepared images of a size."""
        metas = self.cache.glob("prepared/*/meta.json")
        return next(m.parent for m in metas if json.loads(m.read_text())["shape"][1] == size)


@pytest.fixture
def desk(tmp_path) -> Desk:
    """Return a suite with data, and nothing prepared yet."""
    return Desk(tmp_path)


def test_prepare_decodes_all_that_a_run_reads_and_says_where_it_is(desk):
    """Each size with its number of images, its bytes and its place; the second time at once."""
    first = desk.call("prepare", str(desk.suite))
    second = desk.call("prepare", str(desk.suite))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    for size in (32, 16):
        line = next(line for line in first.stdout.splitlines() if f"images of {size} px" in line)
        assert f": 12, 0.0 MB in {desk.entry(size)}, decoded in " in line
    assert second.stdout.count("already decoded") == 2
    assert f"data: photographs, class folders in data (train, test), at {desk.data}" in first.stderr


def test_prepare_without_data_is_an_error_with_its_remedy(desk):
    """Offline, the message says that nothing was downloaded, and what to do."""
    desk.variables = {}

    done = desk.call("prepare", str(desk.suite), "--offline")

    assert done.returncode == 1
    assert "not downloaded: offline mode" in done.stderr
    assert "--data DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "certify"])
def test_offline_is_an_option_of_what_reads_data(command):
    """As of ``data prepare``."""
    done = subprocess.run(
        [sys.executable, "-m", "benchharness", command, "--help"], capture_output=True, text=True
    )

    assert "--offline" in done.stdout


def test_verify_finds_whole_what_prepare_made(desk):
    """Every image is decoded once more."""
    desk.call("prepare", str(desk.suite))

    done = desk.call("verify", str(desk.suite))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"ok: images of 32 px: 12 decoded, as in {desk.entry(32)}",
        f"ok: images of 16 px: 12 decoded, as in {desk.entry(16)}",
    ]


def test_verify_names_every_damaged_image(desk):
    """All of them, each with what to do."""
    spoilt = [desk.data / "train/cats/cats.1.jpg", desk.data / "test/dogs/dogs.0.jpg"]
    for path in spoilt:
        path.write_bytes(path.read_bytes()[:200])

    done = desk.call("verify", str(desk.suite))

    assert done.returncode == 1
    assert "DAMAGED (2): images of 32 px: 12 decoded, not prepared yet" in done.stdout
    for path in spoilt:
        assert f"error: {path}: expected a readable image" in done.stderr
    assert "repair or remove the file" in done.stderr


def test_verify_finds_pixels_that_decoding_does_not_give(desk):
    """A bit that flipped in the cache: the image and the remedy are named."""
    desk.call("prepare", str(desk.suite))
    images = np.load(desk.entry(32) / "images.npy", mmap_mode="r+")
    images[5] ^= 1
    images.flush()

    done = desk.call("verify", str(desk.suite))

    assert done.returncode == 1
    assert f"error: {desk.entry(32)}: expected " in done.stderr
    assert "dogs.1.jpg as decoding gives it, found other pixels; remove the folder" in done.stderr
    assert f"ok: images of 16 px: 12 decoded, as in {desk.entry(16)}" in done.stdout


@pytest.mark.parametrize("name", ["labels.npy", "meta.json"])
def test_verify_finds_a_prepared_folder_that_cannot_be_opened(desk, name):
    """What a full disk may have left."""
    desk.call("prepare", str(desk.suite))
    (desk.entry(16) / name).write_bytes(b"")

    done = desk.call("verify", str(desk.suite))

    assert done.returncode == 1
    assert "remove the folder and prepare again" in done.stderr


def test_verify_holds_downloads_against_their_digests(desk):
    """A file that changed, and a remedy with the folder to remove."""
    folder = desk.cache / "downloads/clothes"
    folder.mkdir(parents=True)
    (folder / "a.gz").write_bytes(b"published")
    digests = {"a.gz": file_digest(folder / "a.gz")}
    write_manifest(folder, Manifest(source="a.gz from example.org", remark="", files=digests))
    whole = desk.call("verify", str(desk.suite))
    (folder / "a.gz").write_bytes(b"publishes")

    spoilt = desk.call("verify", str(desk.suite))

    assert (whole.returncode, spoilt.returncode) == (0, 1)
    assert f"ok: download clothes: 1 file in {folder}" in whole.stdout
    assert f"error: {folder / 'a.gz'}: expected SHA-256" in spoilt.stderr
    assert f"remove {folder} and run: benchharness data prepare SUITE" in spoilt.stderr


def test_weights_are_made_ready_and_verified_too(desk):
    """Where they are, for which inputs; and read in full."""
    network = Network(input_shape=(64, 64, 3), layers=BACKBONES["vgg16"].layers)
    desk.suite.write_text(SUITE + BOTTLENECK, encoding="utf-8")
    desk.variables["BENCHHARNESS_WEIGHTS"] = str(desk.folder)
    arrays = initial_weights(network, seed=1)
    save_file(arrays, desk.folder / WEIGHTS)

    ready = desk.call("prepare", str(desk.suite))
    whole = desk.call("verify", str(desk.suite))
    del arrays["block5_conv3/kernel"]
    save_file(arrays, desk.folder / WEIGHTS)
    spoilt = desk.call("verify", str(desk.suite))

    assert "weights of vgg16, release imagenet, for caffe_bgr inputs: 58.9 MB in" in ready.stdout
    assert f"ok: weights of vgg16, release imagenet: {desk.folder / WEIGHTS}" in whole.stdout
    assert (whole.returncode, spoilt.returncode) == (0, 1)
    assert "expected an array block5_conv3/kernel" in spoilt.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "--help"], ["verify", "--help"]])
def test_help_imports_nothing_heavy(desk, arguments):
    """Help is instant."""
    code = (
        "import sys\nfrom benchharness.cli import cli\n"
        f"cli.main({['data', *arguments]!r}, standalone_mode=False)\n"
        "print(sorted({'numpy', 'requests', 'h5py', 'pydantic'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "[]"
