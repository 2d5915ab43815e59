"""Programs for a GPU: nothing slow or inexact is in what backends hand to it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.full
PACKAGES = {
    "jax": ("benchharness_jax", "jax"),
    "keras-jax": ("benchharness_keras", "jax"),
    "torch": ("benchharness_torch", "torch"),
    "keras-torch": ("benchharness_keras", "torch"),
    "keras": ("benchharness_keras", "tensorflow"),
}
# By which frameworks multiply matrices, which TF32 may round.
PRODUCTS = {"dot_general", "aten::mm", "aten::bmm", "aten::addmm", "MatMul", "BatchMatMulV2"}


@pytest.fixture(scope="module", params=PACKAGES)
def programs(request: pytest.FixtureRequest) -> Mapping[str, Sequence[str]]:
    """Return the operations of a backend's step, and of its augmentation."""
    if any(importlib.util.find_spec(package) is None for package in PACKAGES[request.param]):
        pytest.skip(f"{request.param} is not installed")
    answer = subprocess.run(
        [sys.executable, Path(__file__).with_name("gpu_programs.py"), request.param],
        capture_output=True,
        text=True,
        check=True,
    )
    found: Mapping[str, Sequence[str]] = json.loads(answer.stdout.splitlines()[-1])
    return {"backend": request.param, **found}


def test_pixels_are_found_without_a_product_of_matrices(programs: Mapping[str, Sequence[str]]):
    """Rounded to TF32, an image of 150 pixels would be read half a pixel away."""
    assert programs["images"]
    assert not PRODUCTS & set(programs["images"])


def test_no_gradient_scatters_values(programs: Mapping[str, Sequence[str]]):
    """XLA's pooling does, which on a GPU goes value by value where it must be deterministic."""
    if "jax" not in programs["backend"]:
        pytest.skip("no program for XLA in the proof")

    assert "convolution" in programs["step"]
    assert "select_and_scatter" not in programs["step"]
    # Those of Optax's loss, a value for each image (Optax 0.2.8).
    assert programs["step"].count("scatter") <= 2
