"""From pixels to network inputs: the constants, fitted once by the core on training images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchharness.errors import DatasetError
from benchharness.model.task import Preprocessing, Whitening

# The means of ImageNet's training images, blue, green, red, as VGG's authors published them.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_WHITENED_IMAGES = 1000
_COMPONENTS = 256
_EPSILON = 0.1
_CHUNK = 256


def fit(
    name: str, *, images: NDArray[np.uint8], ids: NDArray[np.int64], channels: int
) -> Preprocessing:
    """Return the preprocessing of that name.

    - unit: 0-255 becomes 0-1.
    - caffe_bgr: blue, green, red, less the means of ImageNet; what VGG16's weights expect.
    - standard: each channel with mean 0 and standard deviation 1 over the training images.
    - zca: standard, then whitened.

    Args:
        name: One of the four.
        images: uint8, shape (all images, height, width, channels).
        ids: Which of them are for training.
        channels: 1 or 3.

    Raises:
        DatasetError: The name is unknown, or does not fit the channels.
    """
    order = tuple(range(channels))
    if name == "unit":
        return Preprocessing(
            name=name, order=order, mean=(0.0,) * channels, scale=(1 / 255,) * channels
        )
    if name == "caffe_bgr":
        return _caffe_bgr(channels)
    if name in ("standard", "zca"):
        mean, scale = _standard(images, ids)
        plain = Preprocessing(name=name, order=order, mean=mean, scale=scale)
        return plain if name == "standard" else _whitened(plain, images, ids)
    raise DatasetError(
        f"preprocessing: expected one of unit, caffe_bgr, standard, zca; found {name}"
    )


def apply_reference(
    images: NDArray[np.float32], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return network inputs; the plain definition that plugins must meet.

    Args:
        images: 0-255, shape (batch, height, width, channels).
        preprocessing: What to do.

    Returns:
        float32, the shape of ``images``.
    """
    ordered = images[..., list(preprocessing.order)].astype(np.float64)
    scaled = (ordered - np.array(preprocessing.mean)) * np.array(preprocessing.scale)
    whitening = preprocessing.whitening
    if whitening is not None:
        flat = scaled.reshape(len(scaled), -1) - whitening.mean
        scaled = ((flat @ whitening.basis * whitening.gain) @ whitening.basis.T).reshape(
            scaled.shape
        )
    inputs: NDArray[np.float32] = scaled.astype(np.float32)
    return inputs


def _caffe_bgr(channels: int) -> Preprocessing:
    if channels != 3:
        raise DatasetError(
            f"preprocessing caffe_bgr: expected 3 channels, found {channels}; "
            "use unit or standard, or prepare the images with 3 channels"
        )
    return Preprocessing(name="caffe_bgr", order=(2, 1, 0), mean=_CAFFE_MEAN, scale=(1.0, 1.0, 1.0))


def _standard(
    images: NDArray[np.uint8], ids: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and 1 / standard deviation of each channel; 1 for a channel that is constant."""
    counts = _level_counts(images, np.sort(ids))
    levels = np.arange(256)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    deviation = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    scale = 1 / np.where(deviation > 0, deviation, 1)
    return tuple(mean.tolist()), tuple(scale.tolist())


def _level_counts(images: NDArray[np.uint8], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each level 0-255 occurs in each channel, shape (channels, 256).

    Whole numbers, so that the sums are exact and alike on every machine.
    """
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(ids), _CHUNK):
        chunk = images[ids[start : start + _CHUNK]]
        for channel, total in enumerate(counts):
            total += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return counts


def _whitened(
    plain: Preprocessing, images: NDArray[np.uint8], ids: NDArray[np.int64]
) -> Preprocessing:
    """Return ``plain`` with ZCA whitening in the span of the leading components.

    The sample is spread evenly over the training images: ids often come sorted by class.
    """
    chosen = np.linspace(0, len(ids) - 1, min(len(ids), _WHITENED_IMAGES)).round()
    sample = images[np.sort(ids)[chosen.astype(np.int64)]].astype(np.float32)
    flat = apply_reference(sample, plain).reshape(len(sample), -1)
    mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, lengths, axes = np.linalg.svd(flat - mean, full_matrices=False)
    # The mean takes one dimension away; what is left of it is rounding noise.
    kept = int(np.count_nonzero(lengths[:_COMPONENTS] > 1e-5 * lengths[0]))
    variance = lengths[:kept].astype(np.float64) ** 2 / max(1, len(flat) - 1)
    whitening = Whitening(
        mean=mean,
        basis=np.ascontiguousarray(axes[:kept].T),
        gain=(1 / np.sqrt(variance + _EPSILON)).astype(np.float32),
    )
    return replace(plain, whitening=whitening)
