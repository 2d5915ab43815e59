"""Learning curves: accuracy by epoch and by seconds, and the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from statistics import median
from typing import Any

import altair as alt

from benchharness.report.html.charts.axis import spread_out
from benchharness.report.html.charts.chart import (
    DIGITS,
    Chart,
    Drawing,
    Row,
    Section,
    at,
    colours,
    shapes,
    source,
)
from benchharness.report.html.theme import Series, css
from benchharness.report.rows import Line, printable
from benchharness.results.cells import Cell
from benchharness.results.record import Record

TEXT = (
    "Thin lines are single trials, thick ones their median. Seconds are those of training: "
    "evaluation, compiling and extraction before it are left out."
)
CURVES, MEDIANS, ENDS, GOAL = "curves", "medians", "ends", "goal"
HEIGHT, LABEL_GAP = 190, 13
LABELS = {
    "validation_top1": "validation top-1",
    "train_top1": "training top-1",
    "train_loss": "training loss",
}


def section(lines: Sequence[Line], series: Sequence[Series]) -> Section | None:
    """Return up to three charts per line that has learnt; None where none has."""
    charts = [
        chart
        for number, line in enumerate(lines, start=1)
        for chart in _charts(line, series, name=f"learning-{number}")
    ]
    if not charts:
        return None
    return Section(
        name="learning",
        title="Learning curves",
        short="Learning",
        text=TEXT,
        charts=charts,
        columns=3,
    )


def curves_of(line: Line, metric: str) -> list[Row]:
    """Return a row per trial and epoch with the seconds trained so far; all that began count."""
    return [
        {"backend": printable(cell.backend), "trial": trial["trial"], **point}
        for cell in line.recorded
        for trial in cell.trials
        for point in _points(trial, metric)
    ]


def medians_of(line: Line, metric: str) -> list[Row]:
    """Return a row per backend and epoch: medians over the ok trials that have the epoch."""
    return [row for cell in line.recorded for row in _medians(cell, metric)]


def ends_of(medians: Sequence[Row], x: str, domain: tuple[float, float]) -> list[Row]:
    """Return where each backend's median ends, its label moved clear of the others."""
    last = {row["backend"]: row for row in medians}
    gap = LABEL_GAP * (domain[1] - domain[0]) / HEIGHT
    places = spread_out([row["value"] for row in last.values()], gap=gap)
    return [
        {"backend": backend, x: row[x], "value": row["value"], "place": place}
        for (backend, row), place in zip(last.items(), places, strict=True)
    ]


def _charts(line: Line, series: Sequence[Series], *, name: str) -> Iterator[Chart]:
    scored = next(
        (metric for metric in ("validation_top1", "train_top1") if medians_of(line, metric)), None
    )
    if scored:
        yield _chart(line, series, metric=scored, x="epoch", name=f"{name}-epochs")
        yield _chart(line, series, metric=scored, x="seconds", name=f"{name}-seconds")
    if medians_of(line, "train_loss"):
        yield _chart(line, series, metric="train_loss", x="epoch", name=f"{name}-loss")


def _chart(line: Line, series: Sequence[Series], *, metric: str, x: str, name: str) -> Chart:
    curves, medians = curves_of(line, metric), medians_of(line, metric)
    target = next((cell.target_top1 for cell in line.recorded if cell.target_top1), None)
    shows_target = target is not None and metric == "validation_top1"
    goal = [{"value": target, "text": f"target {target:g}"}] if shows_target else []
    domain = _domain([row["value"] for row in [*curves, *goal]])
    ends = ends_of(medians, x, domain)
    unit = "epoch" if x == "epoch" else "seconds of training"
    return Chart(
        name=name,
        title=line.name,
        caption=f"{LABELS[metric]} by {unit}",
        alt=f"{LABELS[metric]} of {line.name} by {unit}; at the end "
        + ", ".join(f"{row['backend']} {row['value']:.3f}" for row in ends)
        + ".",
        data={CURVES: curves, MEDIANS: medians, ENDS: ends, GOAL: goal},
        drawing=_drawing(series, x=x, domain=domain, rows=curves),
    )


