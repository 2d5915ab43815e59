"""The embedded backbone: what its file holds, how it came about, what it is good for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors import safe_open
from zoo import KINDS

from benchharness import load_results
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Network
from benchharness.weights.pretrained import Pretrained, find_pretrained, read_pretrained

SCRIPT = Path(__file__).parent.parent / "tools" / "pretrain_vgg_mini.py"
VGG_MINI = BACKBONES["vgg_mini"]
NETWORK = Network(input_shape=(48, 48, 3), layers=VGG_MINI.layers)

# Few pictures to learn from, many to be tested on, and epochs enough for a network that learns
# from scratch to know the few by heart.
SUITE = """
name = "mini"
trials = 1
seed = 7
backends = ["keras", "torch"]

[dataset]
source = "drawn"

[defaults]
threads = 1
image_size = 48
train_images = 200
test_images = 400
batch_size = 10
dense = 128
epochs = 24

[[benchmark]]
name = "simple_cnn"
strategy = "simple_cnn"
filters = [16, 32, 64, 64]
pool = "each"
preprocessing = "standard"

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
backbone = "vgg_mini"
preprocessing = "pretrained"
epochs = 12
"""


@pytest.fixture(scope="module")
def embedded() -> Pretrained:
    """Return where the weights are on a machine with nothing but the package."""
    return find_pretrained("vgg_mini", VGG_MINI.releases, path=None, environment={}, fallback=None)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script that makes the weights, as a module."""
    spec = importlib.util.spec_from_file_location("pretrain_vgg_mini", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Data classes look for the module that they are written in.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def stored(path: Path | None) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """Return a file's arrays as they are stored, and its metadata."""
    with safe_open(str(path), framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_the_file_holds_the_networks_arrays_in_half_precision_and_no_more(embedded: Pretrained):
    """Names and shapes are those of the layers, values are finite, the file is 2 MB at most."""
    arrays, _ = stored(embedded.path)

    shapes = {name: parameter.shape for name, parameter in NETWORK.parameters().items()}
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert embedded.path is not None and embedded.path.stat().st_size <= 2_000_000


def test_the_file_says_how_it_came_about(embedded: Pretrained):
    """Metadata name the script, the seed, what was learnt and how well, and the inputs."""
    _, metadata = stored(embedded.path)

    assert metadata["script"] == f"tools/{SCRIPT.name}"
    assert metadata["preprocessing"] == embedded.preprocessing == "imagenet_rgb"
    assert metadata["kinds"].split(", ") == list(KINDS)
    assert float(metadata["upstream_top1"]) > 0.7
    assert {"what", "seed", "pictures", "sizes", "layout", "torch"} <= set(metadata)


def test_the_weights_are_read_as_float32(embedded: Pretrained):
    """Backends get the stored values, in the precision that they compute in."""
    arrays, _ = stored(embedded.path)

    read = read_pretrained(embedded, NETWORK)

    for name, array in arrays.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.full
def test_the_script_writes_such_a_file_and_a_seed_repeats_it(tmp_path: Path):
    """Two small runs end with the same values, of the embedded file's names and shapes."""
    files = [tmp_path / name for name in ("first.safetensors", "second.safetensors")]
    for file in files:
        command = [sys.executable, SCRIPT, "--smoke", "--seed", "3", "--out", file]
        subprocess.run(command, check=True, capture_output=True, timeout=900)

    (first, metadata), (second, repeated) = (stored(file) for file in files)
    assert metadata == repeated and metadata["seed"] == "3"
    shapes = {name: parameter.shape for name, parameter in NETWORK.parameters().items()}
    assert {name: array.shape for name, array in first.items()} == shapes
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.full
def test_folding_the_normalisation_in_leaves_the_features_as_they_were(script: ModuleType):
    """The network with batch normalisation and the one without give the same feature maps."""
    import torch

    torch.manual_seed(1)
    blocks = script.Blocks()
    with torch.no_grad():
        for parameter in blocks.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
        # A look at some images moves the means and variances away from 0 and 1.
        blocks(torch.randn(8, 3, 64, 64) * 3 + 1)
        images = torch.randn(4, 3, 64, 64)
        expected = blocks.eval()(images)

        found = script.folded_features(script.fold(blocks), images)

    assert float(expected.std()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


@pytest.mark.full
def test_with_few_pictures_its_features_are_worth_more_than_a_network_from_scratch(
    tmp_path: Path,
):
    """In both backends, bottleneck is at least 10 points of top-1 ahead of the small CNN."""
    suite, results = tmp_path / "mini.toml", tmp_path / "results"
    suite.write_text(SUITE)
    command = [sys.executable, "-m", "benchharness", "run", suite]
    command += ["--no-proof", "--results", results]
    environment = {**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache")}

    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=3600)

    rows = load_results(results / "mini" / "latest")
    cells = rows.set_index(["benchmark", "backend"])
    top1, loss = cells["test_top1"], cells["train_loss"]
    for backend in ("keras", "torch"):
        # Guessing costs 0.69: the small CNN did learn what it was shown.
        assert loss["simple_cnn", backend] < 0.4
        assert top1["bottleneck", backend] >= top1["simple_cnn", backend] + 0.10
