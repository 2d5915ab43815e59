"""The main chart: images per second of each backend, with every trial and a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from benchharness.report.comparisons import DISTURBED
from benchharness.report.html.charts import rows
from benchharness.report.html.charts.axis import upper_end
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
from benchharness.report.intervals import interval_of
from benchharness.report.metric_columns import speed_metric
from benchharness.report.numbers import alike
from benchharness.report.rows import Line, printable
from benchharness.results.cells import Cell

TEXT = (
    "Bars are medians, dots single trials, whiskers 95 % intervals of the geometric mean. Each "
    "benchmark has a scale of its own, from 0; an arrow marks an interval that goes on beyond it."
)
BARS, TRIALS = "bars", "trials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """How fast the backends are on one line.

    Attributes:
        line: Its name.
        is_disturbed: Whether other processes kept the machine busy during any of the trials.
        bars: A row per backend that has a speed: the median, its interval, and where that is cut.
        trials: A row per trial of theirs.
        end: Of the axis, in images/s, or features/s.
    """

    line: str
    is_disturbed: bool
    bars: tuple[Row, ...]
    trials: tuple[Row, ...]
    end: float


def section(speeds: Sequence[Speeds], series: Sequence[Series]) -> Section | None:
    """Return a chart per line that has a speed; None where none has."""
    charts = [
        Chart(
            name=f"throughput-{number}",
            title=one.line,
            caption=DISTURBED if one.is_disturbed else "",
            alt=f"Speed, {one.line}: {'; '.join(map(_told, one.bars))}.",
            data={BARS: one.bars, TRIALS: one.trials},
            drawing=layers(one, series).properties(
                width="container", height=rows.height(len(one.bars))
            ),
        )
        for number, one in enumerate(speeds, start=1)
    ]
    if not charts:
        return None
    return Section(
        name="throughput",
        title="Throughput",
        short="Throughput",
        text=TEXT,
        charts=charts,
        columns=2,
    )


def speeds_of(lines: Sequence[Line]) -> list[Speeds]:
    """Return the speeds of each line that has any."""
    found = []
    for line in lines:
        cells = [cell for cell in line.recorded if cell.median(speed_metric(cell))]
        if cells:
            trials = _trials(cells)
            bars = _bars(cells)
            end = upper_end([row["value"] for row in trials], [row["high"] for row in bars])
            cut = tuple(row | _cut(row, end) for row in bars)
            found.append(
                Speeds(
                    line=line.name,
                    is_disturbed=any(cell.disturbed for cell in cells),
                    bars=cut,
                    trials=trials,
                    end=end,
                )
            )
    return found


def layers(
    speeds: Speeds, series: Sequence[Series], *, bars: str = BARS, trials: str = TRIALS
) -> Drawing:
    """Return the drawing of one line.

    Args:
        bars: Name of the data set that holds ``speeds.bars``.
        trials: Of the one that holds ``speeds.trials``.
    """
    x = alt.X(
        "value:Q",
        scale=alt.Scale(domain=[0, speeds.end], nice=False),
        axis=alt.Axis(title=None, tickCount=5, format=DIGITS),
    )
    down = rows.MARKS_DOWN
    bar = alt.Chart(source(bars)).mark_bar(height=rows.THICK, yOffset=down, opacity=0.82)
    dot = alt.Chart(source(trials)).mark_point(
        filled=True, size=26, opacity=1, yOffset=down, stroke=css("paper"), strokeWidth=0.8
    )
    return alt.layer(
        bar.encode(x=x, y=rows.place(), color=colours(series), tooltip=_bar_tip()),
        *_whiskers(bars),
        dot.encode(
            x=alt.X("value:Q"),
            y=rows.place(),
            color=alt.ColorValue(css("ink")),
            shape=shapes(series),
            tooltip=_trial_tip(),
        ),
        rows.marks(bars, colours(series), shapes(series)),
        rows.names(bars),
        rows.figures(bars),
    )


def _bars(cells: Sequence[Cell]) -> list[Row]:
    medians = [float(cell.median(speed_metric(cell)) or 0) for cell in cells]
    found = []
    for row, (cell, median, text) in enumerate(zip(cells, medians, alike(medians), strict=True)):
        interval = interval_of(cell.values(speed_metric(cell)))
        count = f" (n={len(cell.ok)})" if len(cell.trials) > 1 else ""
        busy = ", machine busy" if cell.disturbed else ""
        found.append(
            {
                "row": row,
                "is_disturbed": bool(cell.disturbed),
                "backend": printable(cell.backend),
                "name": f"{printable(cell.backend)}{count}{busy}",
                "value": median,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "figure": f"{text} {cell.speed_unit}",
            }
        )
    return found


def _trials(cells: Sequence[Cell]) -> tuple[Row, ...]:
    return tuple(
        {
            "row": row,
            "backend": printable(cell.backend),
            "trial": trial["trial"],
            "seed": trial["seed"],
            "value": trial["metrics"][speed_metric(cell)],
        }
        for row, cell in enumerate(cells)
        for trial in cell.ok
        if trial["metrics"].get(speed_metric(cell)) is not None
    )


def _cut(bar: Row, end: float) -> Row:
    """Return where the whisker of a bar is drawn to, within the axis."""
    high = bar["high"]
    is_known = high is not None
    return {"drawn_high": min(high, end) if is_known else None, "is_cut": is_known and high > end}


def _whiskers(bars: str) -> list[alt.Chart]:
    """Return the intervals: a rule, a tick at each end, an arrow where it is cut."""
    base, down, ink = alt.Chart(source(bars)), rows.MARKS_DOWN, css("ink")
    rule = base.mark_rule(color=ink, strokeWidth=1.3, yOffset=down, y2Offset=down)
    tick: dict[str, Any] = {"color": ink, "thickness": 1.3, "size": 9, "yOffset": down}
    arrow = base.mark_text(text="▸", baseline="middle", color=ink, fontSize=15, yOffset=down)
    is_whole = "isValid(datum.high) && !datum.is_cut"
    return [
        rule.encode(x=alt.X("low:Q"), x2=alt.X2("drawn_high:Q"), y=rows.place()),
        base.mark_tick(**tick)
        .transform_filter("isValid(datum.low)")
        .encode(x=alt.X("low:Q"), y=rows.place()),
        base.mark_tick(**tick).transform_filter(is_whole).encode(x=alt.X("high:Q"), y=rows.place()),
        arrow.transform_filter("datum.is_cut").encode(x=alt.X("drawn_high:Q"), y=rows.place()),
    ]


def _bar_tip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("backend:N"),
        alt.Tooltip("value:Q", title="per second", format=DIGITS),
        alt.Tooltip("low:Q", title="95 % from", format=DIGITS),
        alt.Tooltip("high:Q", title="to", format=DIGITS),
    ]


def _trial_tip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("backend:N"),
        alt.Tooltip("trial:O"),
        alt.Tooltip("seed:O"),
        alt.Tooltip("value:Q", title="per second", format=DIGITS),
    ]


def _told(bar: Row) -> str:
    busy = f" ({DISTURBED})" if bar["is_disturbed"] else ""
    if bar["low"] is None:
        return f"{bar['backend']} {bar['figure']}, one trial{busy}"
    low, high = alike([bar["low"], bar["high"]])
    return f"{bar['backend']} {bar['figure']}, 95 % interval {low} to {high}{busy}"
