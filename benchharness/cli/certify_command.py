"""``benchharness certify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchharness.cli import options
from benchharness.cli.streams import echo


@click.command("certify")
@options.optional_suite
@options.request
@options.json_events
@options.quiet
def command(
    *, suite: Path | None, data: Path | None, as_json: bool, quiet: bool, **others: Any
) -> int:
    """Prove that the backends of SUITE do the same work; nothing is timed.

    Without SUITE, the built-in suite is used, with the images in --data.

    Every pair of backends is compared for each benchmark and point of its matrix, in float32
    and with deterministic kernels; losses are compared without dropout. Results are cached until
    code, versions, data, weights, settings or machine change.

    Exit codes: 0 every pair is proven; 1 a pair is not; 2 invalid suite or options.
    """
    from benchharness.progress import watch
    from benchharness.run.events import RunFinished
    from benchharness.run.options import RunOptions
    from benchharness.run.session import certify, open_session

    options.require_compatible(json=as_json, quiet=quiet)
    suite = options.suite_or_builtin(suite, data)
    given = RunOptions(suite=suite, data=data, tracks=("equal",), **others)
    with watch(as_json=as_json, is_quiet=quiet) as observe:
        certificates = certify(open_session(given, observe=observe), observe)
        code = 0 if all(certificate.is_proven for certificate in certificates) else 1
        observe(RunFinished(exit_code=code))
    if as_json:
        return code
    from rich.console import Console

    from benchharness.report.views import certificates_table

    Console().print(certificates_table(certificates))
    if not quiet and any(certificate.obstacle for certificate in certificates):
        again = options.command_line()
        echo(f"to repeat what could not be compared: {again}; the rest is kept", err=True)
    return code
