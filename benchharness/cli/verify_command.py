"""``benchharness verify``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchharness.cli import options
from benchharness.cli.streams import echo


@click.command("verify")
@click.argument("run", type=options.PATH)
@options.disable_plugin
@options.results
@options.as_json
def command(*, run: Path, results: Path, as_json: bool) -> int:
    """Recompute every figure of RUN from its samples, and name what does not follow.

    RUN is the folder of a run, a zip of one, or the name of a suite (its latest run). Metrics,
    tables, answers, certificates and verdicts are compared; nothing is run, written or downloaded.

    Exit codes: 0 all follows; 1 something does not, or the run cannot be read.
    """
    from benchharness.results.run_folder import open_run
    from benchharness.verify.run import verify_run

    with open_run(run, results) as folder:
        findings = verify_run(folder)
    if as_json:
        click.echo(json.dumps(findings.as_dict(), indent=1))
        return int(bool(findings.found))
    for finding in findings.found:
        echo(str(finding))
    for what in findings.unchecked:
        echo(f"not checked: {what}")
    verdict = f"{len(findings.found)} do not follow" if findings.found else "all follow"
    echo(f"{run}: {findings.figures:,} figures compared with the recorded samples: {verdict}")
    return int(bool(findings.found))
