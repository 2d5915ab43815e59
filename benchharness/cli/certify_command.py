"""``benchharness certify``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchharness.cli import options
from benchharness.cli.builtin import builtin_suite
from benchharness.cli.echo import echo
from benchharness.cli.options import disable_plugin

if TYPE_CHECKING:
    from benchharness.run.options import RunOptions


@click.command("certify")
@click.argument("suite", type=options.PATH, required=False)
@disable_plugin
@options.profile
@options.backends
@options.benchmarks
@options.data
@options.device
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    help="Kill a probe that reports no progress for this many seconds.",
)
@options.offline
@options.json_events
@options.quiet
def command(
    *, suite: Path | None, data: Path | None, as_json: bool, quiet: bool, **others: Any
) -> int:
    """Prove that the backends of SUITE do the same work; nothing is timed.

    Without SUITE, the built-in suite is used, with the images in --data.

    Every pair of backends is compared for each benchmark and point of its matrix, in float32,
    without dropout, with deterministic kernels. Results are cached until code, versions, data,
    weights, settings or machine change.

    Exit codes: 0 every pair is proven; 1 a pair is not; 2 invalid suite or options.
    """
    from benchharness.progress import watch
    from benchharness.run.events import RunFinished
    from benchharness.run.options import RunOptions
    from benchharness.run.session import certify, open_session

    if as_json and quiet:
        raise click.BadParameter("cannot be combined with --quiet", param_hint="--json")
    given = RunOptions(suite=suite or builtin_suite(data), data=data, tracks=("equal",), **others)
    with watch(as_json=as_json, is_quiet=quiet) as observe:
        certificates = certify(open_session(given, observe=observe), observe)
        code = 0 if all(certificate.is_proven for certificate in certificates) else 1
        observe(RunFinished(exit_code=code))
    if not as_json:
        from rich.console import Console

        from benchharness.report.views import certificates_table

        Console().print(certificates_table(certificates))
    if not (as_json or quiet) and any(certificate.obstacle for certificate in certificates):
        echo(f"to repeat what could not be compared: {_again(given)}; the rest is kept", err=True)
    return code


def _again(given: RunOptions) -> str:
    """Return the command that certifies the same again."""
    from benchharness.suite.builtin import IMAGES

    values = [
        ("--profile", given.profile),
        *(("--backend", backend) for backend in given.backends),
        *(("--benchmark", benchmark) for benchmark in given.benchmarks),
        ("--data", given.data),
        ("--device", given.device if given.device != "auto" else None),
        ("--timeout", given.timeout_s),
    ]
    words = ["benchharness", "certify", *([] if given.suite == IMAGES else [given.suite])]
    words += [word for name, value in values if value is not None for word in (name, value)]
    words += ["--offline"] if given.offline else []
    return shlex.join(map(str, words))
