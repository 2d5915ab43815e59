"""Preprocessing, from pixels to network inputs: fitted once to training images, kept by content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchharness.data.prepared import Prepared
from benchharness.errors import DatasetError
from benchharness.files import atomic_write_bytes, writable
from benchharness.model.host import preprocess_on_host
from benchharness.model.task import Preprocessing, Whitening

# Source: the means of ImageNet's training images, blue, green, red, as VGG's authors published
# them; mean and deviation of red, green, blue, 0-1, as torchvision's reference training has them.
_IMAGENET = {
    "caffe_bgr": Preprocessing(
        name="caffe_bgr",
        order=(2, 1, 0),
        mean=(103.939, 116.779, 123.68),
        scale=(1.0, 1.0, 1.0),
    ),
    "imagenet_rgb": Preprocessing(
        name="imagenet_rgb",
        order=(0, 1, 2),
        mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
        scale=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
    ),
}
_WHITENED_IMAGES = 1000
_COMPONENTS = 256
_EPSILON = 0.1
# Images, and values of an image, converted to floats at a time; they bound the memory.
_CHUNK = 128
_VALUES = 4096
# Of the fitting: another formula makes another file.
_VERSION = 1
_FACTS = ("name", "order", "mean", "scale")
_ARRAYS = ("mean", "basis", "gain")


def fitted(name: str, prepared: Prepared) -> Preprocessing:
    """Return the preprocessing of that name, fitted to a dataset's training images.

    It is kept in the cache beside the prepared images, by the digest of images, training split and
    name, and so fitted once for all workers.

    Raises:
        DatasetError: The name is unknown or does not suit the images.
    """
    train = prepared.splits["train"]
    parts = [str(_VERSION), name, prepared.digest, hashlib.sha256(train.tobytes()).hexdigest()]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    file = prepared.folder.parent.parent / "fitted" / f"{key}.safetensors"
    preprocessing = _read(file)
    if preprocessing is None:
        from safetensors.numpy import save

        preprocessing = fit(name, images=prepared.images, ids=train)
        whitening = preprocessing.whitening
        arrays = {name: getattr(whitening, name) for name in _ARRAYS} if whitening else {}
        facts = {name: getattr(preprocessing, name) for name in _FACTS}
        with writable(file, error=DatasetError):
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(file, save(arrays, metadata={"facts": json.dumps(facts)}))
    return preprocessing


def fit(name: str, *, images: NDArray[np.uint8], ids: NDArray[np.int64]) -> Preprocessing:
    """Return the preprocessing of that name, fitted to the images of the given ids.

    - unit: 0-255 becomes 0-1.
    - caffe_bgr: blue, green, red, less the means of ImageNet; what Keras's VGG16 learnt with.
    - imagenet_rgb: the mean and deviation of ImageNet taken out; what torchvision's learnt with.
    - standard: each channel with mean 0 and standard deviation 1 over the training images.
    - zca: standard, then whitened.

    Raises:
        DatasetError: The name is unknown, or does not fit the channels.
    """
    channels = images.shape[3]
    if name in _IMAGENET:
        if channels != 3:
            raise DatasetError(
                f"preprocessing {name}: expected 3 channels, found {channels}; "
                "use unit or standard, or prepare the images with 3 channels"
            )
        return _IMAGENET[name]
    mean, scale, ids = (0.0,) * channels, (1 / 255,) * channels, np.sort(ids)
    if name in ("standard", "zca"):
        mean, scale = _standard(images, ids)
    elif name != "unit":
        raise DatasetError(
            "preprocessing: expected one of unit, caffe_bgr, imagenet_rgb, standard, zca; "
            f"found {name}"
        )
    fit = Preprocessing(name=name, order=tuple(range(channels)), mean=mean, scale=scale)
    return replace(fit, whitening=_whitening(fit, images, ids)) if name == "zca" else fit


def _standard(
    images: NDArray[np.uint8], ids: NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and 1 / standard deviation of each channel; 1 for a channel that is constant."""
    # How often each level occurs: whole numbers, so that the sums are exact on every machine.
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(ids), _CHUNK):
        chunk = images[ids[start : start + _CHUNK]]
        for channel, total in enumerate(counts):
            total += np.bincount(chunk[..., channel].ravel(), minlength=256)
    levels = np.arange(256)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    deviation = np.sqrt((share * (levels - mean[:, None]) ** 2).sum(axis=1))
    scale = 1 / np.where(deviation > 0, deviation, 1)
    return tuple(mean.tolist()), tuple(scale.tolist())


def _whitening(
    standard: Preprocessing, images: NDArray[np.uint8], ids: NDArray[np.int64]
) -> Whitening:
    """Return ZCA whitening in the span of the leading components.

    Source:
        The singular value decomposition by way of the products of the samples with each other,
        of which there are far fewer than values: Sirovich, "Turbulence and the dynamics of
        coherent structures" (1987), the method of snapshots. In float64, as it squares.
    """
    # Spread evenly over the ids, which often come sorted by class.
    places = np.linspace(0, len(ids) - 1, min(len(ids), _WHITENED_IMAGES)).round()
    chosen = ids[places.astype(np.int64)]
    count, values = len(chosen), images[0].size
    samples = np.empty((count, values), dtype=np.float32)
    for start in range(0, count, _CHUNK):
        chunk = images[chosen[start : start + _CHUNK]].astype(np.float32)
        inputs = preprocess_on_host(chunk, standard)
        samples[start : start + _CHUNK] = inputs.reshape(len(chunk), -1)
    mean = samples.mean(axis=0, dtype=np.float64).astype(np.float32)
    samples -= mean
    parts = [slice(start, start + _VALUES) for start in range(0, values, _VALUES)]
    products = np.zeros((count, count))
    for part in parts:
        block = samples[:, part].astype(np.float64)
        products += block @ block.T
    squares, vectors = np.linalg.eigh(products)
    leading = np.argsort(squares)[::-1][:_COMPONENTS]
    # The mean took one dimension away; what is left of it is rounding noise.
    leading = leading[squares[leading] > 1e-10 * squares[leading[0]]]
    lengths = np.sqrt(squares[leading])
    weights = vectors[:, leading] / lengths
    axes = np.concatenate([samples[:, part].T.astype(np.float64) @ weights for part in parts])
    gain = 1 / np.sqrt(lengths**2 / max(1, count - 1) + _EPSILON)
    return Whitening(mean=mean, basis=axes.astype(np.float32), gain=gain.astype(np.float32))


def _read(file: Path) -> Preprocessing | None:
    """Return what ``fitted`` wrote; None where there is nothing, or nothing whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as content:
            facts = json.loads(content.metadata()["facts"])
            has_whitening = set(_ARRAYS) <= set(content.keys())
            arrays = {name: content.get_tensor(name) for name in _ARRAYS if has_whitening}
        facts |= {name: tuple(facts[name]) for name in _FACTS[1:]}
        return Preprocessing(**facts, whitening=Whitening(**arrays) if has_whitening else None)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
