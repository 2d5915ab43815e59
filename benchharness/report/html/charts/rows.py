"""Charts with a row per thing: its name above on the left, its figure on the right.

Names over the marks leave them the whole width, so that a telephone shows as much as a desk.
"""

from __future__ import annotations

import altair as alt

from benchharness.report.html.charts.chart import at, source
from benchharness.report.html.theme import css

# Pixels: of a row, from its middle up to the text, and down to the marks.
STEP = 40
TEXT_UP = -10
MARKS_DOWN = 7
THICK = 11
INDENT, ROOM = 14, 90


def place() -> alt.Y:
    """Return the encoding that puts a mark into its row; rows carry their number in ``row``."""
    return alt.Y("row:O", axis=None, scale=alt.Scale(type="band", padding=0))


def names(data: str, *, indent: int = INDENT, room: int = ROOM) -> alt.Chart:
    """Return the names of the rows, field ``name``, cut short where a narrow chart needs it.

    Args:
        data: Name of the data set.
        indent: Pixels left free for a mark before each.
        room: Pixels left free for the figure behind each.
    """
    limit = alt.ExprRef(f"max({ROOM}, width - {indent + room})")
    mark = alt.Chart(source(data)).mark_text(
        align="left", baseline="middle", yOffset=TEXT_UP, limit=limit
    )
    drawn: alt.Chart = mark.encode(y=place(), x=at(indent), text=alt.Text("name:N"))
    return drawn


def figures(data: str) -> alt.Chart:
    """Return the figures of the rows, field ``figure``."""
    mark = alt.Chart(source(data)).mark_text(
        align="right", baseline="middle", yOffset=TEXT_UP, color=css("muted")
    )
    drawn: alt.Chart = mark.encode(y=place(), x=at("width"), text=alt.Text("figure:N"))
    return drawn


def marks(data: str, colour: alt.Color, shape: alt.Shape) -> alt.Chart:
    """Return the mark of each row's backend before its name."""
    mark = alt.Chart(source(data)).mark_point(filled=True, opacity=1, size=42, yOffset=TEXT_UP)
    drawn: alt.Chart = mark.encode(y=place(), x=at(5), color=colour, shape=shape)
    return drawn


def height(count: int) -> int:
    """Return the height of a chart with so many rows."""
    return STEP * count
