"""A suite over time as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchharness import __version__
from benchharness.history.history import History, Series
from benchharness.report.history import COLUMNS, LEGEND
from benchharness.report.history_words import (
    aside_words,
    heading,
    newest_versions,
    rows_of,
    state_words,
    step_words,
)
from benchharness.report.html import theme
from benchharness.report.html.charts import timeline
from benchharness.report.html.templating import POLICY, embedded, own, template
from benchharness.report.rows import printable


def history_page(history: History, *, vega: str) -> str:
    """Return the page.

    Args:
        vega: The script that draws, see ``bundle``.
    """
    charts = [timeline.chart(one, name=f"series-{number}") for number, one in _numbered(history)]
    return template("history.html").render(
        source=printable(history.source),
        version=__version__,
        series=[_part(one, number) for number, one in _numbered(history)],
        columns=COLUMNS,
        aside=aside_words(history),
        damages=[printable(line) for line in history.damages],
        legend=LEGEND,
        policy=POLICY,
        colours=theme.properties(),
        style=own("page.css"),
        script=own("page.js"),
        vega=vega,
        charts=embedded(
            {"config": theme.config(), "charts": {one.name: one.as_dict() for one in charts}}
        ),
    )


def _numbered(history: History) -> Sequence[tuple[int, Series]]:
    return list(enumerate(history.series, start=1))


def _part(series: Series, number: int) -> dict[str, Any]:
    """Return what the page says of one series."""
    return {
        "name": f"series-{number}",
        "title": heading(series),
        "machine": printable(series.terms.machine),
        "steps": [
            ("bad" if step.is_worse else "good", step_words(series, step)) for step in series.steps
        ],
        "state": state_words(series),
        "alt": timeline.alt_text(series),
        "rows": rows_of(series)[::-1],
        "versions": newest_versions(series),
    }
