"""A cell over time: a point per run, the levels they lie about, and the steps between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import altair as alt

from benchharness.history.history import Series
from benchharness.report.history_words import Scale, heading, size_words, state_words, step_words
from benchharness.report.html.charts.chart import DIGITS, Chart, Drawing, Row, source
from benchharness.report.html.theme import SERIES_COLOURS, css

RUNS, LEVELS, STEPS = "runs", "levels", "steps"
HEIGHT = 210
# Dates below the axis; more would touch each other.
MOST_DATES = 6


def chart(series: Series, *, name: str) -> Chart:
    """Return the chart of a series."""
    runs = runs_of(series)
    return Chart(
        name=name,
        title="",
        alt=alt_text(series),
        data={RUNS: runs, LEVELS: find_segments(series), STEPS: steps_of(series)},
        drawing=_drawing(runs, unit=Scale.of(series).unit),
    )


def alt_text(series: Series) -> str:
    """Return what the chart shows, for those who do not see it."""
    steps = [step_words(series, step) for step in series.steps]
    return f"{heading(series)} of {len(series.points)} runs; " + "; ".join(
        [*steps, state_words(series)]
    )


def runs_of(series: Series) -> list[Row]:
    """Return a row per run, from the oldest."""
    factor = Scale.of(series).factor
    return [
        {
            "place": place,
            "when": f"{point.when:%Y-%m-%d %H:%M}",
            "value": point.value * factor,
            "low": point.low * factor,
            "high": point.high * factor,
            "commit": (point.commit[:9] or "unknown") + ("+" if point.is_dirty else ""),
        }
        for place, point in enumerate(series.points)
    ]


def find_segments(series: Series) -> list[Row]:
    """Return a row per level, from its first run to its last."""
    factor = Scale.of(series).factor
    return [
        {
            "first": level.first - 0.35,
            "last": level.last + 0.35,
            "value": series.value_of(level) * factor,
        }
        for level in series.levels
    ]


def steps_of(series: Series) -> list[Row]:
    """Return a row per step, between the runs beside it."""
    return [
        {
            "place": level.first - 0.5,
            "text": size_words(series, step.was, step.became),
            "mood": "worse" if step.is_worse else "better",
            # Words stand on the side where there is room for them.
            "side": "left" if 2 * level.first > len(series.points) else "right",
        }
        for level, step in zip(series.levels[1:], series.steps, strict=True)
    ]


def _drawing(runs: Sequence[Row], *, unit: str) -> Drawing:
    last = len(runs) - 1
    scale = alt.Scale(domain=[-0.6, last + 0.6], nice=False)
    across = alt.X("place:Q", scale=scale, axis=_dates(runs))
    ends = [value for row in runs for value in (row["low"], row["high"])]
    room = 0.15 * (max(ends) - min(ends)) or 0.05 * abs(max(ends)) or 0.05
    up = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False, zero=False),
        axis=alt.Axis(title=unit or None, tickCount=4, format=DIGITS),
    )
    mood = alt.Color(
        "mood:N",
        scale=alt.Scale(domain=["worse", "better"], range=[css("bad"), css("good")]),
        legend=None,
    )
    tip = [
        alt.Tooltip("when:N", title="run"),
        alt.Tooltip("commit:N"),
        alt.Tooltip("value:Q", format=DIGITS),
        alt.Tooltip("low:Q", format=DIGITS),
        alt.Tooltip("high:Q", format=DIGITS),
    ]
    dots, steps = alt.Chart(source(RUNS)), alt.Chart(source(STEPS))
    colour = css(SERIES_COLOURS[0])
    sides: dict[str, tuple[Literal["left", "right"], int]]
    sides = {"right": ("left", 5), "left": ("right", -5)}
    return alt.layer(
        alt.Chart(source(LEVELS))
        .mark_rule(strokeWidth=2, color=css("even"))
        .encode(x=alt.X("first:Q", scale=scale), x2="last:Q", y=up),
        steps.mark_rule(strokeDash=[4, 3]).encode(x=across, color=mood),
        *(
            steps.mark_text(align=align, baseline="top", dx=dx, y=0, fontWeight=600)
            .encode(x=across, text=alt.Text("text:N"), color=mood)
            .transform_filter(f"datum.side == '{side}'")
            for side, (align, dx) in sides.items()
        ),
        dots.mark_rule(color=colour, opacity=0.4).encode(x=across, y=alt.Y("low:Q"), y2="high:Q"),
        dots.mark_point(filled=True, size=45, opacity=1, color=colour).encode(
            x=across, y=up, tooltip=tip
        ),
    ).properties(width="container", height=HEIGHT)


def _dates(runs: Sequence[Row]) -> alt.Axis:
    """Return an axis on which runs stand one after the other and some say their date."""
    every = -(-len(runs) // MOST_DATES)
    days = json.dumps([row["when"][:10] for row in runs])
    return alt.Axis(
        title=None,
        grid=False,
        values=list(range(0, len(runs), every)),
        labelExpr=f"{days}[datum.value]",
    )
