"""Text from elsewhere, for a terminal: what it shows, and nothing that it does."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return text of one line in which nothing can move the cursor, colour, hide or reverse.

    Names of files and classes, messages of libraries and logs may hold such characters; each of
    them becomes a replacement character.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
