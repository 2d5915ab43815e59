"""Every trial's speed over the median of its cell: how steady the machine was."""

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
from benchharness.report.html.theme import Series, css
from benchharness.report.metric_columns import speed_metric
from benchharness.report.notes import STEADY
from benchharness.report.numbers import alike
from benchharness.report.rows import Line, printable
from benchharness.results.cells import Cell

DATA, CELLS, CALM, EVEN = "trials", "cells", "calm", "even"
NARROWEST = 1.15


def section(lines: Sequence[Line], series: Sequence[Series]) -> Section | None:
    """Return the chart; None where no cell has two trials to compare."""
    cells = cells_of(lines)
    if not cells:
        return None
    trials = trials_of(lines)
    reach = 2 * STEADY
    chart = Chart(
        name="trials",
        title="",
        alt="Speed of single trials, lowest to highest: "
        + "; ".join(f"{row['name']} {row['figure']}" for row in cells)
        + ".",
        data={
            DATA: trials,
            CELLS: cells,
            CALM: [{"low": 1 - reach, "high": 1 + reach}],
            EVEN: [{"value": 1}],
        },
        drawing=_drawing(trials, len(cells), series),
    )
    return Section(
        name="trials",
        title="Trial by trial",
        short="Trials",
        text="Images per second over the cell's median, on a logarithmic scale. On a steady "
        f"machine 19 of 20 trials stay in the band of {reach:.0%} either way; more outside of it "
        "are noise of the machine, and more trials help.",
        charts=[chart],
    )


def trials_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per trial of the cells shown."""
    return [
        {
            "row": row,
            "name": f"{printable(cell.backend)}, {line.name}",
            "backend": printable(cell.backend),
            "trial": trial["trial"],
            "seed": trial["seed"],
            "images_per_s": rate,
            "value": rate / middle,
        }
        for row, (line, cell) in enumerate(_cells(lines))
        if (middle := cell.median(speed_metric(cell)))
        for trial in cell.ok
        if (rate := trial["metrics"].get(speed_metric(cell))) is not None
    ]


def cells_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per cell with two trials or more."""
    return [
        {
            "row": row,
            "name": f"{printable(cell.backend)}, {line.name}",
            "backend": printable(cell.backend),
            "figure": f"{' to '.join(alike([min(values), max(values)]))} {cell.speed_unit}",
        }
        for row, (line, cell) in enumerate(_cells(lines))
        if (values := cell.values(speed_metric(cell)))
    ]


def _cells(lines: Sequence[Line]) -> list[tuple[Line, Cell]]:
    return [
        (line, cell)
        for line in lines
        for cell in line.recorded
        if len(cell.values(speed_metric(cell))) > 1
    ]


def _drawing(trials: Sequence[Row], count: int, series: Sequence[Series]) -> Drawing:
    values = [row["value"] for row in trials if row["value"] > 0]
    end = max(NARROWEST, 1.05 * max(max(values), 1 / min(values)))
    axis = alt.Axis(title=None, tickCount=5, labelExpr="format(datum.value, '.3~r') + 'x'")
    scale = alt.Scale(type="log", domain=[1 / end, end], nice=False)
    x = alt.X("value:Q", scale=scale, axis=axis)
    calm = alt.Chart(source(CALM)).mark_rect(color=css("panel"))
    middle = alt.Chart(source(EVEN)).mark_rule(color=css("line"))
    dot = alt.Chart(source(DATA)).mark_point(
        filled=True, size=55, opacity=0.75, yOffset=rows.MARKS_DOWN
    )
    tip = [
        alt.Tooltip("name:N", title="cell"),
        alt.Tooltip("trial:O"),
        alt.Tooltip("seed:O"),
        alt.Tooltip("images_per_s:Q", title="per second", format=DIGITS),
    ]
    return alt.layer(
        calm.encode(x=alt.X("low:Q", scale=scale, axis=axis), x2=alt.X2("high:Q")),
        middle.encode(x=x),
        dot.encode(y=rows.place(), x=x, color=colours(series), shape=shapes(series), tooltip=tip),
        rows.marks(CELLS, colours(series), shapes(series)),
        rows.names(CELLS, room=150),
        rows.figures(CELLS),
    ).properties(width="container", height=rows.height(count))
