"""Charts with points and lines: learning curves, time against accuracy, and a suite over time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from statistics import median
from typing import Any

import altair as alt

from benchharness.history.history import Series
from benchharness.report.history import heading, scale_of, size_text, state_text, step_text, when
from benchharness.report.html.chart import (
    Chart,
    Datum,
    Drawing,
    Frame,
    at,
    axis,
    base,
    names_of,
    picked,
    spread_out,
    tips,
)
from benchharness.report.html.theme import SERIES_COLOURS, css
from benchharness.report.rows import Row, printable
from benchharness.results.cells import Cell
from benchharness.results.record import Record

CURVE_HEIGHT, SCATTER_HEIGHT, TIMELINE_HEIGHT = 190, 320, 210
# Pixels between the middles of two labels.
LABEL_GAP = 14
# Dates below the axis; more would touch each other.
MAX_DATES = 6
# Beside the outermost marks of the seconds.
MARGIN = 1.15
# Beyond this factor between the least and the most, a linear axis would crowd all but a few.
LINEAR_UP_TO = 8
CURVES = {
    "validation_top1": "validation top-1",
    "train_top1": "training top-1",
    "train_loss": "training loss",
}
Domain = tuple[float, float]


def learning(frame: Frame) -> list[Chart]:
    """Return up to three charts per row of the table that has learnt."""
    charts = []
    for number, row in enumerate(frame.rows, start=1):
        known = [metric for metric in CURVES if medians_of(row, metric)]
        scored = [metric for metric in known if metric != "train_loss"][:1]
        for metric in scored:
            charts.append(_curve(frame, row, metric, "epoch", f"{number}-epochs"))
            charts.append(_curve(frame, row, metric, "seconds", f"{number}-seconds"))
        if "train_loss" in known:
            charts.append(_curve(frame, row, "train_loss", "epoch", f"{number}-loss"))
    return charts


def curves_of(row: Row, metric: str) -> list[Datum]:
    """Return a row per trial and epoch with the seconds trained so far; all that began count."""
    return [
        {"backend": printable(cell.backend), "trial": trial["trial"]} | point
        for cell in row.recorded
        for trial in cell.trials
        for point in _epochs(trial, metric)
    ]


def medians_of(row: Row, metric: str) -> list[Datum]:
    """Return a row per backend and epoch: medians over the ok trials that have the epoch."""
    rows = []
    for cell in row.recorded:
        by_epoch: dict[int, list[Datum]] = {}
        for trial in cell.ok or cell.trials:
            for point in _epochs(trial, metric):
                by_epoch.setdefault(point["epoch"], []).append(point)
        rows += [
            {"backend": printable(cell.backend), "epoch": epoch} | _medians(points)
            for epoch, points in sorted(by_epoch.items())
        ]
    return rows


def _epochs(trial: Record, metric: str) -> Iterator[Datum]:
    seconds = accumulate(epoch.get("train_s") or 0.0 for epoch in trial["epochs"])
    for epoch, so_far in zip(trial["epochs"], seconds, strict=True):
        if epoch.get(metric) is not None:
            yield {"epoch": epoch["epoch"], "seconds": so_far, "value": epoch[metric]}


def _curve(frame: Frame, row: Row, metric: str, unit: str, name: str) -> Chart:
    curves, medians = curves_of(row, metric), medians_of(row, metric)
    target = row.recorded[0].target_top1
    shows_target = target and metric == "validation_top1"
    goal = [{"value": target, "text": f"target {target:g}"}] if shows_target else []
    domain = _domain([point["value"] for point in [*curves, *goal]], room=0.08)
    # Labels stand where each backend's median ends, moved clear of the others.
    last = {point["backend"]: point for point in medians}.values()
    places = spread_out([point["value"] for point in last], gap=_label_gap(domain, CURVE_HEIGHT))
    ends = [
        picked(point, "backend", unit, "value") | {"place": place}
        for point, place in zip(last, places, strict=True)
    ]
    across = "epoch" if unit == "epoch" else "seconds of training"
    final = ", ".join(f"{end['backend']} {end['value']:.3f}" for end in ends)
    return Chart(
        name=f"learning-{name}",
        title=row.name,
        caption=f"{CURVES[metric]} by {across}",
        alt=f"{CURVES[metric]} of {row.name} by {across}; at the end {final}.",
        data={"curves": curves, "medians": medians, "ends": ends, "goal": goal},
        drawing=_curve_layers(frame, unit, domain, last=max(point[unit] for point in curves)),
        height=CURVE_HEIGHT,
    )


def _curve_layers(frame: Frame, unit: str, domain: Domain, *, last: float) -> Drawing:
    if unit == "epoch":
        first, gap = min(1, last - 1), max(1, round(last / 5))
        ticks = list(range(gap, int(last) + 1, gap))
        across = alt.Axis(title="epoch", values=ticks, grid=False, format="d")
    else:
        first, across = 0, axis("seconds", tickCount=4, grid=False)
    x = alt.X(f"{unit}:Q", scale=alt.Scale(domain=[first, last], nice=False), axis=across)
    y, colour = _value(domain, axis(tickCount=4)), frame.look(has_shape=False)
    words = tips(backend="N", trial="O", epoch="O", seconds="Q trained s", value="Q.4f value")
    thin = base("curves").mark_line(strokeWidth=1, opacity=0.4)
    hover = base("curves").mark_point(filled=True, size=60, opacity=0)
    dots = base("medians").mark_point(filled=True, size=30, opacity=1)
    goal = base("goal").mark_text(align="left", baseline="bottom", dy=-3, color=css("muted"))
    label = base("ends").mark_text(align="left", dx=8, baseline="middle")
    return alt.layer(
        base("goal").mark_rule(color=css("muted"), strokeDash=[3, 3]).encode(y=y),
        goal.encode(x=at(2), y=y, text="text:N"),
        thin.encode(x=x, y=y, detail="trial:N", **colour),
        base("medians").mark_line(strokeWidth=2.2).encode(x=x, y=y, **colour),
        dots.encode(x=x, y=y, **frame.look()),
        label.encode(x=x, y="place:Q", text="backend:N", **colour),
        hover.encode(x=x, y=y, tooltip=words, **colour),
    )


def accuracy(frame: Frame) -> list[Chart]:
    """Return one chart of seconds of training against top-1; none where no trial has both."""
    by_cell = [[*_points(row, cell)] for row, cell in frame.cells]
    trials = [point for points in by_cell for point in points]
    if not trials:
        return []
    cells = [points[0] | _medians(points) for points in by_cell if points]
    front = front_of(cells)
    splits = {row["split"] for row in cells}
    split = splits.pop() if len(splits) == 1 else "test or validation"
    values = [row["value"] for row in trials]
    room = max(0.02, 0.08 * (max(values) - min(values)))
    domain = max(0.0, min(values) - room), min(1.0, max(values) + room)
    seconds = [row["seconds"] for row in trials]
    least, most = min(seconds), max(seconds)
    is_log = 0 < LINEAR_UP_TO * least < most
    across = (least / MARGIN, most * MARGIN) if is_log else (0.0, most * MARGIN or 1.0)
    middle = math.sqrt(across[0] * across[1]) if is_log else across[1] / 2
    texts = (
        f"{row['line']} on {row['backend']}, {row['seconds']:.3g} s, {row['value']:.3f}"
        for row in front
    )
    return [
        Chart(
            name="accuracy",
            alt=f"Seconds of training against {split} top-1. "
            f"On the Pareto front: {'; '.join(texts)}.",
            data={
                "cells": cells,
                "front": front,
                "trials": trials,
                "labels": _labels(cells, middle, domain),
            },
            drawing=_accuracy_layers(frame, across, domain, is_log=is_log, split=split),
            height=SCATTER_HEIGHT,
        )
    ]


def front_of(cells: Sequence[Datum]) -> list[Datum]:
    """Return the cells that no other one beats in both, the quickest first.

    Of each kind of machine by itself: kinds are never mixed.
    """
    front: list[Datum] = []
    key = itemgetter("machine")
    for _, alike in groupby(sorted(cells, key=key), key=key):
        best = -math.inf
        for row in sorted(alike, key=lambda row: (row["seconds"], -row["value"])):
            if row["value"] > best:
                front.append(row)
                best = row["value"]
    return front


def _points(row: Row, cell: Cell) -> Iterator[Datum]:
    """Yield seconds and final top-1 of each ok trial that has both."""
    for trial in cell.ok:
        metrics = trial["metrics"]
        split = "validation" if metrics.get("test_top1") is None else "test"
        top1, train_s = metrics.get(f"{split}_top1"), metrics.get("train_s")
        if top1 is None or train_s is None:
            continue
        # Stored features carry the seconds of the trial that extracted them.
        seconds = train_s + (metrics.get("extract_s") or 0.0)
        figures = {"seconds": seconds, "value": top1, "split": split, "machine": cell.machine}
        yield names_of(row, cell) | picked(trial, "trial") | figures


def _labels(cells: Sequence[Datum], middle: float, domain: Domain) -> list[Datum]:
    """Return one label per line, at its most accurate cell, moved clear of the others.

    It stands on that side of its mark where there is more room.
    """
    best: dict[str, Datum] = {}
    for row in cells:
        if row["line"] not in best or row["value"] > best[row["line"]]["value"]:
            best[row["line"]] = row
    gap = _label_gap(domain, SCATTER_HEIGHT)
    places = spread_out([row["value"] for row in best.values()], gap=gap)
    return [
        row | {"place": place, "is_right": row["seconds"] > middle}
        for row, place in zip(best.values(), places, strict=True)
    ]


def _accuracy_layers(
    frame: Frame, across: Domain, domain: Domain, *, is_log: bool, split: str
) -> Drawing:
    scale = alt.Scale(type="log" if is_log else "linear", domain=list(across), nice=False)
    x = alt.X("seconds:Q", scale=scale, axis=axis("seconds of training", grid=False))
    y = _value(domain, axis(f"{split} top-1", format=".2f"))
    halo: dict[str, Any] = {"stroke": css("paper"), "strokeWidth": 3, "strokeJoin": "round"}
    texts = [
        base("labels")
        .mark_text(
            align="right" if is_right else "left",
            dx=-10 if is_right else 10,
            baseline="middle",
            limit=alt.ExprRef("0.42 * width"),
            color=css("ink"),
            **look,
        )
        .transform_filter("datum.is_right" if is_right else "!datum.is_right")
        .encode(x=x, y="place:Q", text="line:N")
        for look in (halo, {})
        for is_right in (False, True)
    ]
    front = base("front").mark_line(
        interpolate="step-after", color=css("even"), strokeWidth=1.2, strokeDash=[4, 3]
    )
    small = base("trials").mark_point(filled=True, size=26, opacity=0.35)
    large = base("cells").mark_point(filled=True, size=110, opacity=1)
    words = tips(line="N benchmark", backend="N", seconds="Q", value="Q.4f top-1")
    return alt.layer(
        front.encode(x=x, y=y, detail="machine:N"),
        *texts,
        small.encode(x=x, y=y, **frame.look()),
        large.encode(x=x, y=y, tooltip=words, **frame.look()),
    )


def timeline(series: Series, *, name: str) -> Chart:
    """Return the chart of a cell over time: its runs, the levels they lie about, and the steps."""
    factor, unit = scale_of(series)
    runs = [
        {
            "place": place,
            "when": when(point),
            "value": point.value * factor,
            "low": point.low * factor,
            "high": point.high * factor,
            "commit": (point.commit[:9] or "unknown") + ("+" if point.is_dirty else ""),
        }
        for place, point in enumerate(series.points)
    ]
    levels = [
        {"first": level.first - 0.35, "last": level.last + 0.35}
        | {"value": series.value_of(level) * factor}
        for level in series.levels
    ]
    steps = [
        {
            "place": level.first - 0.5,
            "text": size_text(series, step.was, step.became),
            "mood": "worse" if step.is_worse else "better",
            # Words stand on the side where there is room for them.
            "side": "left" if 2 * level.first > len(runs) else "right",
        }
        for level, step in zip(series.levels[1:], series.steps, strict=True)
    ]
    texts = [*(step_text(series, step) for step in series.steps), state_text(series)]
    return Chart(
        name=name,
        alt=f"{heading(series)} of {len(runs)} runs; {'; '.join(texts)}",
        data={"runs": runs, "levels": levels, "steps": steps},
        drawing=_timeline_layers(runs, unit=unit),
        height=TIMELINE_HEIGHT,
    )


def _timeline_layers(runs: Sequence[Datum], *, unit: str) -> Drawing:
    scale = alt.Scale(domain=[-0.6, len(runs) - 0.4], nice=False)
    dates = alt.Axis(
        title=None,
        grid=False,
        values=list(range(0, len(runs), -(-len(runs) // MAX_DATES))),
        labelExpr=f"{json.dumps([row['when'][:10] for row in runs])}[datum.value]",
    )
    x = alt.X("place:Q", scale=scale, axis=dates)
    domain = _domain([row[end] for row in runs for end in ("low", "high")], room=0.15)
    y = _value(domain, axis(unit or None, tickCount=4))
    moods = alt.Scale(domain=["worse", "better"], range=[css("bad"), css("good")])
    mood, colour = alt.Color("mood:N", scale=moods, legend=None), css(SERIES_COLOURS[0])
    sides: dict[str, dict[str, Any]] = {
        "right": {"align": "left", "dx": 5},
        "left": {"align": "right", "dx": -5},
    }
    texts = [
        base("steps")
        .mark_text(baseline="top", y=0, fontWeight=600, **look)
        .encode(x=x, text="text:N", color=mood)
        .transform_filter(f"datum.side == '{side}'")
        for side, look in sides.items()
    ]
    level = base("levels").mark_rule(strokeWidth=2, color=css("even"))
    point = base("runs").mark_point(filled=True, size=45, opacity=1, color=colour)
    words = tips(when="N run", commit="N", value="Q", low="Q", high="Q")
    return alt.layer(
        level.encode(x=alt.X("first:Q", scale=scale), x2="last:Q", y=y),
        base("steps").mark_rule(strokeDash=[4, 3]).encode(x=x, color=mood),
        *texts,
        base("runs").mark_rule(color=colour, opacity=0.4).encode(x=x, y="low:Q", y2="high:Q"),
        point.encode(x=x, y=y, tooltip=words),
    )


def _value(domain: Domain, ticks: alt.Axis) -> alt.Y:
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    return alt.Y("value:Q", scale=scale, axis=ticks)


def _domain(values: Sequence[float], *, room: float) -> Domain:
    """Return the ends of an axis with some room beside all values, and never a flat line."""
    low, high = min(values), max(values)
    room = room * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _label_gap(domain: Domain, height: int) -> float:
    return LABEL_GAP * (domain[1] - domain[0]) / height


def _medians(points: Sequence[Datum]) -> Datum:
    return {name: median(point[name] for point in points) for name in ("seconds", "value")}
