"""``benchharness merge``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from benchharness.cli import options
from benchharness.cli.streams import echo


@click.command("merge")
@click.argument("runs", nargs=-1, required=True, type=options.PATH, metavar="RUN...")
@click.option("--output", type=options.PATH, required=True, help="Folder of the merged run.")
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(["code"]),
    help="Merge although versions of benchharness or of backends differ.",
)
@options.disable_plugin
@options.results
def command(*, runs: tuple[Path, ...], output: Path, ignore: tuple[str, ...], results: Path) -> int:
    """Merge runs of one suite, made on several machines or days, into the run --output.

    RUN is a folder, a zip of one, or a suite's name, two or more. Suite, data, weights and code
    have to be the same; machines, dates and packages may differ, and are named. Trials are
    numbered on, all backends alike, and each record names its run.

    Exit codes: 0 success; 1 a run cannot be read; 2 the runs differ, or the folder exists.
    """
    from benchharness.cli.report_command import publish, show
    from benchharness.results.merge import merge
    from benchharness.results.run_folder import open_run
    from benchharness.results.tables import write_csv_files

    if len(runs) < 2:
        raise click.UsageError(f"expected two runs or more, found {runs[0]} alone")
    with ExitStack() as stack:
        folders = [stack.enter_context(open_run(run, results)) for run in runs]
        folder, notes = merge(folders, output, ignore=ignore)
    for note in notes:
        echo(note, err=True)
    write_csv_files(folder.path, folder.records()[0])
    show(folder.path)
    publish(folder.path, tell=lambda line: echo(line, err=True))
    return 0
