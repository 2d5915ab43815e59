"""Images: from a file or an array to uint8 pixels of the wanted size, by one decoder for all."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from benchharness.errors import DatasetError
from benchharness.model.image_files import WORDS, nature

# Part of every dataset's identity: raise it whenever the same file would give other pixels.
DECODER = "pillow-bilinear-antialias-2"

# About 268 MB as RGB; a photograph of a real camera stays below it.
MAX_PIXELS = 89_000_000

# Formats by the suffixes of files that are read.
SUFFIXES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".pjpeg": "JPEG",
    ".pjp": "JPEG", ".png": "PNG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
# Formats that are not read.
FOREIGN = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000",
    ".svg": "SVG", ".psd": "PSD", ".ppm": "PPM", ".pgm": "PGM", ".tga": "TGA", ".dng": "DNG",
    ".cr2": "CR2", ".nef": "NEF", ".arw": "ARW",
}  # fmt: skip

# What is decoded. Of the other readers of Pillow's one runs a program, and most nobody has tried.
_FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))

# What Pillow's readers raise on files that are damaged, hostile or no images at all.
_PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError,
    struct.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

# Of texts and colour profiles in a PNG, unpacked: Pillow's limit for all of them together in place
# of a megabyte for each, beyond which it would refuse the picture.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

_GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L"})
_SAMPLES = 32
# Source: Exif 2.32, 4.6.4 A, tag 0x0112: what turns a picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A picture, uint8 (size, size, channels), and what was special about it: keys of WORDS.

    Black where it could not be read, with the reason.
    """

    pixels: NDArray[np.uint8]
    kinds: tuple[str, ...] = ()
    failure: DatasetError | None = None


def read_image(path: Path, *, size: int, channels: int) -> Decoded:
    """Return the file's picture, resized straight to a square without cropping.

    It is turned as its EXIF orientation says, what is transparent is put on white, 16 bits are
    scaled to 8, and of an animation the first picture counts. Bilinear, with antialiasing; JPEGs
    are decoded in full, never at a reduced scale, as the loaders of Keras and torchvision do it.
    The name does not matter; 3 channels are RGB, 1 is grey.

    Raises:
        DatasetError: The file is missing, truncated, too large, or no image.
    """
    try:
        with _opened(path) as image:
            return _decoded(image, path, size=size, channels=channels)
    except _PILLOW_ERRORS as error:
        raise DatasetError(
            f"{path}: expected a readable image, found: {complaint(error, path)}; "
            'repair or remove the file, or set on_bad_image = "skip"'
        ) from error


def resize_array(image: NDArray[np.uint8], *, size: int, channels: int) -> Decoded:
    """Return the picture of shape (height, width[, 1 or 3]) resized as ``read_image`` does."""
    picture = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    square = _square(picture, size=size, channels=channels)
    return Decoded(_pixels(square), _colour_change(picture, channels=channels))


def sample_channels(paths: Sequence[Path]) -> Literal[1, 3]:
    """Return 1 if every readable file is stored in grey, else 3.

    Where an even sample holds a picture in colour, the others are not looked at.
    """
    step = max(1, len(paths) // _SAMPLES)
    for some in (paths[::step], paths):
        modes = set()
        for path in some:
            # What cannot be read is named by decoding; here it only has no say.
            with suppress(*_PILLOW_ERRORS), _opened(path) as image:
                modes.add(image.mode)
        if not modes or not modes <= _GREY_MODES:
            return 3
    return 1


def open_file(path: Path) -> BufferedReader:
    """Return a file, open for reading.

    Raises:
        OSError: It cannot be opened, or is no plain file: a pipe would be waited for without end.
    """
    file = open(  # noqa: SIM115 (Path has no opener)
        path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    )
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("a pipe or a device")
    return file


def complaint(error: Exception, path: Path) -> str:
    """Return what is wrong with a picture that cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        with suppress(OSError):
            if not path.stat().st_size:
                return "an empty file"
        return nature(path) or f"none of {', '.join(_FORMATS)}"
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Yield a file's picture, its pixels not yet loaded; raises one of ``_PILLOW_ERRORS``."""
    with open_file(path) as file, Image.open(file, formats=_FORMATS) as image:
        yield image


def _decoded(image: Image.Image, path: Path, *, size: int, channels: int) -> Decoded:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
    # Before its pixels are loaded: loading forgets how deep they were, and turns by itself what
    # some formats keep turned.
    stored_as = "JPEG" if image.format == "MPO" else image.format or ""
    is_special = {
        "deep": any(";16" in str(tile.args) for tile in getattr(image, "tile", ())),
        "cmyk": image.mode == "CMYK",
        "misnamed": stored_as != SUFFIXES.get(path.suffix.lower()),
        "turned": _orientation(image) != 1,
    }
    kinds = [kind for kind, is_so in is_special.items() if is_so]
    kinds += _colour_change(image, channels=channels)
    kinds += [stored_as] if stored_as in WORDS else []
    image.load()
    turn = _orientation(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}), not 8 or 16 bits")
    picture: Image.Image = image
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to 255 and leave a white picture.
        picture = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        if layered.getchannel("A").getextrema() != (255, 255):
            picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
            kinds.append("transparent")
    square = _square(picture, size=size, channels=channels)
    # Turned last: a small square is turned sooner than a photograph.
    upright = square if turn == 1 else square.transpose(_UPRIGHT[turn])
    # The second view in an MPO is of the same photograph.
    if image.format != "MPO":
        with suppress(*_PILLOW_ERRORS):
            kinds += ["moving"] if getattr(image, "is_animated", False) else []
    return Decoded(_pixels(upright), tuple(kinds))


def _colour_change(image: Image.Image, *, channels: int) -> tuple[str, ...]:
    """Return whether grey becomes colour, or colour grey."""
    if image.mode in _GREY_MODES:
        return ("grey",) if channels == 3 else ()
    return ("colour",) if channels == 1 else ()


def _orientation(image: Image.Image) -> int:
    """Return how the picture is turned, 1 to 8 as EXIF counts; 1 is upright."""
    # A damaged note about the picture is no damage of the picture.
    with suppress(*_PILLOW_ERRORS):
        turn: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        if turn in _UPRIGHT:
            return turn
    return 1


def _square(image: Image.Image, *, size: int, channels: int) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    flat = image if image.mode == mode else image.convert(mode)
    if flat.size == (size, size):
        return flat
    return flat.resize((size, size), Image.Resampling.BILINEAR)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    # Of a grey picture the last axis would be missing.
    return np.atleast_3d(np.asarray(image, dtype=np.uint8))
