"""A chart of the page: data in named sets, and a Vega-Lite specification that draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from benchharness.report.html.theme import Series
from benchharness.report.rows import printable

Row = dict[str, Any]
Drawing = alt.LayerChart | alt.FacetChart
# Of axes: as many digits as tell ticks apart, never an exponent.
DIGITS = ",.4~r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        name: Its identifier in the page.
        title: Over it; empty where the section's heading says it all.
        caption: A line below the title; may be empty.
        alt: What it shows, for those who do not see it.
        data: Rows by the name under which the drawing refers to them.
        drawing: In Altair.
    """

    name: str
    title: str
    caption: str = ""
    alt: str
    data: Mapping[str, Sequence[Row]]
    drawing: Drawing

    def as_dict(self) -> dict[str, Any]:
        """Return the specification with its data, as Vega-Lite takes it."""
        # Altair checked every part when it was made; checking the whole again takes a second.
        drawn: dict[str, Any] = self.drawing.to_dict(validate=False)
        drawn.pop("config", None)
        return drawn | {"datasets": {name: list(rows) for name, rows in self.data.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Charts that belong together.

    Attributes:
        name: Its identifier in the page.
        short: Title in the page's navigation.
        text: How to read them.
        charts: At least one.
        columns: How many stand side by side where there is room.
    """

    name: str
    title: str
    short: str
    text: str
    charts: Sequence[Chart]
    columns: int = 1


def source(name: str) -> alt.NamedData:
    """Return a reference to one of a chart's data sets."""
    return alt.NamedData(name=name)


def at(x: float | str) -> alt.XValue:
    """Return the encoding of a fixed place, in pixels or by the name of a signal."""
    return alt.XValue(x)  # type: ignore[no-untyped-call]


def colours(series: Sequence[Series], field: str = "backend") -> alt.Color:
    """Return the encoding that gives every backend its colour."""
    scale = alt.Scale(
        domain=[printable(one.backend) for one in series], range=[one.colour for one in series]
    )
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def shapes(series: Sequence[Series], field: str = "backend") -> alt.Shape:
    """Return the encoding that gives every backend its mark."""
    scale = alt.Scale(
        domain=[printable(one.backend) for one in series], range=[one.shape for one in series]
    )
    return alt.Shape(f"{field}:N", scale=scale, legend=None)
