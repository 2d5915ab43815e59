"""``benchharness certify``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchharness.cli import options
from benchharness.cli.builtin import builtin_suite
from benchharness.cli.disable import disable_plugin
from benchharness.cli.saying import say

if TYPE_CHECKING:
    from benchharness.run.session import Request


@click.command("certify")
@click.argument("suite", type=options.PATH, required=False)
@disable_plugin
@options.profile
@options.backends
@options.benchmarks
@options.data
@options.device
@click.option(
    "--timeout", "timeout_s", type=float, help="Seconds that a backend may give no sign of life."
)
@options.offline
@options.json_events
@options.quiet
def command(
    *,
    suite: Path | None,
    profile: str | None,
    backends: tuple[str, ...],
    benchmarks: tuple[str, ...],
    data: Path | None,
    device: str,
    timeout_s: float | None,
    offline: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Prove for SUITE that the backends do the same work, and time nothing.

    Without SUITE, --data DIR is taken through the built-in one.

    Every pair of backends is compared at each benchmark and point of its matrix, in float32,
    without dropout, with deterministic kernels. What has been proven before is not proven again
    until code, versions, data, weights, settings or machine change.

    Exit codes: 0 all proven; 1 a pair is not; 2 the request could not be understood.
    """
    from benchharness.progress import watch
    from benchharness.run.events import RunFinished
    from benchharness.run.session import Request, open_session

    if as_json and quiet:
        raise click.BadParameter("expected no --quiet beside it", param_hint="--json")
    request = Request(
        suite=suite or builtin_suite(data),
        profile=profile,
        backends=backends,
        benchmarks=benchmarks,
        data=data,
        device=device,
        tracks=("equal",),
        timeout_s=timeout_s,
        offline=offline,
    )
    with watch(as_json=as_json, is_quiet=quiet) as observe:
        certificates = open_session(request, observe=observe).certify(observe)
        code = 0 if all(certificate.is_proven for certificate in certificates) else 1
        observe(RunFinished(exit_code=code))
    if not as_json:
        from rich.console import Console

        from benchharness.report.certificates import certificates_table

        Console().print(certificates_table(certificates))
    if not (as_json or quiet) and any(certificate.obstacle for certificate in certificates):
        say(f"to repeat what could not be compared: {_again(request)}; the rest is kept", err=True)
    return code


def _again(request: Request) -> str:
    """Return the command that certifies the same again."""
    from benchharness.suite.builtin import IMAGES

    options = [
        ("--profile", request.profile),
        *(("--backend", backend) for backend in request.backends),
        *(("--benchmark", benchmark) for benchmark in request.benchmarks),
        ("--data", request.data),
        ("--device", request.device if request.device != "auto" else None),
        ("--timeout", request.timeout_s),
    ]
    words = ["benchharness", "certify", *([] if request.suite == IMAGES else [request.suite])]
    words += [word for name, value in options if value is not None for word in (name, value)]
    words += ["--offline"] if request.offline else []
    return shlex.join(map(str, words))
