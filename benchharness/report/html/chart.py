"""Charts of the page: what is behind them, and what their drawings have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from scipy.optimize import isotonic_regression

from benchharness.report.html.theme import css, series_of
from benchharness.report.rows import Row, printable
from benchharness.results.cells import Cell

Datum = dict[str, Any]
Drawing = alt.LayerChart | alt.FacetChart
# Of axes: as many digits as tell ticks apart, never an exponent.
DIGITS = ",.4~r"

# Pixels of a chart with a row per cell: of a row, from its middle up to its text, and down to its
# marks. Names stand above the marks, so that a telephone shows as much as a desk.
ROW_HEIGHT, TEXT_UP, MARKS_DOWN, BAR = 40, -10, 7, 11
INDENT, FIGURE_WIDTH = 14, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart by its identifier in the page, as wide as its place there; ``height`` is in pixels.

    Title and caption stand above it, ``alt`` is for those who do not see it, and the drawing refers
    to its data by name.
    """

    name: str
    title: str = ""
    caption: str = ""
    alt: str
    data: Mapping[str, Sequence[Datum]]
    drawing: Drawing
    height: int

    def as_dict(self) -> dict[str, Any]:
        """Return the specification with its data, as Vega-Lite takes it."""
        drawing = self.drawing.properties(width="container", height=self.height)
        # Altair checked every part when it was made; checking the whole again takes a second.
        spec: dict[str, Any] = drawing.to_dict(validate=False)
        spec.pop("config", None)
        return spec | {"datasets": {name: list(rows) for name, rows in self.data.items()}}


class Frame(NamedTuple):
    """Data of the charts: rows of the table, and backends; ratios are to the first."""

    rows: Sequence[Row]
    backends: Sequence[str]

    @property
    def cells(self) -> list[tuple[Row, Cell]]:
        """Every cell with its row."""
        return [(row, cell) for row in self.rows for cell in row.recorded]

    def look(self, *, has_shape: bool = True) -> dict[str, Any]:
        """Return the encodings that give every backend its colour, and points their shape."""
        names, series = list(map(printable, self.backends)), series_of(self.backends)
        colours = alt.Scale(domain=names, range=[style.colour for style in series])
        shapes = alt.Scale(domain=names, range=[style.shape for style in series])
        colour = {"color": alt.Color("backend:N", scale=colours, legend=None)}
        shape = {"shape": alt.Shape("backend:N", scale=shapes, legend=None)}
        return colour | shape if has_shape else colour


def names_of(row: Row, cell: Cell) -> Datum:
    """Return the names of a cell for people: ``line``, ``backend``, and ``name`` of both."""
    backend = printable(cell.backend)
    return {"line": row.name, "backend": backend, "name": f"{backend}, {row.name}"}


def picked(row: Mapping[str, Any], *names: str) -> Datum:
    """Return some values of a row."""
    return {name: row[name] for name in names}


def base(data: str) -> alt.Chart:
    """Return a drawing of one of a chart's data sets, as yet without marks."""
    return alt.Chart(alt.NamedData(name=data))


def at(x: float | str) -> alt.XValue:
    """Return the encoding of a fixed place, in pixels or by the name of a signal."""
    return alt.XValue(x)  # type: ignore[no-untyped-call]


def axis(title: str | None = None, **more: Any) -> alt.Axis:
    """Return an axis of numbers with few ticks."""
    return alt.Axis(**{"title": title, "tickCount": 5, "format": DIGITS} | more)


def tips(**titles: str) -> list[alt.Tooltip]:
    """Return the tooltips of fields: ``name="N"``, ``value="Q the title"``, ``value="Q.4f"``."""
    found = []
    for field, words in titles.items():
        kind, _, title = words.partition(" ")
        more: dict[str, Any] = {"title": title} if title else {}
        more |= {"format": kind[1:] or DIGITS} if kind[0] == "Q" else {}
        found.append(alt.Tooltip(f"{field}:{kind[0]}", **more))
    return found


def row_mark(data: str, kind: str, *, up: bool = False, **look: Any) -> alt.Chart:
    """Return marks of one kind in the ``row`` of each datum: beside its text (``up``) or below."""
    offset = TEXT_UP if up else MARKS_DOWN
    marked: alt.Chart = getattr(base(data), f"mark_{kind}")(yOffset=offset, **look)
    return marked.encode(y=alt.Y("row:O", axis=None, scale=alt.Scale(type="band", padding=0)))


def row_texts(data: str, frame: Frame | None, *, room: int = FIGURE_WIDTH) -> list[alt.Chart]:
    """Return ``name``, cut short to leave ``room`` pixels, and ``figure`` of each row.

    With a frame, the mark of the row's backend stands before its name.
    """
    indent = INDENT if frame else 0
    limit = alt.ExprRef(f"max({FIGURE_WIDTH}, width - {indent + room})")
    names = row_mark(data, "text", up=True, align="left", baseline="middle", limit=limit)
    figures = row_mark(data, "text", up=True, align="right", baseline="middle", color=css("muted"))
    mark = row_mark(data, "point", up=True, filled=True, opacity=1, size=42)
    return [
        *([mark.encode(x=at(5), **frame.look())] if frame else []),
        names.encode(x=at(indent), text="name:N"),
        figures.encode(x=at("width"), text="figure:N"),
    ]


def spread_out(values: Sequence[float], *, gap: float) -> list[float]:
    """Return values in their places, moved so that ``gap`` is left between any two.

    They keep their order, and move as little as that allows, in squares.
    """
    order = np.argsort(values, kind="stable")
    room = gap * np.arange(len(values))
    moved = np.zeros(len(values))
    if values:
        moved[order] = isotonic_regression(np.asarray(values)[order] - room).x + room
    return [float(place) for place in moved]
