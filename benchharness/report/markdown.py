"""The table for a pull request: a writer of reports like any plugin's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchharness.api import hookimpl

MARKDOWN = "report.md"


@hookimpl
def benchharness_report(
    run: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> Mapping[str, str]:
    """Return the table in Markdown."""
    # Not at the top: whoever looks for plugins needs no table.
    from benchharness.report.table import markdown

    return {MARKDOWN: markdown(run, list(map(dict, records)))}
