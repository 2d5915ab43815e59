"""``benchharness noise``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchharness.api import hookimpl
from benchharness.cli import options


@click.command("noise")
@options.suite
@options.request
@options.columns
@click.option(
    "--pairs", type=click.IntRange(6, 1000), default=12, show_default=True, help="Of each cell."
)
@options.results
@options.as_json
@options.quiet
def command(
    *, suite: Path, columns: tuple[str, ...], pairs: int, as_json: bool, quiet: bool, **others: Any
) -> int:
    """Measure the noise of this machine: how small a difference it can show in SUITE.

    Every cell runs against itself, as `benchharness compare` runs two sides. The noise is stored
    for this machine, and later comparisons use it.

    Exit codes: 0 all measured; 1 a trial failed; 2 invalid request; 130 interrupted.
    """
    from benchharness.compare.noise import report_noise
    from benchharness.compare.run import ComparisonOptions, run_comparison
    from benchharness.compare.targets import Side
    from benchharness.compare.verdict import unknown_columns
    from benchharness.errors import SuiteError
    from benchharness.progress import watch
    from benchharness.report.comparison import noise_line, noise_table
    from benchharness.run.events import RunFinished
    from benchharness.run.options import RunOptions

    if problems := unknown_columns(columns, option="--column"):
        raise SuiteError("command line", problems)
    itself = Side(label="itself")
    comparison = ComparisonOptions(
        request=RunOptions(suite=suite, proof="no", **others),
        a=itself,
        b=itself,
        columns=columns,
        fewest=pairs,
        most=pairs,
        command="noise",
    )
    with watch(is_quiet=quiet or as_json) as observe:
        report = report_noise(*run_comparison(comparison, observe))
        code = 1 if report.failures else 0
        observe(RunFinished(exit_code=code, folder=report.folder, answers=(noise_line(report),)))
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return code
    from rich.console import Console

    console = Console()
    console.print("", noise_table(report, width=console.width))
    return code


@hookimpl
def benchharness_command() -> click.Command:
    """Return the command."""
    return command
