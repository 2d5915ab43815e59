"""``benchharness noise``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchharness.api import hookimpl
from benchharness.cli import options
from benchharness.cli.options import disable_plugin


@click.command("noise")
@click.argument("suite", type=options.PATH)
@disable_plugin
@options.profile
@options.backends
@options.benchmarks
@options.columns
@click.option(
    "--pairs", type=click.IntRange(6, 1000), default=12, show_default=True, help="Of each cell."
)
@options.data
@options.device
@options.results
@options.timeout
@options.offline
@click.option("--json", "as_json", is_flag=True, help="Print the noise as JSON.")
@options.quiet
def command(
    *,
    suite: Path,
    profile: str | None,
    backends: tuple[str, ...],
    benchmarks: tuple[str, ...],
    columns: tuple[str, ...],
    pairs: int,
    data: Path | None,
    device: str,
    results: Path,
    timeout_s: float | None,
    offline: bool,
    as_json: bool,
    quiet: bool,
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
    from benchharness.report.comparison import NoiseTable, noise_line
    from benchharness.run.events import RunFinished
    from benchharness.run.options import RunOptions

    if problems := unknown_columns(columns, option="--column"):
        raise SuiteError("command line", problems)
    itself = Side(label="itself")
    request = RunOptions(
        suite=suite,
        profile=profile,
        backends=backends,
        benchmarks=benchmarks,
        data=data,
        device=device,
        results=results,
        timeout_s=timeout_s,
        proof="no",
        offline=offline,
    )
    comparison = ComparisonOptions(
        request=request,
        a=itself,
        b=itself,
        columns=columns,
        fewest=pairs,
        most=pairs,
        command="noise",
    )
    with watch(is_quiet=quiet or as_json) as observe:
        report = report_noise(run_comparison(comparison, observe))
        code = 1 if report.failures else 0
        observe(RunFinished(exit_code=code, folder=report.folder, answers=(noise_line(report),)))
    if as_json:
        click.echo(json.dumps(report.as_dict()))
        return code
    from rich.console import Console

    console = Console()
    console.print()
    console.print(NoiseTable(report=report))
    return code


@hookimpl
def benchharness_command() -> click.Command:
    """Return the command."""
    return command
