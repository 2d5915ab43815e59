"""The most memory that a trial held at once, on the host and on the device."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from benchharness.report.html.charts import rows
from benchharness.report.html.charts.chart import (
    DIGITS,
    Chart,
    Drawing,
    Row,
    Section,
    colours,
    shapes,
    source,
)
from benchharness.report.html.theme import Series
from benchharness.report.numbers import alike
from benchharness.report.rows import Line, printable

DATA = "cells"
PLACES = {"host": "peak_host_bytes", "device": "peak_device_bytes"}
GIGA = 1e9


def section(lines: Sequence[Line], series: Sequence[Series]) -> Section | None:
    """Return a chart for each place of which something is known; None where nothing is."""
    charts = [
        Chart(
            name=f"memory-{place}",
            title=f"{place.capitalize()} memory",
            alt=f"Peak {place} memory: "
            + "; ".join(f"{row['name']} {row['figure']}" for row in found)
            + ".",
            data={DATA: found},
            drawing=_drawing(len(found), series),
        )
        for place, metric in PLACES.items()
        if (found := cells_of(lines, metric))
    ]
    if not charts:
        return None
    text = (
        "Medians over the trials of a cell, in 10⁹ bytes. Host memory is that of the worker and "
        "all of its children."
    )
    return Section(
        name="memory", title="Memory", short="Memory", text=text, charts=charts, columns=2
    )


def cells_of(lines: Sequence[Line], metric: str) -> list[Row]:
    """Return a row per cell that knows a metric of bytes."""
    known = [
        (line, cell, value)
        for line in lines
        for cell in line.recorded
        if (value := cell.median(metric)) is not None
    ]
    texts = alike([value / GIGA for _, _, value in known])
    return [
        {
            "row": row,
            "name": f"{printable(cell.backend)}, {line.name}",
            "backend": printable(cell.backend),
            "bytes": value,
            "value": value / GIGA,
            "figure": f"{text} GB",
        }
        for row, ((line, cell, value), text) in enumerate(zip(known, texts, strict=True))
    ]


def _drawing(count: int, series: Sequence[Series]) -> Drawing:
    x = alt.X(
        "value:Q",
        scale=alt.Scale(zero=True, nice=False),
        axis=alt.Axis(title="GB", tickCount=5, format=DIGITS),
    )
    tip = [
        alt.Tooltip("name:N", title="cell"),
        alt.Tooltip("bytes:Q", title="bytes", format=","),
    ]
    bar = alt.Chart(source(DATA)).mark_bar(height=rows.THICK, yOffset=rows.MARKS_DOWN, opacity=0.82)
    return alt.layer(
        bar.encode(y=rows.place(), x=x, color=colours(series), tooltip=tip),
        rows.marks(DATA, colours(series), shapes(series)),
        rows.names(DATA),
        rows.figures(DATA),
    ).properties(width="container", height=rows.height(count))
