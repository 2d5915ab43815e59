"""Values, keys and places in words that someone new to the format understands."""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

KeyPath = tuple[str | int, ...]
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
NAMED_TABLES = {"benchmark": "benchmark", "backend": "backend", "profiles": "profile"}


def quote(text: str) -> str:
    """Return text in double quotes on one line, shortened past 60 characters."""
    short = text if len(text) <= 60 else text[:57] + "..."
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)
    return json.dumps(visible, ensure_ascii=False)


def show(value: Any) -> str:
    """Return a value much as its file spells it, long ones by their kind alone."""
    match value:
        case str():
            return quote(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case datetime.date() | datetime.time():
            return "a date or time"
        case []:
            return "an empty list"
        case list() | tuple():
            short = ", ".join(show(item) for item in value[:5])
            return f"[{short}, ...]" if len(value) > 5 else f"[{short}]"
        case _:
            return "a table" if value else "an empty table"


def join_or(names: Iterable[str], *, word: str = "or") -> str:
    """Return ``"a", "b" or "c"``."""
    *most, last = (quote(name) for name in names)
    return f"{', '.join(most)} {word} {last}" if most else last


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return the hint that names the nearest known spelling, empty where none is near."""
    close = difflib.get_close_matches(wrong.lower()[:100], list(known), n=1)
    return f"did you mean {quote(close[0])}?" if close else ""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return the hint that names the nearest known spelling, or else all that is known."""
    names = list(known)
    return did_you_mean(wrong, names) or f"known: {', '.join(map(_key, names)) or 'none'}"


def place(at: KeyPath, document: Mapping[str, Any]) -> str:
    """Return where a key stands, for example ``profile "cpu": dataset.source``.

    Args:
        at: Keys from the top of the document, and places in its lists from 0.
        document: The document, for the names of its benchmarks.
    """
    parts: list[str] = []
    while len(at) > 1 and at[0] in NAMED_TABLES:
        parts.append(f"{NAMED_TABLES[str(at[0])]} {_name(at[1], document)}")
        at = at[2:]
        if parts[0].startswith("backend"):
            break
    return ": ".join([*parts, dotted(at)] if at else parts)


def _name(part: str | int, document: Mapping[str, Any]) -> str:
    """Return the quoted name of a table, or of a benchmark without one its number."""
    if isinstance(part, str):
        return quote(part)
    entry = document["benchmark"][part]
    name = entry.get("name") if isinstance(entry, dict) else None
    return quote(name) if isinstance(name, str) else str(part + 1)


def dotted(at: KeyPath) -> str:
    """Return keys as TOML dots them; places in a list are counted from 1."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f", item {part + 1}"
        else:
            text += f".{_key(part)}" if text else _key(part)
    return text


def _key(name: str) -> str:
    """Return a name as TOML writes a key: quoted where it must be."""
    return name if BARE_KEY.fullmatch(name) and len(name) <= 60 else quote(name)
