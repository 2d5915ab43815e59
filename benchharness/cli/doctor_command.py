"""``benchharness doctor``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchharness.cli import options
from benchharness.cli.streams import echo

if TYPE_CHECKING:
    from benchharness.doctor.check import DoctorReport

_MAIN = Path("suites/cats_dogs.toml")
# Columns of output that is not a terminal's: no path is longer.
_WIDE = 5000


@click.command("doctor")
@options.optional_suite
@options.disable_plugin
@options.profile
@options.backends
@options.data
@options.device
@options.results
@options.timeout
@options.cluster
@options.as_json
def command(
    *,
    suite: Path | None,
    data: Path | None,
    timeout_s: float | None,
    cluster: str | None,
    as_json: bool,
    **others: Any,
) -> int:
    """Check this machine: what works, what SUITE lacks, and how to get it.

    Without SUITE, suites/cats_dogs.toml is checked where it exists, else the suite for your
    own pictures where --data names them, else the machine alone. Backends that SUITE does not
    need are not imported. Nothing is downloaded, and nothing but the cache is changed. With
    --cluster, every host of it prepares what SUITE needs, and is compared with this machine.

    Exit codes: 0 the suite can run; 1 a requirement is missing; 2 invalid suite or options.
    """
    from benchharness.doctor.report import LONGEST_S, DoctorOptions, examine
    from benchharness.suite.builtin import IMAGES

    if suite is None and _MAIN.is_file():
        suite = _MAIN
    elif suite is None and data is not None:
        suite = IMAGES
    report = examine(
        DoctorOptions(suite=suite, data=data, **others),
        announce=lambda line: echo(line, err=True),
        longest_s=timeout_s or LONGEST_S,
    )
    if cluster is not None:
        from benchharness.cluster.session import check_hosts
        from benchharness.run.events import unobserved
        from benchharness.run.options import RunOptions

        if suite is None:
            raise click.UsageError("--cluster needs SUITE: what its hosts are to carry out")
        given = RunOptions(suite=suite, data=data, cluster=cluster, **others)
        hosts = check_hosts(given, unobserved)
        report = replace(report, sections=(*report.sections, hosts))
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, default=str))
    else:
        _show(report)
    return 0 if report.is_able else 1


def _show(report: DoctorReport) -> None:
    """Print the checks; paths and commands are broken on a terminal alone."""
    from rich.console import Console

    from benchharness.report.views import doctor_view

    if sys.stdout.isatty():
        Console(highlight=False).print(doctor_view(report))
        return
    console = Console(highlight=False, width=_WIDE)
    with console.capture() as captured:
        console.print(doctor_view(report))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
