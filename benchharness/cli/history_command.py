"""``benchharness history``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchharness.api import hookimpl
from benchharness.cli import options
from benchharness.cli.streams import echo


@click.command("history")
@click.argument("suite", required=False)
@click.option("--column", help="Column to show; by default images per second, or the median time.")
@options.benchmarks
@options.backends
@options.results
@click.option(
    "--storage",
    type=options.FOLDER,
    help="Read the files of pytest-benchmark in this folder instead (usually .benchmarks).",
)
@click.option(
    "--all-machines", "every_machine", is_flag=True, help="Show every machine, one series for each."
)
@click.option(
    "--smallest",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.03,
    show_default=True,
    help="Smallest step to report: a share, or of an accuracy the difference.",
)
@click.option(
    "--last", type=click.IntRange(1), default=12, show_default=True, help="Rows of each table."
)
@click.option("--html", "page", type=options.PATH, help="Write a page with charts.")
@options.as_json
def command(
    *,
    suite: str | None,
    results: Path,
    storage: Path | None,
    every_machine: bool,
    smallest: float,
    last: int,
    page: Path | None,
    as_json: bool,
    **cells: Any,
) -> int:
    """Show the results of SUITE over time and detect change points.

    SUITE is a name, a file or a folder of recorded runs; without it, every suite is shown. Runs of
    a different machine, on different data or with different settings are not joined; the number of
    excluded runs is shown with the reason. A step is at least three runs long.

    Exit codes: 0 success; 1 nothing was recorded; 2 invalid request.
    """
    from benchharness.errors import RunError
    from benchharness.history.history import history_of
    from benchharness.history.runs import Choice, read_runs, read_storage, suite_folders

    choice = Choice(**cells)
    if storage is None:
        folders = suite_folders(suite, results)
        observations, source = read_runs(folders, choice), ", ".join(map(str, folders))
    else:
        observations, source = read_storage(storage, choice, suite=suite), str(storage)
    history = history_of(
        observations.readings,
        source=source,
        every_machine=every_machine,
        smallest=smallest,
        damages=observations.damages,
    )
    for damage in history.damages:
        echo(f"warning: {damage}", err=True)
    if not history.series:
        raise RunError(
            f"{source}: no recorded run has this column; try another --column, --benchmark "
            "or --backend"
        )
    if as_json:
        click.echo(json.dumps(history.as_dict(), indent=1))
    else:
        from rich.console import Console

        from benchharness.report.history import history_view

        Console(highlight=False).print(history_view(history, last=last))
    if page is not None:
        from benchharness.files import atomic_write_text, unwritten
        from benchharness.report.plugins import missing_libraries

        if absent := missing_libraries():
            raise RunError(
                f"{page}: expected {', '.join(absent)} to draw it with, found none; "
                "pip install 'benchharness[report]'"
            )
        from benchharness.report.html.page import history_page, vega_bundle

        try:
            atomic_write_text(page, history_page(history, vega=vega_bundle()))
        except OSError as error:
            raise RunError(f"cannot write {page}: {unwritten(error)}") from error
        echo(f"page: {page}", err=True)
    return 0


@hookimpl
def benchharness_command() -> click.Command:
    """Return the command."""
    return command
