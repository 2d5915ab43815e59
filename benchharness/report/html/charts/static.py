"""The main chart on its own: throughput of every benchmark with its answer, to be shown around."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

from benchharness.report import title
from benchharness.report.comparisons import DISTURBED
from benchharness.report.html.charts import rows, throughput
from benchharness.report.html.charts.chart import Drawing, Row
from benchharness.report.html.charts.throughput import Speeds
from benchharness.report.html.theme import STATIC_FONT, Series, config, css, in_light
from benchharness.report.summary import SummaryLine

WIDTH, CHARACTERS, SCALE = 720, 124, 2
FONT_SIZE = 17


def poster(
    run: Mapping[str, Any],
    speeds: Sequence[Speeds],
    series: Sequence[Series],
    answers: Sequence[SummaryLine],
) -> dict[str, Any]:
    """Return the chart as Vega-Lite takes it, in the light theme.

    What was run, where and on what is part of it: a picture is sent on without its page.

    Args:
        speeds: At least one.
    """
    data: dict[str, Sequence[Row]] = {}
    charts = []
    for number, one in enumerate(speeds, start=1):
        bars, trials = f"bars-{number}", f"trials-{number}"
        data |= {bars: one.bars, trials: one.trials}
        charts.append(_panel(one, series, _said(one.line, answers), bars=bars, trials=trials))
    drawing = alt.vconcat(*charts, spacing=26).resolve_scale(x="independent", y="independent")
    spec: dict[str, Any] = drawing.properties(title=_heading(run, answers)).to_dict(validate=False)
    whole = config(font=STATIC_FONT) | {
        "background": css("paper"),
        "padding": 24,
        "autosize": "pad",
    }
    light: dict[str, Any] = in_light(spec | {"datasets": data, "config": whole})
    return light


def as_svg(spec: Mapping[str, Any]) -> str:
    """Return a chart as SVG."""
    return vl_convert.vegalite_to_svg(dict(spec))


def as_png(svg: str) -> bytes:
    """Return a drawn chart as PNG, twice as fine as it is large."""
    return vl_convert.svg_to_png(svg, scale=SCALE)


def _panel(
    speeds: Speeds, series: Sequence[Series], said: Sequence[str], *, bars: str, trials: str
) -> Drawing:
    busy = f" ({DISTURBED})" if speeds.is_disturbed else ""
    heading = alt.TitleParams(text=f"{speeds.line}{busy}", subtitle=_wrapped(said), offset=8)
    drawing = throughput.layers(speeds, series, bars=bars, trials=trials)
    drawn: Drawing = drawing.properties(
        width=WIDTH, height=rows.height(len(speeds.bars)), title=heading
    )
    return drawn


def _said(subject: str, answers: Sequence[SummaryLine]) -> list[str]:
    return [answer.said for answer in answers if answer.subject == subject]


def _heading(run: Mapping[str, Any], answers: Sequence[SummaryLine]) -> alt.TitleParams:
    overall = [f"overall: {said}" for said in _said("overall", answers)]
    bars = "images per second: medians, single trials, 95 % intervals"
    below = _wrapped([title.setting(run), title.inputs(run), *overall, bars])
    return alt.TitleParams(text=title.heading(run), subtitle=below, fontSize=FONT_SIZE, offset=16)


def _wrapped(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, CHARACTERS)]
