"""Preprocessing fitted by the core, once, and read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photographs import prepared_of
from safetensors.numpy import save

from benchharness.data import preprocessing as module
from benchharness.data.drawn import synthetic_images
from benchharness.data.prepared import Prepared
from benchharness.data.preprocessing import fit, fitted
from benchharness.errors import DatasetError
from benchharness.model.host import preprocess_on_host


def photographs(count=60, size=8, channels=3, seed=0):
    """Return smooth random images: neighbouring pixels go together, as in photographs."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (count, size, size, channels)).cumsum(axis=1).cumsum(axis=2)
    return np.clip(noise * 8 + 120, 0, 255).astype(np.uint8)


def as_floats(images):
    """Return the images as a backend has them before preprocessing."""
    return images.astype(np.float32)


def test_unit_maps_levels_to_0_and_1():
    """Black is 0, white is 1."""
    levels = np.array([0, 51, 255], dtype=np.float32).reshape(3, 1, 1, 1)
    unit = fit("unit", images=photographs(channels=1), ids=np.arange(3))

    assert preprocess_on_host(levels, unit).ravel() == pytest.approx([0, 0.2, 1])


def test_caffe_bgr_reverses_the_channels_and_takes_the_means():
    """As Keras does for VGG16: red, green, blue become blue, green, red, less their means."""
    rgb = np.array([10, 20, 30], dtype=np.float32).reshape(1, 1, 1, 3)
    caffe = fit("caffe_bgr", images=photographs(), ids=np.arange(3))

    assert preprocess_on_host(rgb, caffe).ravel() == pytest.approx(
        [30 - 103.939, 20 - 116.779, 10 - 123.68]
    )


def test_caffe_bgr_needs_colour():
    """Grey images are refused with a remedy."""
    with pytest.raises(DatasetError, match="expected 3 channels, found 1; use unit"):
        fit("caffe_bgr", images=photographs(channels=1), ids=np.arange(3))


