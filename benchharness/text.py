"""Text for people: names quoted and joined, nearest spellings, sizes, safe for a terminal."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MEGA, _GIGA = 1e6, 1e9


def escape_control_chars(text: str) -> str:
    """Return text of one line in which nothing can move the cursor, colour, hide or reverse.

    Names of files and classes, messages of libraries and logs may hold such characters; each of
    them becomes a replacement character.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def quote(text: str) -> str:
    """Return text in double quotes on one line, shortened past 60 characters."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return json.dumps(escape_control_chars(short), ensure_ascii=False)


def as_key(name: str) -> str:
    """Return a name as TOML writes a key: quoted where it must be."""
    return name if BARE_KEY.fullmatch(name) and len(name) <= 60 else quote(name)


def join_or(names: Iterable[str], *, word: str = "or") -> str:
    """Return ``"a", "b" or "c"``."""
    *most, last = (quote(name) for name in names)
    return f"{', '.join(most)} {word} {last}" if most else last


def closest(wrong: str, known: Iterable[str], *, count: int = 1) -> list[str]:
    """Return the known spellings nearest to a wrong one, best first; empty where none is near."""
    return difflib.get_close_matches(wrong[:100], list(known), n=count)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return the hint that names the nearest known spelling, empty where none is near."""
    near = closest(wrong.lower(), known)
    return f"did you mean {quote(near[0])}?" if near else ""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return the hint that names the nearest known spelling, or else all that is known."""
    names = list(known)
    return did_you_mean(wrong, names) or f"known: {', '.join(map(as_key, names)) or 'none'}"


def format_bytes(count: float) -> str:
    """Return a size for people: ``1.5 GB`` from half a gigabyte on, ``12 MB`` below."""
    return f"{count / _GIGA:.1f} GB" if count >= _GIGA / 2 else f"{count / _MEGA:,.0f} MB"
