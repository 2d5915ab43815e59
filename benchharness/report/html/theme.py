"""Colours and marks of the report, in light and in dark.

Charts name their colours as custom properties of CSS, ``var(--ink)``, so that they follow the
reader's theme and the printer's without being drawn again. Where a chart stands alone, in a file,
the names give way to the colours of the light theme.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Custom property: its colour on light paper and on dark.
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181c"),
    "panel": ("#f6f7f8", "#1c2025"),
    "ink": ("#1c2126", "#e6e8ea"),
    "muted": ("#5b646d", "#9ba4ad"),
    "line": ("#d9dde1", "#343a41"),
    "grid": ("#e9ecef", "#282d33"),
    "link": ("#0b5cad", "#7db4ee"),
    "good": ("#17734a", "#63c596"),
    "bad": ("#b3261e", "#f28b82"),
    "warn": ("#8a5a00", "#e0b252"),
    "warn-paper": ("#fff6e0", "#2b2416"),
    "even": ("#7b848d", "#8d969f"),
    # Backends, in order: distinguishable with any kind of colour vision, 3:1 on either paper.
    "series-1": ("#2b67ae", "#6ea8ea"),
    "series-2": ("#c2601a", "#ee9a57"),
    "series-3": ("#0f806a", "#46c2a4"),
    "series-4": ("#9a4a92", "#d68fce"),
    "series-5": ("#6f6a14", "#c5bd58"),
    "series-6": ("#4b4f57", "#b9bec6"),
    # Phases of a trial, in order of time; the work itself stands out.
    "phase-1": ("#b4bac1", "#6a737c"),
    "phase-2": ("#8a939c", "#8d969f"),
    "phase-3": ("#6fa5b8", "#4f9bb3"),
    "phase-4": ("#24566d", "#b5e0f2"),
    "phase-5": ("#8a7fb0", "#9b90cf"),
    "phase-6": ("#7fa36b", "#84ac70"),
    "phase-7": ("#b09a7c", "#a08c70"),
    "phase-8": ("#d5d9dd", "#4a525a"),
}
SERIES_COLOURS = tuple(name for name in COLOURS if name.startswith("series-"))
# Marks of a 16 x 16 square, as the page's legend draws them; the names are Vega's.
SHAPES: Mapping[str, str] = {
    "circle": "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z",
    "square": "M3 3h10v10h-10z",
    "triangle-up": "M8 2.5l6 11h-12z",
    "diamond": "M8 1.5l6 6.5l-6 6.5l-6-6.5z",
    "triangle-down": "M8 13.5l6-11h-12z",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Without a browser: what the renderer brings along.
STATIC_FONT = "Liberation Sans, Arial, sans-serif"


class BackendStyle(NamedTuple):
    """Look of a backend in every drawing: colour as CSS, shape by name and as an SVG path."""

    backend: str
    colour: str
    shape: str
    path: str


def series_of(backends: Sequence[str]) -> list[BackendStyle]:
    """Return the look of each backend; colour and shape repeat only together, after thirty."""
    colours, shapes = itertools.cycle(map(css, SERIES_COLOURS)), itertools.cycle(SHAPES.items())
    looks = zip(backends, colours, shapes, strict=False)
    return [BackendStyle(name, colour, *shape) for name, colour, shape in looks]


def css(name: str) -> str:
    """Return how CSS and charts refer to a colour.

    Raises:
        KeyError: There is no such colour.
    """
    _ = COLOURS[name]
    return f"var(--{name})"


def properties() -> str:
    """Return the colours as declarations of CSS, both themes in one."""
    return "\n".join(
        f"  --{name}: light-dark({light}, {dark});" for name, (light, dark) in COLOURS.items()
    )


def in_light(spec: Any) -> Any:
    """Return a chart with plain colours of the light theme in place of names."""
    if isinstance(spec, dict):
        return {key: in_light(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [in_light(value) for value in spec]
    if isinstance(spec, str) and spec.startswith("var(--"):
        return COLOURS[spec.removeprefix("var(--").removesuffix(")")][0]
    return spec


def config(*, font: str = FONT) -> dict[str, Any]:
    """Return what all charts have in common, as Vega-Lite's configuration."""
    quiet = {"labelColor": css("muted"), "titleColor": css("muted"), "labelFontSize": 11}
    return {
        "background": "transparent",
        "font": font,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 2, "right": 6, "top": 4, "bottom": 2},
        "view": {"stroke": None},
        "axis": quiet
        | {
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "domain": False,
            "ticks": False,
            "gridColor": css("grid"),
            "labelPadding": 6,
            "titlePadding": 6,
        },
        "text": {"fontSize": 11, "color": css("ink")},
        "title": {
            "anchor": "start",
            "color": css("ink"),
            "subtitleColor": css("muted"),
            "fontSize": 13,
            "fontWeight": 600,
            "subtitleFontSize": 11,
            "frame": "group",
        },
    }
