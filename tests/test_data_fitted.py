"""What is fitted to training images is fitted once, and read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchharness.data import preprocessing as module
from benchharness.data.prepared import Prepared, prepare
from benchharness.data.preprocessing import fitted
from benchharness.data.synthetic import synthetic_images


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """Forty drawn pictures, sixteen pixels wide."""
    return prepare(
        synthetic_images(cache_dir=tmp_path / "cache", train=32, test=8, seed=1),
        size=16,
        channels=3,
        train_images=None,
        test_images=None,
        validation=0.25,
        seed=0,
        cache_dir=tmp_path / "cache",
        workers=1,
        on_bad_image="error",
    )


@pytest.mark.parametrize("name", ["unit", "caffe_bgr", "imagenet_rgb", "standard", "zca"])
def test_what_is_read_back_is_what_was_fitted(prepared: Prepared, name: str):
    """Every constant, to the last bit."""
    first, second = fitted(name, prepared), fitted(name, prepared)

    assert (second.name, second.order, second.mean, second.scale) == (
        first.name,
        first.order,
        first.mean,
        first.scale,
    )
    if name == "zca":
        assert np.array_equal(second.whitening.basis, first.whitening.basis)
        assert np.array_equal(second.whitening.gain, first.whitening.gain)
        assert np.array_equal(second.whitening.mean, first.whitening.mean)
    else:
        assert second.whitening is None


def test_nothing_is_fitted_twice(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    """The second worker reads."""
    fitted("zca", prepared)
    monkeypatch.setattr(module, "fit", lambda *arguments, **options: pytest.fail("fitted again"))

    assert fitted("zca", prepared).whitening is not None


def test_another_training_split_is_fitted_anew(prepared: Prepared):
    """Constants follow the images that are trained on, and no others."""
    whole = fitted("standard", prepared)
    fewer = replace(prepared, splits={**prepared.splits, "train": prepared.splits["train"][:5]})

    assert fitted("standard", fewer).mean != whole.mean


def test_a_damaged_file_is_fitted_again(prepared: Prepared):
    """A file cut short is no preprocessing."""
    whole = fitted("zca", prepared)
    (file,) = (prepared.folder.parent.parent / "fitted").iterdir()
    file.write_bytes(file.read_bytes()[:50])

    assert np.array_equal(fitted("zca", prepared).whitening.gain, whole.whitening.gain)
