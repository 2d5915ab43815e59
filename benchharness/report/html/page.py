"""The whole report as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchharness import __version__
from benchharness.report import title
from benchharness.report.html import facts, theme
from benchharness.report.html.charts import (
    accuracy,
    learning,
    memory,
    phases,
    ratios,
    throughput,
    trials,
)
from benchharness.report.html.charts.chart import Section
from benchharness.report.html.charts.throughput import Speeds
from benchharness.report.html.downloads import downloads_of
from benchharness.report.html.proofs import proofs_of
from benchharness.report.html.settings import settings_of
from benchharness.report.html.table import table_of
from benchharness.report.html.templating import POLICY, embedded, own, template
from benchharness.report.notes import busy_of, notes_of
from benchharness.report.rows import Line, backends_of, cores_of, lines_of, printable
from benchharness.report.stops import stops_of
from benchharness.report.summary import SummaryLine
from benchharness.report.table import MEDIANS
from benchharness.report.work import work_of
from benchharness.results.record import Record


def page(
    run: Mapping[str, Any],
    records: Sequence[Record],
    certificates: Mapping[str, Any],
    *,
    answers: Sequence[SummaryLine],
    speeds: Sequence[Speeds],
    vega: str,
    poster: str = "",
) -> str:
    """Return the report.

    Args:
        run: As in run.json.
        records: The last of each trial.
        certificates: As in certificate.json; empty where there is none.
        answers: Of the run.
        speeds: Of the run's lines, as the main chart shows them.
        vega: The script that draws, see ``bundle``.
        poster: The main chart as SVG, for readers without scripts.
    """
    backends = backends_of(run, records)
    lines = lines_of(records, backends, cores=cores_of(run))
    series = theme.series_of(backends)
    proofs = proofs_of(certificates)
    table = table_of(lines, backends, proofs)
    sections = sections_of(lines, backends, series, speeds)
    return template("page.html").render(
        title=title.heading(run),
        setting=title.setting(run),
        inputs=title.inputs(run),
        lacking=title.lacking(run, records),
        uses_substitutes=title.uses_substitutes(run),
        version=printable(run.get("benchharness") or __version__),
        answers=answers,
        lines=lines,
        series=[(printable(one.backend), one) for one in series],
        table=table,
        legend=[MEDIANS, *work_of(lines)],
        notes=[*notes_of(lines), *busy_of(run, lines), *stops_of(run)],
        sections=sections,
        phases=phases.legend(),
        proofs=proofs,
        settings=settings_of(lines, backends),
        facts=[
            ("Machine", facts.machine_of(run)),
            ("Software", facts.software_of(run, lines)),
            ("Data and weights", facts.inputs_of(run)),
        ],
        resolved=json.dumps(run.get("resolved"), indent=1, ensure_ascii=False, default=str)
        if run.get("resolved")
        else "",
        downloads=downloads_of(records) if records else [],
        poster=poster,
        policy=POLICY,
        colours=theme.properties(),
        style=own("page.css"),
        script=own("page.js"),
        vega=vega,
        charts=embedded(
            {
                "config": theme.config(),
                "charts": {
                    chart.name: chart.as_dict() for section in sections for chart in section.charts
                },
            }
        ),
    )


def sections_of(
    lines: Sequence[Line],
    backends: Sequence[str],
    series: Sequence[theme.Series],
    speeds: Sequence[Speeds],
) -> list[Section]:
    """Return the sections of charts that have something to show, from top to bottom."""
    found = (
        throughput.section(speeds, series),
        ratios.section(lines, backends, series),
        learning.section(lines, series),
        accuracy.section(lines, series),
        phases.section(lines, series),
        memory.section(lines, series),
        trials.section(lines, series),
    )
    return [section for section in found if section is not None]
