"""Image files: kinds that decoding converts, and files of other kinds with an image's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

# A count goes before each. JPEGs in colour, which are the rule, have no kind.
WORDS = {
    "cmyk": "CMYK",
    "transparent": "with transparency (laid on white)",
    "turned": "rotated by EXIF",
    "deep": "of 16 bits (scaled to 8)",
    "grey": "grey (given three channels)",
    "colour": "in colour (made grey)",
    "moving": "of several pictures (the first taken)",
    "misnamed": "named as another format",
    "PNG": "PNG",
    "WEBP": "WebP",
    "GIF": "GIF",
    "BMP": "BMP",
    "TIFF": "TIFF",
}

# Every framework's own loader gives these the same pixels as our decoder.
ALIKE = frozenset({"PNG", "grey", "colour"})

_LONGEST = 256
_POINTER = "a Git LFS pointer, run `git lfs pull`"
_STARTS = {
    b"version https://git-lfs": _POINTER,
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<!doctype html": "an HTML page, which a failed download leaves",
    b"<html": "an HTML page, which a failed download leaves",
    b"<svg": "SVG",
    b"<?xml": "XML",
}
# Source: ISO/IEC 23008-12, annex B, and the AV1 Image File Format, 6.1: brands of a file type box.
_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC", b"heim": "HEIC",
    b"heis": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF",
}  # fmt: skip


def describe_conversions(counts: Mapping[str, int]) -> str:
    """Return how many images there are of each kind, for the user."""
    return ", ".join(f"{counts[kind]:,} {word}" for kind, word in WORDS.items() if kind in counts)


def describe_kinds(kinds: Collection[str]) -> str:
    """Return the kinds of one image, for the user."""
    return ", ".join(word for kind, word in WORDS.items() if kind in kinds)


def nature(path: Path) -> str:
    """Return what a file is, in words, if it is of a kind that is often taken for another.

    Empty where it is of no such kind, or cannot be read.
    """
    try:
        if not path.is_file():
            # A pipe would be waited for.
            return ""
        with path.open("rb") as file:
            head = file.read(_LONGEST)
    except OSError:
        return ""
    if head[4:8] == b"ftyp":
        # A file may say that it is of the family, and which one it is among those it suits.
        brands = [head[8:12], *(head[place : place + 4] for place in range(16, head[3], 4))]
        kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in kinds else kinds[0] if kinds else ""
    # Pages may begin with a byte order mark and blanks, and in capitals.
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    starts = (start for start in _STARTS if head.startswith(start) or text.startswith(start))
    return _STARTS.get(next(starts, b""), "")
