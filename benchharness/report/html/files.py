"""Files of the report in a run's folder: the page, and the main chart alone as SVG and PNG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from benchharness.files import atomic_write_bytes, writable
from benchharness.report.html.cells import throughput
from benchharness.report.html.chart import Frame
from benchharness.report.html.page import report_page, vega_bundle
from benchharness.report.html.theme import STATIC_FONT, config, css, in_light
from benchharness.report.table import Report
from benchharness.results.load import load_run
from benchharness.results.run_folder import RunFolder

PAGE, SVG, PNG = "report.html", "chart.svg", "chart.png"
# Of the main chart: pixels, characters in a line of text, and how much finer the PNG is.
WIDTH, CHARACTERS, SCALE = 720, 124, 2
FONT_SIZE = 17


def write_report(folder: RunFolder) -> list[Path]:
    """Write the report of a run, replacing an earlier one.

    Returns:
        The files; without charts where nothing has a speed to show.

    Raises:
        RunError: The folder cannot be read or written.
    """
    records, _ = folder.records()
    report = Report.of(load_run(folder, records)[0], records)
    spec = poster(report)
    svg = vl_convert.vegalite_to_svg(spec) if spec else ""
    page = report_page(report, folder.read_certificates(), vega=vega_bundle(), poster=svg)
    contents = {PAGE: page.encode()}
    if svg:
        contents |= {SVG: svg.encode(), PNG: vl_convert.svg_to_png(svg, scale=SCALE)}
    for name, content in contents.items():
        with writable(folder.path / name, elsewhere=""):
            atomic_write_bytes(folder.path / name, content)
    return [folder.path / name for name in contents]


def poster(report: Report) -> dict[str, Any]:
    """Return the main chart as Vega-Lite takes it, in the light theme; empty without speeds.

    What was run, where and on what is part of it: a picture is sent on without its page.
    """
    data: dict[str, Any] = {}
    panels = []
    for chart in throughput(Frame(report.rows, report.backends)):
        data |= chart.data
        title = alt.TitleParams(
            text=f"{chart.title} ({chart.caption})" if chart.caption else chart.title,
            subtitle=_wrapped([a.said for a in report.answers if a.subject == chart.title]),
            offset=8,
        )
        panels.append(chart.drawing.properties(width=WIDTH, height=chart.height, title=title))
    if not panels:
        return {}
    overall = [f"{a.subject}: {a.said}" for a in report.answers if a.is_overall]
    legend = "images per second: medians, single trials, 95 % intervals"
    title = alt.TitleParams(
        text=report.heading,
        subtitle=_wrapped([report.setting, report.inputs, *overall, legend]),
        fontSize=FONT_SIZE,
        offset=16,
    )
    drawing = alt.vconcat(*panels, spacing=26).resolve_scale(x="independent", y="independent")
    spec: dict[str, Any] = drawing.properties(title=title).to_dict(validate=False)
    whole = {"background": css("paper"), "padding": 24, "autosize": "pad"}
    spec |= {"datasets": data, "config": config(font=STATIC_FONT) | whole}
    light: dict[str, Any] = in_light(spec)
    return light


def _wrapped(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, CHARACTERS)]
