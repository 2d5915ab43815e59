"""``benchharness report``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchharness.cli import options
from benchharness.cli.streams import echo
from benchharness.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console


@click.command("report")
@click.argument("run", type=options.PATH)
@options.disable_plugin
@options.results
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
def command(*, run: Path, results: Path, markdown: bool) -> int:
    """Print the table of a recorded run again, and rebuild its CSV files, page and chart.

    RUN is the folder of a run, the folder of a suite (its latest run), or the name of a suite.
    """
    from benchharness.results.load import load_run
    from benchharness.results.run_folder import find_run
    from benchharness.results.tables import write_csv_files

    folder = find_run(run, results)
    records, damages = folder.records()
    described, warnings = load_run(folder, records)
    try:
        write_csv_files(folder.path, records)
    except RunError as error:
        warnings.append(str(error))
    for warning in [*damages, *warnings]:
        echo(f"warning: {warning}", err=True)
    if markdown:
        from benchharness.report.markdown import markdown as as_markdown

        click.echo(as_markdown(described, records))
    else:
        show(folder.path)
    publish(folder.path, tell=lambda line: echo(line, err=True))
    return 0


def publish(folder: Path, *, tell: Callable[[str], None]) -> Path | None:
    """Write the reports of a run, and return where the page is; None where there is none.

    Args:
        tell: Called with a message: where the page is, and which writers failed.
    """
    from benchharness.plugins import disabled, extensions
    from benchharness.report.plugins import PAGE, write_reports
    from benchharness.results.run_folder import RunFolder

    run = RunFolder.open(folder)
    page = run.path / PAGE
    if page not in write_reports(run, tell=tell):
        if "html" not in {*extensions("reports"), *disabled()}:
            tell("WARNING: no report.html: benchharness is newer than what was installed")
        return None
    tell(f"report: {page}")
    return page


def show(folder: Path) -> None:
    """Print the table of a run and where its files are."""
    from rich.console import Console

    from benchharness.report.table import results_table
    from benchharness.results.load import load_run
    from benchharness.results.run_folder import RunFolder

    run = RunFolder.open(folder)
    records, _ = run.records()
    described, _ = load_run(run, records)
    console = Console()
    console.print("", results_table(described, records))
    print_place(console, f"records, CSV files and logs: {run.path}")


def print_place(console: Console, line: str) -> None:
    """Print where files are, in a line that is never broken."""
    console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
