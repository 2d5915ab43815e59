"""Pages for a browser: the report of a run and a history, each as one file that fetches nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import vl_convert

from benchharness import __version__
from benchharness.history.history import History, Series
from benchharness.report.history import (
    COLUMNS,
    LEGEND,
    excluded_text,
    heading,
    newest_versions,
    rows_of,
    state_words,
    step_words,
)
from benchharness.report.html import theme
from benchharness.report.html.charts.cells import phase_legend
from benchharness.report.html.charts.chart import Chart, Frame
from benchharness.report.html.charts.curves import timeline
from benchharness.report.html.charts.sections import sections_of
from benchharness.report.html.evidence import Proof, anchor_of, facts_of, proofs_of, settings_of
from benchharness.report.metric_columns import STATUS_WORDS
from benchharness.report.rows import printable
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
VERDICTS = {"proven": "good", "partial": "bad", "not comparable": "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """One cell of the table.

    Attributes:
        mood: ``good``, ``bad``, ``warn`` or empty.
        anchor: What it links to within the page; empty for nothing.
        is_first: Whether it begins a group of columns.
    """

    text: str
    mood: str
    anchor: str
    is_first: bool


def report_page(
    report: Report, certificates: Mapping[str, Any], *, vega: str, poster: str = ""
) -> str:
    """Return the report of a run.

    Args:
        report: All of it but charts and evidence.
        certificates: As in certificate.json; empty where there is none.
        vega: The script that draws, see ``vega_bundle``.
        poster: The main chart as SVG, for readers without scripts.
    """
    rows, backends = report.rows, report.backends
    proofs = proofs_of(certificates)
    groups = report.groups(is_detailed=True)
    sections = sections_of(Frame.of(rows, backends))
    resolved = report.run.get("resolved") or {}
    return _render(
        "page.html",
        charts=[chart for section in sections for chart in section.charts],
        vega=vega,
        title=report.heading,
        setting=report.setting,
        inputs=report.inputs,
        missing=report.missing_trials,
        uses_substitutes=report.uses_substitutes,
        version=printable(report.run.get("benchharness") or __version__),
        answers=report.answers,
        series=[(printable(series.backend), series) for series in theme.series_of(backends)],
        groups=groups,
        rows=[
            (row.label, [*_table_cells(report, index, proofs)]) for index, row in enumerate(rows)
        ],
        legend=report.legend,
        notes=report.notes,
        sections=sections,
        phases=phase_legend(),
        proofs=proofs,
        settings=settings_of(rows, backends),
        facts=facts_of(report.run, rows),
        resolved=json.dumps(resolved, indent=1, ensure_ascii=False, default=str)
        if resolved
        else "",
        downloads=_downloads(report.records) if report.records else [],
        poster=poster,
    )


def history_page(history: History, *, vega: str) -> str:
    """Return the page of a suite over time.

    Args:
        vega: The script that draws, see ``vega_bundle``.
    """
    charts = [
        timeline(series, name=f"series-{number}")
        for number, series in enumerate(history.series, start=1)
    ]
    return _render(
        "history.html",
        charts=charts,
        vega=vega,
        source=printable(history.source),
        version=__version__,
        series=[
            _history_part(series, chart)
            for series, chart in zip(history.series, charts, strict=True)
        ],
        columns=COLUMNS,
        excluded=excluded_text(history),
        damages=list(map(printable, history.damages)),
        legend=LEGEND,
    )


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


def _render(name: str, *, charts: Sequence[Chart], vega: str, **content: Any) -> str:
    """Return a template filled in; no name in it acts as markup."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchharness.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = resources.files(__package__) / "templates"
    specs = {chart.name: chart.as_dict() for chart in charts}
    return environment.get_template(name).render(
        policy=POLICY,
        colours=theme.properties(),
        style=(templates / "page.css").read_text(encoding="utf-8"),
        script=(templates / "page.js").read_text(encoding="utf-8"),
        charts=embedded({"config": theme.config(), "charts": specs}),
        vega=vega,
        **content,
    )


def _table_cells(report: Report, index: int, proofs: Sequence[Proof]) -> Iterable[TableCell]:
    row = report.rows[index]
    # Nobody expects native rows to do the same work, so that their verdict is no bad news.
    is_native = row.recorded[0].track == "native"
    for group in report.groups(is_detailed=True):
        for position, text in enumerate(map(str.strip, group.rows[index])):
            is_verdict = text in VERDICTS
            yield TableCell(
                text=text,
                mood="" if is_native and is_verdict else _mood(text),
                anchor=anchor_of(row, proofs) if is_verdict else "",
                is_first=position == 0,
            )


def _mood(text: str) -> str:
    if text in STATUS_WORDS.values() or text == "missed":
        return "bad"
    if text.endswith("!") or text == "differ":
        return "warn"
    return VERDICTS.get(text, "")


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


def _history_part(series: Series, chart: Chart) -> dict[str, Any]:
    return {
        "name": chart.name,
        "title": heading(series),
        "machine": printable(series.terms.machine),
        "steps": [
            ("bad" if step.is_worse else "good", step_words(series, step)) for step in series.steps
        ],
        "state": state_words(series),
        "alt": chart.alt,
        "rows": rows_of(series)[::-1],
        "versions": newest_versions(series),
    }
