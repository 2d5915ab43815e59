"""Values, keys and places in words that someone new to the format understands."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from benchharness.text import as_key, quote

KeyPath = tuple[str | int, ...]
NAMED_TABLES = {"benchmark": "benchmark", "backend": "backend", "profiles": "profile"}


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
            text += f".{as_key(part)}" if text else as_key(part)
    return text
