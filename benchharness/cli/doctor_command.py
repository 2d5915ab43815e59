"""``benchharness doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchharness.cli import options
from benchharness.cli.echo import echo
from benchharness.cli.options import disable_plugin

_MAIN = Path("suites/cats_dogs.toml")


@click.command("doctor")
@click.argument("suite", type=options.PATH, required=False)
@disable_plugin
@options.profile
@options.backends
@options.data
@options.device
@click.option(
    "--results",
    type=options.PATH,
    default=Path("results"),
    show_default=True,
    help="Folder where runs are stored.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Kill a check of a backend that reports no progress for this many seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(
    *,
    suite: Path | None,
    profile: str | None,
    backends: tuple[str, ...],
    data: Path | None,
    device: str,
    results: Path,
    timeout_s: float | None,
    as_json: bool,
) -> int:
    """Check this machine: what works, what SUITE lacks, and how to get it.

    Without SUITE, suites/cats_dogs.toml is checked where it exists, else the suite for your
    own pictures where --data names them, else the machine alone. Backends that SUITE does not
    need are not imported. Nothing is downloaded, and nothing but the cache is changed.

    Exit codes: 0 the suite can run; 1 a requirement is missing; 2 invalid suite or options.
    """
    from benchharness.doctor.report import LONGEST_S, DoctorOptions, examine
    from benchharness.suite.builtin import IMAGES

    if suite is None and _MAIN.is_file():
        suite = _MAIN
    elif suite is None and data is not None:
        suite = IMAGES
    report = examine(
        DoctorOptions(
            suite=suite,
            profile=profile,
            backends=backends,
            data=data,
            device=device,
            results=results,
        ),
        announce=lambda line: echo(line, err=True),
        longest_s=timeout_s or LONGEST_S,
    )
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, default=str))
    else:
        from rich.console import Console

        from benchharness.report.views import doctor_view

        Console(highlight=False).print(doctor_view(report))
    return 0 if report.is_able else 1
