"""How a file stores its picture: what decoding has to convert."""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from benchharness.model.kinds import WORDS

# What files of these names ought to be.
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
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


def complaint(error: Exception, path: Path) -> str:
    """Return what is wrong with a picture that cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        with suppress(OSError):
            if not path.stat().st_size:
                return "an empty file"
        return f"none of {', '.join(FORMATS)}"
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