def _drawing(
    series: Sequence[Series], *, x: str, domain: tuple[float, float], rows: Sequence[Row]
) -> Drawing:
    across = alt.X(f"{x}:Q", scale=_across(x, rows), axis=_axis(x, rows))
    up = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=list(domain), nice=False, zero=False),
        axis=alt.Axis(title=None, tickCount=4, format=DIGITS),
    )
    colour = colours(series)
    tip: list[Any] = [
        alt.Tooltip("backend:N"),
        alt.Tooltip("trial:O"),
        alt.Tooltip("epoch:O"),
        alt.Tooltip("seconds:Q", title="trained s", format=DIGITS),
        alt.Tooltip("value:Q", title="value", format=".4f"),
    ]
    thin = alt.Chart(source(CURVES)).mark_line(strokeWidth=1, opacity=0.4)
    hover = alt.Chart(source(CURVES)).mark_point(filled=True, size=60, opacity=0)
    thick = alt.Chart(source(MEDIANS)).mark_line(strokeWidth=2.2)
    dots = alt.Chart(source(MEDIANS)).mark_point(filled=True, size=30, opacity=1)
    goal = alt.Chart(source(GOAL))
    label = alt.Chart(source(ENDS)).mark_text(align="left", dx=8, baseline="middle")
    return alt.layer(
        goal.mark_rule(color=css("muted"), strokeDash=[3, 3]).encode(y=up),
        goal.mark_text(align="left", baseline="bottom", dy=-3, color=css("muted")).encode(
            x=at(2), y=up, text=alt.Text("text:N")
        ),
        thin.encode(x=across, y=up, color=colour, detail=alt.Detail("trial:N")),
        thick.encode(x=across, y=up, color=colour),
        dots.encode(x=across, y=up, color=colour, shape=shapes(series)),
        label.encode(x=across, y=alt.Y("place:Q"), color=colour, text=alt.Text("backend:N")),
        hover.encode(x=across, y=up, color=colour, tooltip=tip),
    ).properties(width="container", height=HEIGHT)


def _across(x: str, rows: Sequence[Row]) -> alt.Scale:
    last = max((row[x] for row in rows), default=1)
    first = 1 if x == "epoch" else 0
    return alt.Scale(domain=[min(first, last - 1) if x == "epoch" else 0, last], nice=False)


def _axis(x: str, rows: Sequence[Row]) -> alt.Axis:
    if x == "seconds":
        return alt.Axis(title="seconds", tickCount=4, grid=False, format=DIGITS)
    last = max((row["epoch"] for row in rows), default=1)
    step = max(1, round(last / 5))
    values = list(range(step, last + 1, step))
    return alt.Axis(title="epoch", values=values, grid=False, format="d")


def _domain(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the upright axis, with some room, and never a flat line."""
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _points(trial: Record, metric: str) -> Iterator[Row]:
    seconds = accumulate(epoch.get("train_s") or 0.0 for epoch in trial["epochs"])
    for epoch, so_far in zip(trial["epochs"], seconds, strict=True):
        if epoch.get(metric) is not None:
            yield {"epoch": epoch["epoch"], "seconds": so_far, "value": epoch[metric]}


def _medians(cell: Cell, metric: str) -> Iterator[Row]:
    by_epoch: dict[int, list[Row]] = {}
    for trial in cell.ok or cell.trials:
        for point in _points(trial, metric):
            by_epoch.setdefault(point["epoch"], []).append(point)
    for epoch, points in sorted(by_epoch.items()):
        yield {
            "backend": printable(cell.backend),
            "epoch": epoch,
            "seconds": median(point["seconds"] for point in points),
            "value": median(point["value"] for point in points),
        }
