"""A suite over time in a terminal: for each cell a line of marks, its steps, a table of runs."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.history.history import History, Series
from benchharness.report.history_words import (
    aside_words,
    heading,
    newest_versions,
    rows_of,
    sparkline,
    stands_out,
    state_words,
    step_words,
)
from benchharness.report.rows import printable

COLUMNS = ("run", "commit", "value", "spread", "changed")
LEGEND = (
    "value: median of the run's trials or rounds; spread: from lowest to highest trial, or between "
    "the quartiles of the rounds, in % of it; changed: what was another version than in the run "
    "before; +: with uncommitted changes"
)


def history_view(history: History, *, last: int) -> Group:
    """Return everything, series by series.

    Args:
        last: Rows of each table; the steps are told of all runs.
    """
    return Group(*_parts(history, last))


def _parts(history: History, last: int) -> Iterator[RenderableType]:
    for series in history.series:
        yield Text(heading(series), style="bold")
        yield Text(f"on {printable(series.terms.machine)}", style="dim")
        yield Text(sparkline(series))
        for step in series.steps:
            style = "bold red" if step.is_worse else "bold green"
            yield Text(step_words(series, step), style=style)
        yield Text(state_words(series), style="yellow" if stands_out(series) else "")
        yield _table(series, last)
        if versions := newest_versions(series):
            yield Text(f"newest: {versions}", style="dim")
        yield Text()
    yield from (Text(line, style="yellow") for line in aside_words(history))
    yield Text(LEGEND, style="dim")


def _table(series: Series, last: int) -> Table:
    table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, header_style="")
    for name in COLUMNS:
        is_number, is_words = name in ("value", "spread"), name == "changed"
        justify: JustifyMethod = "right" if is_number else "left"
        table.add_column(name, justify=justify, no_wrap=not is_words, overflow="fold")
    rows = rows_of(series)
    for row in rows[-last:]:
        table.add_row(*map(Text, row))
    if len(rows) > last:
        table.caption = f"{len(rows) - last} earlier runs not shown"
        table.caption_justify = "left"
    return table
