"""The report of a run in Markdown: a writer of reports like any plugin's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchharness.api import hookimpl

MARKDOWN = "report.md"


@hookimpl
def benchharness_report(
    run: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    """Return the table in Markdown."""
    return {MARKDOWN: markdown(run, list(map(dict, records)))}


def markdown(run: Mapping[str, Any], records: Sequence[dict[str, Any]]) -> str:
    """Return the report in Markdown, all measures side by side, with its notes below."""
    # Not at the top: whoever looks for plugins needs no table.
    from benchharness.report.table import Report

    report = Report.of(run, records)
    above = (report.setting, report.inputs, report.missing_trials)
    parts = [f"### {escaped(report.heading)}", *map(escaped, above)]
    if report.rows:
        parts.append(markdown_list(map(str, report.answers)))
        groups = report.groups()
        columns = [f"{group.title} {column}" for group in groups for column in group.columns]
        rows = [
            list(map(escaped, (row.label, *(t for group in groups for t in group.rows[index]))))
            for index, row in enumerate(report.rows)
        ]
        parts.append(markdown_table(["benchmark", *map(escaped, columns)], rows, texts=1))
        notes = (*report.notes, *report.legend(groups))
        parts.append(markdown_list(": ".join(note) for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return a table of escaped texts; its first columns hold words, the others numbers."""
    alignment = "|".join(["", *["---"] * texts, *["---:"] * (len(headings) - texts), ""])
    first, *rest = ("| " + " | ".join(map(str.strip, row)) + " |" for row in (headings, *rows))
    return "\n".join([first, alignment, *rest])


def markdown_list(texts: Iterable[str]) -> str:
    """Return a list of texts that are no markup."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def escaped(text: str) -> str:
    """Return text in which Markdown sees no markup."""
    for char in "\\|<*_[":
        text = text.replace(char, f"\\{char}")
    return text
