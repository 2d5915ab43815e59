"""The page of a run and its main chart: a writer of reports like any plugin's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchharness.api import hookimpl
from benchharness.errors import PluginError
from benchharness.report.plugins import missing_libraries


@hookimpl
def benchharness_report(
    run: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    certificates: Mapping[str, Any] | None,
) -> Mapping[str, bytes]:
    """Return the page, and the main chart where anything has a speed to show."""
    if certificates is None:
        raise PluginError("no report.html, because certificate.json cannot be read")
    if absent := missing_libraries():
        raise PluginError(
            f"no report.html, because these are not installed: {', '.join(absent)}; "
            "pip install 'benchharness[report]', then benchharness report RUN"
        )
    # Not at the top: whoever looks for plugins draws nothing.
    from benchharness.report.html.page import report_files
    from benchharness.report.table import Report

    return report_files(Report.of(run, list(map(dict, records))), certificates)
