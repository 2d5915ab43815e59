"""Pages for a browser: the report of a run and a history, each as one file that fetches nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import vl_convert

from benchharness import __version__
from benchharness.history.history import History
from benchharness.report import history as texts
from benchharness.report.html import cells, curves, theme
from benchharness.report.html.chart import Chart, Frame
from benchharness.report.html.evidence import anchor_of, facts_of, proofs_of, settings_of
from benchharness.report.rows import STATUS_WORDS, printable
from benchharness.report.table import Report
from benchharness.results.record import Record
from benchharness.results.tables import TABLES, csv_text

# A page may draw and style itself, and fetch nothing. Vega compiles its expressions.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)
LICENCE = "/* Vega, Vega-Lite and Vega-Embed, with their dependencies: BSD 3-Clause and MIT. */"
CSV_FILES = {
    "trials.csv": "a row per trial, all metrics",
    "epochs.csv": "a row per epoch of every trial",
    "summary.csv": "a row per cell, medians over its trials",
}
MOODS = {
    "proven": "good",
    "partial": "bad",
    "not comparable": "bad",
    "missed": "bad",
    "differ": "warn",
    **dict.fromkeys(STATUS_WORDS.values(), "bad"),
}


# Sections of charts, from top to bottom.
CHARTS: Mapping[str, Callable[[Frame], list[Chart]]] = {
    "throughput": cells.throughput,
    "ratios": cells.ratios,
    "learning": curves.learning,
    "accuracy": curves.accuracy,
    "phases": cells.phases,
    "memory": cells.memory,
    "trials": cells.trials,
}


def report_page(
    report: Report, certificates: Mapping[str, Any], *, vega: str, poster: str = ""
) -> str:
    """Return the report of a run, with its main chart as SVG for readers without scripts.

    ``certificates`` is the content of certificate.json, ``vega`` that of ``vega_bundle``.
    """
    rows, backends = report.rows, report.backends
    proofs, groups = proofs_of(certificates), report.groups(is_detailed=True)
    charts = charts_of(Frame.of(rows, backends))
    resolved = report.run.get("resolved")
    return _render(
        "page.html",
        drawn=[chart for section in charts.values() for chart in section],
        vega=vega,
        charts=charts,
        report=report,
        version=printable(report.run.get("benchharness") or __version__),
        series=[(printable(series.backend), series) for series in theme.series_of(backends)],
        groups=groups,
        rows=[
            # Nobody expects native rows to do the same work, so their verdict is no bad news.
            (row.label, anchor_of(row, proofs), row.recorded[0].track == "native")
            for row in rows
        ],
        moods=MOODS,
        legend=report.legend(groups) if rows else [],
        steady_band=f"{cells.STEADY_BAND:.0%}",
        phases=cells.phase_legend(),
        proofs=proofs,
        settings=settings_of(rows, backends),
        facts=facts_of(report.run, rows),
        resolved=json.dumps(resolved, indent=1, ensure_ascii=False, default=str)
        if resolved
        else "",
        downloads=_downloads(report.records) if report.records else [],
        poster=poster,
    )


def charts_of(frame: Frame) -> dict[str, list[Chart]]:
    """Return the charts of each section that has something to show."""
    return {name: charts for name, make in CHARTS.items() if (charts := make(frame))}


def history_page(history: History, *, vega: str) -> str:
    """Return the page of a suite over time; ``vega`` is the script of ``vega_bundle``."""
    charts = [
        curves.timeline(series, name=f"series-{number}")
        for number, series in enumerate(history.series, start=1)
    ]
    return _render(
        "history.html",
        drawn=charts,
        vega=vega,
        charts=charts,
        version=__version__,
        history=history,
        printable=printable,
        texts=texts,
    )


@cache
def vega_bundle() -> str:
    """Return Vega-Embed with all that it needs; it defines ``vegaEmbed``."""
    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # A browser ends the script at the first such tag, even inside a string.
    return f"{LICENCE}\n{code}".replace("</script", "<\\/script")


def embedded(content: Any) -> str:
    """Return JSON that is safe within a script element, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _render(name: str, *, drawn: Sequence[Chart], vega: str, **content: Any) -> str:
    """Return a template filled in; no name in it acts as markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchharness.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = resources.files(__package__) / "templates"
    specs = {chart.name: chart.as_dict() for chart in drawn}
    return environment.get_template(name).render(
        policy=POLICY,
        colours=theme.properties(),
        style=(templates / "page.css").read_text(encoding="utf-8"),
        script=(templates / "page.js").read_text(encoding="utf-8"),
        specs=embedded({"config": theme.config(), "charts": specs}),
        vega=vega,
        **content,
    )


def _downloads(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the CSV files of a run, byte for byte as in its folder, as links to themselves."""
    downloads = []
    for name, rows in TABLES.items():
        content = csv_text(rows(records)).encode()
        code = base64.b64encode(content).decode("ascii")
        href = f"data:text/csv;charset=utf-8;base64,{code}"
        downloads.append(
            {"name": name, "meaning": CSV_FILES[name], "href": href, "size": len(content)}
        )
    return downloads
