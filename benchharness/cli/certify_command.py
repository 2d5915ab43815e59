"""``benchharness certify``."""

from __future__ import annotations

from pathlib import Path

import click

from benchharness.cli.barring import no_plugin
from benchharness.cli.builtin import builtin_suite


@click.command("certify")
@click.argument("suite", type=click.Path(path_type=Path), required=False)
@no_plugin
@click.option("--profile", help="Overrides for a kind of machine or purpose; chosen by default.")
@click.option("--backend", "backends", multiple=True, help="Only this backend; may be repeated.")
@click.option("--benchmark", "benchmarks", multiple=True, help="Only this benchmark; repeatable.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the dataset; wins over the suite and BENCHHARNESS_DATA.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--timeout", "timeout_s", type=float, help="Seconds that a backend may give no sign of life."
)
@click.option("--offline", is_flag=True, help="Download nothing; also by BENCHHARNESS_OFFLINE=1.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print events for programs, one JSON object a line."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the table and errors.")
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
    from benchharness.cli.progress import watch
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
    return code
