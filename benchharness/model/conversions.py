"""Kinds of stored pictures, which decoding has to convert, and words for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

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


def in_words(counts: Mapping[str, int]) -> str:
    """Return how many images there are of each kind, for the user."""
    return ", ".join(f"{counts[kind]:,} {word}" for kind, word in WORDS.items() if kind in counts)


def describe(kinds: Collection[str]) -> str:
    """Return the kinds of one image, for the user."""
    return ", ".join(word for kind, word in WORDS.items() if kind in kinds)
