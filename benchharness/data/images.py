"""The one decoder: from an image file or array to uint8 pixels of the wanted size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchharness.data import image_formats
from benchharness.errors import DatasetError

# Part of every dataset's identity: raise it whenever the same file would give other pixels.
DECODER = "pillow-bilinear-antialias-2"

# About 268 MB as RGB; a photograph of a real camera stays below it.
MAX_PIXELS = 89_000_000

_SAMPLES = 32
# Source: Exif 2.32, 4.6.4 A, tag 0x0112: what stands a picture up that is stored otherwise.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """A picture of the wanted size.

    Attributes:
        pixels: uint8, shape (size, size, channels).
        kinds: What was special about the file, keys of ``model.kinds.WORDS``.
    """

    pixels: NDArray[np.uint8]
    kinds: tuple[str, ...]


def read_image(path: Path, *, size: int, channels: int) -> Decoded:
    """Return the file's picture, resized straight to a square without cropping.

    It stands as its EXIF orientation says, what is transparent lies on white, 16 bits are scaled
    to 8, and of an animation the first picture counts. JPEGs are decoded in full, never at a
    reduced scale, as the loaders of Keras and torchvision do it.

    Args:
        path: A file in one of ``stored.FORMATS``, whatever its name says.
        size: Height and width of the result, pixels.
        channels: 3 for RGB, 1 for grey.

    Returns:
        Pixels, bilinear, with antialiasing.

    Raises:
        DatasetError: The file is missing, truncated, too large, or no image.
    """

    def decoded(image: Image.Image) -> Decoded:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
        return _decoded(image, path, size=size, channels=channels)

    try:
        return image_formats.opened_image(path, decoded)
    except image_formats.UNREADABLE as error:
        raise DatasetError(
            f"{path}: expected a readable image, found: {image_formats.complaint(error, path)}; "
            'mend or remove the file, or set on_bad_image = "skip"'
        ) from error


def resize_array(image: NDArray[np.uint8], *, size: int, channels: int) -> Decoded:
    """Return the picture resized as ``read_image`` does.

    Args:
        image: uint8, shape (height, width) or (height, width, 1 or 3).
        size: Height and width of the result, pixels.
        channels: 3 for RGB, 1 for grey.
    """
    flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    picture = Image.fromarray(flat)
    return Decoded(
        pixels=_values(_square(picture, size=size, channels=channels)),
        kinds=image_formats.colours(picture, channels=channels),
    )


def sample_channels(paths: Sequence[Path]) -> Literal[1, 3]:
    """Return 1 if every readable file is stored in grey, else 3.

    Where an even sample holds a picture in colour, the others are not looked at.
    """
    step = max(1, len(paths) // _SAMPLES)
    for some in (paths[::step], paths):
        modes = {_mode(path) for path in some} - {None}
        if not modes or not modes <= image_formats.GREY_MODES:
            return 3
    return 1


def _mode(path: Path) -> str | None:
    try:
        return image_formats.opened_image(path, lambda image: image.mode)
    except image_formats.UNREADABLE:
        # Decoding will name the file; here it only has no say.
        return None


def _decoded(image: Image.Image, path: Path, *, size: int, channels: int) -> Decoded:
    found = list(image_formats.kinds_of(image, path, channels=channels))
    image.load()
    turn = image_formats.orientation(image)
    picture = _eight_bits(image)
    if image_formats.is_transparent(picture):
        picture = _on_white(picture)
        found.append("transparent")
    square = _square(picture, size=size, channels=channels)
    # Turned last: a small square is turned sooner than a photograph.
    upright = square.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else square
    if image_formats.is_moving(image):
        found.append("moving")
    return Decoded(pixels=_values(upright), kinds=tuple(found))


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 255 and leave a white picture.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}), not 8 or 16 bits")
    return image


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)


def _square(image: Image.Image, *, size: int, channels: int) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    flat = image if image.mode == mode else image.convert(mode)
    if flat.size == (size, size):
        return flat
    return flat.resize((size, size), Image.Resampling.BILINEAR)


def _values(image: Image.Image) -> NDArray[np.uint8]:
    # Of a grey picture the last axis would be missing.
    return np.atleast_3d(np.asarray(image, dtype=np.uint8))
