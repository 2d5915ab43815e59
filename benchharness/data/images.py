"""The one decoder: from an image file or array to uint8 pixels of the wanted size."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchharness.errors import DatasetError

# Part of every dataset's identity: raise it whenever the same file would give other pixels.
DECODER = "pillow-bilinear-antialias-1"

# About 268 MB as RGB; a photograph of a real camera stays below it.
MAX_PIXELS = 89_000_000

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})

# What Pillow's readers raise on files that are damaged, hostile or no images at all.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_GREY_MODES = frozenset({"1", "L", "LA", "I;16"})
_SAMPLES = 32


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image that a user can see."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, *, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the file's picture, resized straight to a square without cropping.

    The EXIF orientation is not honoured, because the loaders of Keras and torchvision do not
    honour it either: results stay comparable with theirs. JPEGs are decoded in full, never at a
    reduced scale, for the same reason. Of an animation the first picture counts.

    Args:
        path: A file in any format that Pillow reads.
        size: Height and width of the result, pixels.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8, shape (size, size, channels); bilinear, with antialiasing.

    Raises:
        DatasetError: The file is missing, truncated, too large, or no image.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            return _pixels(image, size=size, channels=channels)
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path}: expected a readable image, found: {error}; "
            'mend or remove the file, or set on_bad_image = "skip"'
        ) from error


def resize_array(image: NDArray[np.uint8], *, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the picture resized as ``read_image`` does.

    Args:
        image: uint8, shape (height, width) or (height, width, 1 or 3).
        size: Height and width of the result, pixels.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8, shape (size, size, channels).
    """
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return _pixels(Image.fromarray(flat), size=size, channels=channels)


def sample_channels(paths: Sequence[Path]) -> Literal[1, 3]:
    """Return 1 if every readable file of an even sample is stored in grey, else 3."""
    modes = {_mode(path) for path in paths[:: max(1, len(paths) // _SAMPLES)]} - {None}
    return 1 if modes and modes <= _GREY_MODES else 3


def _mode(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.mode
    except _UNREADABLE:
        # Decoding will name the file; here it only has no say.
        return None


def _pixels(image: Image.Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 255 and leave a white picture.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}), not 8 or 16 bits")
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels)