def test_an_unknown_name_is_refused():
    """The four names are in the message."""
    with pytest.raises(
        DatasetError, match="unit, caffe_bgr, imagenet_rgb, standard, zca; found units"
    ):
        fit("units", images=photographs(), ids=np.arange(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_standard_gives_mean_0_and_deviation_1_over_the_training_images(channels):
    """Per channel; images outside the training set have no say."""
    images = photographs(count=700, channels=channels)
    ids = np.random.default_rng(1).permutation(700)[:600]
    images[np.setdiff1d(np.arange(700), ids)] = 255
    standard = fit("standard", images=images, ids=ids)

    inputs = preprocess_on_host(as_floats(images[ids]), standard).astype(np.float64)

    assert inputs.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(channels), abs=1e-6)
    assert inputs.std(axis=(0, 1, 2)) == pytest.approx(np.ones(channels), abs=1e-6)


def test_standard_leaves_a_constant_channel_finite():
    """Nothing is divided by zero."""
    images = photographs()
    images[..., 1] = 7
    standard = fit("standard", images=images, ids=np.arange(60))

    assert not preprocess_on_host(as_floats(images), standard)[..., 1].any()


def test_the_order_of_ids_does_not_matter():
    """The same training set gives the same numbers to the bit."""
    images, ids = photographs(), np.arange(40)

    forwards = fit("standard", images=images, ids=ids)

    assert fit("standard", images=images, ids=ids[::-1]) == forwards


def test_zca_removes_correlations():
    """In the whitened components variances are v / (v + 0.1), so near 1 where v is large."""
    images = photographs(count=300, size=4)
    zca = fit("zca", images=images, ids=np.arange(300))

    inputs = preprocess_on_host(as_floats(images), zca).reshape(300, -1)

    covariance = np.cov((inputs @ zca.whitening.basis).T)
    variance = np.diag(covariance)
    expected = 1 - 0.1 * zca.whitening.gain.astype(np.float64) ** 2
    assert np.abs(covariance - np.diag(variance)).max() < 1e-3
    assert variance == pytest.approx(expected, abs=1e-3)
    assert variance[0] > 0.99


def test_zca_agrees_with_the_textbook():
    """With all components it is the inverse root of the covariance."""
    images = photographs(count=300, size=4)
    standard = fit("standard", images=images, ids=np.arange(300))
    zca = fit("zca", images=images, ids=np.arange(300))
    flat = preprocess_on_host(as_floats(images), standard).reshape(300, -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(flat.T))

    expected = centred @ (vectors / np.sqrt(values + 0.1)) @ vectors.T

    result = preprocess_on_host(as_floats(images), zca).reshape(300, -1)
    assert result == pytest.approx(expected, abs=1e-3)


def test_zca_keeps_at_most_256_orthonormal_components():
    """float32, and fewer where there are fewer images."""
    many = fit("zca", images=photographs(count=400, size=12), ids=np.arange(400))
    few = fit("zca", images=photographs(count=9, size=12), ids=np.arange(9))

    assert many.whitening.basis.shape == (432, 256)
    assert few.whitening.basis.shape == (432, 8)
    for whitening in (many.whitening, few.whitening):
        product = whitening.basis.T @ whitening.basis
        assert np.abs(product - np.eye(len(product))).max() < 1e-4
        assert whitening.basis.dtype == whitening.gain.dtype == whitening.mean.dtype == np.float32


def test_zca_samples_all_classes_of_sorted_ids():
    """Of more than a thousand images the sample is spread, not the first thousand."""
    images = np.zeros((2000, 2, 2, 1), dtype=np.uint8)
    images[1000:] = 200
    zca = fit("zca", images=images, ids=np.arange(2000))

    assert np.abs(zca.whitening.mean).max() < 1e-3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Forty drawn pictures, sixteen pixels wide."""
    cache = tmp_path_factory.mktemp("drawn")
    listing = synthetic_images(cache_dir=cache, train=32, test=8, seed=1)
    return prepared_of(listing, cache, channels=3, validation=0.25)


@pytest.fixture
def prepared(drawn: Prepared, tmp_path: Path) -> Prepared:
    """The drawn pictures with a cache in which nothing is fitted yet."""
    return replace(drawn, folder=tmp_path / "prepared" / "entry")


@pytest.mark.parametrize("name", ["unit", "caffe_bgr", "imagenet_rgb", "standard", "zca"])
def test_what_is_read_back_is_what_was_fitted(prepared: Prepared, name: str):
    """Every constant, to the last bit."""
    first, second = fitted(name, prepared), fitted(name, prepared)

    for constant in ("name", "order", "mean", "scale"):
        assert getattr(second, constant) == getattr(first, constant)
    assert (second.whitening is not None) == (name == "zca")
    for array in ("basis", "gain", "mean") if name == "zca" else ():
        assert np.array_equal(getattr(second.whitening, array), getattr(first.whitening, array))


def test_nothing_is_fitted_twice(prepared: Prepared, monkeypatch: pytest.MonkeyPatch):
    """The second worker reads."""
    fitted("zca", prepared)
    monkeypatch.setattr(module, "fit", lambda *arguments, **options: pytest.fail("fitted again"))

    assert fitted("zca", prepared).whitening is not None


def test_another_training_split_is_fitted_again(prepared: Prepared):
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


@pytest.mark.parametrize("facts", ['{"name": "standard"}', '{"nom": "standard"}', "[]"])
def test_a_file_of_another_version_is_fitted_again(prepared: Prepared, facts: str):
    """It has fewer facts, others, or none."""
    whole = fitted("standard", prepared)
    (file,) = (prepared.folder.parent.parent / "fitted").iterdir()
    file.write_bytes(save({"none": np.zeros(1, np.float32)}, metadata={"facts": facts}))

    assert fitted("standard", prepared) == whole
