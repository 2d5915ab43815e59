"""Time against accuracy: what an accuracy costs, and which cells nobody beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Literal

import altair as alt

from benchharness.report.html.charts.axis import Span, spread_out
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
from benchharness.report.rows import Line, printable
from benchharness.results.cells import Cell

DATA, FRONT, TRIALS, LABELS = "cells", "front", "trials", "labels"
HEIGHT, LABEL_GAP = 320, 14
SIDES: tuple[tuple[Literal["left", "right"], int, str], ...] = (
    ("left", 10, "!datum.is_right"),
    ("right", -10, "datum.is_right"),
)


def section(lines: Sequence[Line], series: Sequence[Series]) -> Section | None:
    """Return the chart; None where no cell has both a time and an accuracy."""
    cells = cells_of(lines)
    if not cells:
        return None
    splits = {row["split"] for row in cells}
    split = splits.pop() if len(splits) == 1 else "test or validation"
    front, trials = front_of(cells), trials_of(lines)
    span, domain = Span.of([row["seconds"] for row in trials]), _domain(trials)
    chart = Chart(
        name="accuracy",
        title="",
        alt=f"Seconds of training against {split} top-1. On the Pareto front: "
        + "; ".join(
            f"{row['name']} on {row['backend']}, {row['seconds']:.3g} s, {row['value']:.3f}"
            for row in front
        )
        + ".",
        data={DATA: cells, FRONT: front, TRIALS: trials, LABELS: labels_of(cells, span, domain)},
        drawing=_drawing(series, split=split, span=span, domain=domain),
    )
    return Section(
        name="accuracy",
        title="Time against accuracy",
        short="Accuracy",
        text="Up is better, left is sooner. Large marks are medians, small ones trials; the line "
        "is the Pareto front: no other cell is both sooner and more accurate. Extracting features "
        "counts for all trials that use them; the training of a head started from does not.",
        charts=[chart],
    )


def cells_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per cell: medians of its seconds and of its final top-1."""
    rows = []
    for line, cell in _cells(lines):
        points = list(_points(cell))
        if points:
            rows.append(
                {
                    "name": line.name,
                    "backend": printable(cell.backend),
                    "seconds": median(point["seconds"] for point in points),
                    "value": median(point["value"] for point in points),
                    "split": points[0]["split"],
                }
            )
    return rows


def trials_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per ok trial."""
    return [
        {"name": line.name, "backend": printable(cell.backend), **point}
        for line, cell in _cells(lines)
        for point in _points(cell)
    ]


def front_of(cells: Sequence[Row]) -> list[Row]:
    """Return the cells that no other one beats in both, the quickest first."""
    front: list[Row] = []
    for row in sorted(cells, key=lambda row: (row["seconds"], -row["value"])):
        if not front or row["value"] > front[-1]["value"]:
            front.append(row)
    return front


def labels_of(cells: Sequence[Row], span: Span, domain: tuple[float, float]) -> list[Row]:
    """Return one label per benchmark, at its most accurate cell, moved clear of the others.

    It stands on that side of its mark where there is more room.
    """
    best: dict[str, Row] = {}
    for row in cells:
        if row["name"] not in best or row["value"] > best[row["name"]]["value"]:
            best[row["name"]] = row
    gap = LABEL_GAP * (domain[1] - domain[0]) / HEIGHT
    places = spread_out([row["value"] for row in best.values()], gap=gap)
    return [
        row | {"place": place, "is_right": span.position(row["seconds"]) > 0.5}
        for row, place in zip(best.values(), places, strict=True)
    ]


def _drawing(
    series: Sequence[Series], *, split: str, span: Span, domain: tuple[float, float]
) -> Drawing:
    x = alt.X(
        "seconds:Q",
        scale=alt.Scale(
            type="log" if span.is_log else "linear", domain=[span.low, span.high], nice=False
        ),
        axis=alt.Axis(title="seconds of training", tickCount=5, format=DIGITS, grid=False),
    )
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=list(domain), nice=False, zero=False),
        axis=alt.Axis(title=f"{split} top-1", tickCount=5, format=".2f"),
    )
    tip = [
        alt.Tooltip("name:N", title="benchmark"),
        alt.Tooltip("backend:N"),
        alt.Tooltip("seconds:Q", format=DIGITS),
        alt.Tooltip("value:Q", title="top-1", format=".4f"),
    ]
    colour, shape = colours(series), shapes(series)
    labels = alt.Chart(source(LABELS))
    halo: dict[str, Any] = {"stroke": css("paper"), "strokeWidth": 3, "strokeJoin": "round"}
    texts = [
        labels.mark_text(
            align=align,
            dx=dx,
            baseline="middle",
            limit=alt.ExprRef("0.42 * width"),
            color=css("ink"),
            **look,
        )
        .transform_filter(kept)
        .encode(x=x, y=alt.Y("place:Q"), text=alt.Text("name:N"))
        for look in (halo, {})
        for align, dx, kept in SIDES
    ]
    return alt.layer(
        alt.Chart(source(FRONT))
        .mark_line(interpolate="step-after", color=css("even"), strokeWidth=1.2, strokeDash=[4, 3])
        .encode(x=x, y=y),
        *texts,
        alt.Chart(source(TRIALS))
        .mark_point(filled=True, size=26, opacity=0.35)
        .encode(x=x, y=y, color=colour, shape=shape),
        alt.Chart(source(DATA))
        .mark_point(filled=True, size=110, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tip),
    ).properties(width="container", height=HEIGHT)


def _domain(trials: Sequence[Row]) -> tuple[float, float]:
    values = [row["value"] for row in trials]
    room = max(0.02, 0.08 * (max(values) - min(values)))
    return max(0.0, min(values) - room), min(1.0, max(values) + room)


def _cells(lines: Sequence[Line]) -> Iterator[tuple[Line, Cell]]:
    return ((line, cell) for line in lines for cell in line.recorded)


def _points(cell: Cell) -> Iterator[Row]:
    """Yield seconds and final top-1 of each ok trial that has both."""
    for trial in cell.ok:
        metrics = trial["metrics"]
        split = "validation" if metrics.get("test_top1") is None else "test"
        value, seconds = metrics.get(f"{split}_top1"), metrics.get("train_s")
        if value is not None and seconds is not None:
            yield {
                "trial": trial["trial"],
                # Stored features carry the seconds of the trial that extracted them.
                "seconds": seconds + (metrics.get("extract_s") or 0.0),
                "value": value,
                "split": split,
            }
