"""How a file stores its picture: what decoding has to convert."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from benchharness.model.conversions import WORDS
from benchharness.model.signatures import nature

# What files of these names ought to be.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".pjpeg": "JPEG",
    ".pjp": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}

# Pictures too, but of formats that are not read.
FOREIGN = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    ".jp2": "JPEG 2000",
    ".svg": "SVG",
    ".psd": "PSD",
    ".ppm": "PPM",
    ".pgm": "PGM",
    ".tga": "TGA",
    ".dng": "DNG",
    ".cr2": "CR2",
    ".nef": "NEF",
    ".arw": "ARW",
}

# What is decoded. Of the other readers of Pillow's one runs a program, and most nobody has tried.
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))

# What Pillow's readers raise on files that are damaged, hostile or no images at all.
UNREADABLE = (
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

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})

T = TypeVar("T")

GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L"})


def opened(path: Path) -> BufferedReader:
    """Return a file, open for reading.

    Raises:
        OSError: It cannot be opened, or is no plain file: a pipe would be waited for without end.
    """

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 (Path has no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("a pipe or a device")
    return file


def opened_image(path: Path, use: Callable[[Image.Image], T]) -> T:
    """Return what ``use`` makes of a file's picture, of which the header is read.

    Raises:
        Exception: One of ``UNREADABLE``.
    """
    with opened(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                return use(image)
        except ValueError:
            # Pillow refuses a PNG for a text or a colour profile that is long when unpacked.
            file.seek(0)
            if file.read(len(_PNG)) != _PNG:
                raise
            with Image.open(_without_long_chunks(file), formats=FORMATS) as image:
                return use(image)


def _without_long_chunks(file: BufferedReader) -> io.BytesIO:
    """Return a PNG without the texts and colour profiles that are too long for Pillow."""
    size = os.fstat(file.fileno()).st_size
    kept = io.BytesIO()
    kept.write(_PNG)
    while len(head := file.read(8)) == 8:
        # A damaged length may be any; 4 bytes of checksum follow.
        body = file.read(min(int.from_bytes(head[:4], "big") + 4, size))
        if not (head[4:] in _TEXTS and _is_long(head[4:], body[:-4])):
            kept.write(head + body)
    kept.seek(0)
    return kept


def _is_long(kind: bytes, body: bytes) -> bool:
    """Return whether a text or profile has more than a megabyte, unpacked."""
    most = PngImagePlugin.MAX_TEXT_CHUNK
    _, _, rest = body.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and not rest.startswith(b"\1")):
        return len(body) > most
    # Behind the name: of an iTXt two numbers, a language and a keyword; of the others one number.
    packed = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, most)
    except zlib.error:
        return True
    return bool(unpacking.unconsumed_tail)


def complaint(error: Exception, path: Path) -> str:
    """Return what is wrong with a picture that cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        with suppress(OSError):
            if not path.stat().st_size:
                return "an empty file"
        return nature(path) or f"none of {', '.join(FORMATS)}"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def kinds_of(image: Image.Image, path: Path, *, channels: int) -> tuple[str, ...]:
    """Return what an opened file's header tells, before its pixels are loaded.

    Args:
        image: Not loaded yet: loading forgets how deep the pixels were, and stands up by itself
            what some formats keep turned.
        path: Its file.
        channels: 3 for what becomes RGB, 1 for grey.
    """
    kept_as = {"MPO": "JPEG"}.get(image.format or "", image.format)
    found = {
        "deep": any(";16" in str(tile.args) for tile in getattr(image, "tile", ())),
        "cmyk": image.mode == "CMYK",
        "misnamed": kept_as != SUFFIXES.get(path.suffix.lower()),
        "turned": orientation(image) != 1,
        **dict.fromkeys(colours(image, channels=channels), True),
        **({kept_as: True} if kept_as in WORDS else {}),
    }
    return tuple(kind for kind, is_found in found.items() if is_found)


def colours(image: Image.Image, *, channels: int) -> tuple[str, ...]:
    """Return whether grey becomes colour, or colour grey."""
    if image.mode in GREY_MODES:
        return ("grey",) if channels == 3 else ()
    return ("colour",) if channels == 1 else ()


def orientation(image: Image.Image) -> int:
    """Return how the picture is turned, 1 to 8 as EXIF counts; 1 is upright."""
    # A damaged note about the picture is no damage of the picture.
    with suppress(*UNREADABLE):
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
        return found if found in range(1, 9) else 1
    return 1


def is_transparent(image: Image.Image) -> bool:
    """Return whether anything shines through a loaded picture."""
    if not image.has_transparency_data:
        return False
    opacity = image.convert("RGBA").getchannel("A")
    return opacity.getextrema() != (255, 255)


def is_moving(image: Image.Image) -> bool:
    """Return whether the file holds further pictures; a second view of a photograph is none."""
    if image.format == "MPO":
        return False
    with suppress(*UNREADABLE):
        return bool(getattr(image, "is_animated", False))
    return False
