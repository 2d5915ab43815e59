"""The report's files in a run's folder: the page and the main chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.files import atomic_write_bytes, unwritten
from benchharness.report.html import theme
from benchharness.report.html.bundle import bundle
from benchharness.report.html.charts import static
from benchharness.report.html.charts.throughput import speeds_of
from benchharness.report.html.page import page
from benchharness.report.rows import backends_of, cores_of, lines_of
from benchharness.report.summary import answers_in_parts
from benchharness.results.recovery import load_run
from benchharness.results.store import RunFolder

PAGE, SVG, PNG = "report.html", "chart.svg", "chart.png"


def write_report(folder: RunFolder) -> list[Path]:
    """Write the report of a run, replacing an earlier one.

    Returns:
        The files; without charts where nothing has a speed to show.

    Raises:
        RunError: The folder cannot be read or written.
    """
    records, _ = folder.records()
    run, _ = load_run(folder, records)
    backends = backends_of(run, records)
    lines = lines_of(records, backends, cores=cores_of(run))
    answers, speeds = answers_in_parts(lines), speeds_of(lines)
    svg = ""
    if speeds:
        series = theme.series_of(backends)
        svg = static.as_svg(static.poster(run, speeds, series, answers))
    contents = {
        PAGE: page(
            run,
            records,
            _certificates(folder),
            answers=answers,
            speeds=speeds,
            vega=bundle(),
            poster=svg,
        ).encode()
    }
    if svg:
        contents |= {SVG: svg.encode(), PNG: static.as_png(svg)}
    return [_write(folder.path / name, content) for name, content in contents.items()]


def _certificates(folder: RunFolder) -> dict[str, Any]:
    """Return certificate.json; empty where nobody asked for a proof."""
    path = folder.path / "certificate.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: expected JSON, found: {error}; remove the file to report without it"
        ) from error
    return content


def _write(path: Path, content: bytes) -> Path:
    try:
        atomic_write_bytes(path, content)
    except OSError as error:
        raise RunError(
            f"{path}: expected to be able to write here, found: {unwritten(error)}"
        ) from error
    return path
