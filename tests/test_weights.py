"""Initial and pretrained weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchharness.errors import WeightsError
from benchharness.model.backbones import BACKBONES
from benchharness.model.network import Conv, Dense, Flatten, Network
from benchharness.weights.initial import initial_weights
from benchharness.weights.pretrained import find_pretrained, read_pretrained
from benchharness.weights.store import read_arrays, write_arrays

VGG16 = BACKBONES["vgg16"].releases
FILE = VGG16["imagenet"].file
SMALL = Network(
    input_shape=(5, 5, 3),
    layers=(Conv(name="c", filters=4), Flatten(name="f"), Dense(name="d", units=50)),
)


def test_initial_kernels_are_glorot_uniform_and_biases_zero():
    """Uniform within sqrt(6 / (fan_in + fan_out)), the fans of a convolution times its area."""
    weights = initial_weights(SMALL, seed=1)

    for name, fans in {"c/kernel": 9 * 3 + 9 * 4, "d/kernel": 36 + 50}.items():
        limit = math.sqrt(6 / fans)
        assert np.abs(weights[name]).max() <= limit
        assert weights[name].std() == pytest.approx(limit / math.sqrt(3), rel=0.15)
        assert weights[name].dtype == np.float32
    assert not weights["c/bias"].any()


def test_initial_weights_depend_on_seed_and_name_alone():
    """A layer starts alike in every network that holds it, and other seeds differ."""
    longer = SMALL.then((Dense(name="e", units=2),))

    again = initial_weights(longer, seed=1)["d/kernel"]

    np.testing.assert_array_equal(again, initial_weights(SMALL, seed=1)["d/kernel"])
    assert (again != initial_weights(SMALL, seed=2)["d/kernel"]).any()


def test_pretrained_weights_are_found_by_folder_or_file_with_their_digest(tmp_path: Path):
    """BENCHHARNESS_WEIGHTS may name the folder or the file; a suite's path wins over it."""
    file = tmp_path / FILE
    save_file({"c/kernel": np.zeros(1, np.float32)}, file)
    environments = [{"BENCHHARNESS_WEIGHTS": str(place)} for place in (tmp_path, file)]
    found = [
        find_pretrained("vgg16", VGG16, path=None, environment=environment, fallback=None)
        for environment in environments
    ]
    named = find_pretrained(
        "vgg16", VGG16, path=file, environment={"BENCHHARNESS_WEIGHTS": "/nowhere"}, fallback=None
    )

    assert {one.digest for one in [*found, named]} == {found[0].digest}
    assert len(found[0].digest) == 64
    assert not found[0].is_random


def test_a_named_file_that_is_not_there_is_an_error_even_with_a_fallback(tmp_path: Path):
    """Who names a file means that file."""
    with pytest.raises(WeightsError, match="missing"):
        find_pretrained(
            "vgg16", VGG16, path=tmp_path / "missing.safetensors", environment={}, fallback="random"
        )


def test_without_a_file_the_fallback_is_random_and_says_why():
    """The reason is announced; without a fallback the error names both remedies."""
    found = find_pretrained("vgg16", VGG16, path=None, environment={}, fallback="random")

    assert found.is_random
    assert "BENCHHARNESS_WEIGHTS" in found.reason
    with pytest.raises(WeightsError, match=r"BENCHHARNESS_WEIGHTS.*weights_fallback"):
        find_pretrained("vgg16", VGG16, path=None, environment={}, fallback=None)


def _stored(tmp_path: Path, arrays: dict[str, np.ndarray]):
    file = tmp_path / FILE
    save_file(arrays, file)
    return find_pretrained("vgg16", VGG16, path=file, environment={}, fallback=None)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path):
    """A small file may hold float16."""
    arrays = {
        name: array.astype(np.float16) for name, array in initial_weights(SMALL, seed=1).items()
    }

    read = read_pretrained(_stored(tmp_path, arrays), SMALL)

    assert {array.dtype for array in read.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(read["c/kernel"], arrays["c/kernel"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kernel: kernel.transpose(3, 2, 0, 1), r"c/kernel.*\(3, 3, 3, 4\).*\(4, 3, 3, 3\)"),
        (None, "c/kernel, found none"),
    ],
)
def test_arrays_that_are_missing_or_of_another_shape_are_named(tmp_path: Path, change, message):
    """The array, its shape and the expected one; half a network is not a network."""
    arrays = initial_weights(SMALL, seed=1)
    kernel = arrays.pop("c/kernel")
    if change:
        arrays["c/kernel"] = np.ascontiguousarray(change(kernel))

    with pytest.raises(WeightsError, match=message):
        read_pretrained(_stored(tmp_path, arrays), SMALL)


def test_a_pickle_is_refused_not_loaded(tmp_path: Path):
    """Whatever the file is called, nothing in it is run."""
    trap = tmp_path / "trap"
    file = tmp_path / FILE
    file.write_bytes(b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR.")
    found = find_pretrained("vgg16", VGG16, path=file, environment={}, fallback=None)

    with pytest.raises(WeightsError, match="safetensors"):
        read_pretrained(found, SMALL)
    assert not trap.exists()


def test_stored_weights_come_back_bit_for_bit(tmp_path: Path):
    """A head that another benchmark starts from is the head that was trained."""
    weights = initial_weights(SMALL, seed=4)
    write_arrays(tmp_path / "head.safetensors", weights)

    read = read_arrays(tmp_path / "head.safetensors")

    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
    assert [file.name for file in tmp_path.iterdir()] == ["head.safetensors"]
