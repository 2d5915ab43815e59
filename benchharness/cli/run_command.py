"""``benchharness run``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run")
@click.argument("suite", type=click.Path(path_type=Path))
@click.option("--profile", help="Overrides for a kind of machine or purpose; chosen by default.")
@click.option("--backend", "backends", multiple=True, help="Only this backend; may be repeated.")
@click.option("--benchmark", "benchmarks", multiple=True, help="Only this benchmark; repeatable.")
@click.option("--trials", type=int, help="Trials per cell.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the dataset; wins over the suite and BENCHHARNESS_DATA.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where runs are recorded.",
)
@click.option("--timeout", "timeout_s", type=float, help="Seconds that one trial may take.")
@click.option(
    "--track",
    "tracks",
    multiple=True,
    type=click.Choice(["equal", "native"]),
    help="Only this track; may be repeated.",
)
@click.option(
    "--proof/--no-proof",
    default=True,
    help="Prove first that the backends do the same work (default), or time them unproven.",
)
@click.option(
    "--require-proof", is_flag=True, help="Time nothing, and exit 1, unless all is proven."
)
@click.option("--dry-run", is_flag=True, help="Show every trial and run none.")
@click.pass_context
def command(
    context: click.Context,
    *,
    suite: Path,
    profile: str | None,
    backends: tuple[str, ...],
    benchmarks: tuple[str, ...],
    trials: int | None,
    data: Path | None,
    device: str,
    results: Path,
    timeout_s: float | None,
    tracks: tuple[str, ...],
    proof: bool,
    require_proof: bool,
    dry_run: bool,
) -> int:
    """Run SUITE, a TOML file, and print its table.

    Every trial runs in a process of its own, the backends taking turns. Records, CSV files and
    logs are written below the results folder as the trials finish.

    Exit codes: 0 all well; 1 a trial failed, or a proof was required and refused; 2 the request
    could not be understood; 130 interrupted.
    """
    from benchharness.cli.progress import Lines, announce
    from benchharness.run.session import Request, open_session

    if timeout_s is not None and timeout_s <= 0:
        raise click.BadParameter("expected more than 0 seconds", param_hint="--timeout")
    if require_proof and not proof:
        raise click.BadParameter("expected no --no-proof beside it", param_hint="--require-proof")
    session = open_session(
        Request(
            suite=suite,
            profile=profile,
            backends=backends,
            benchmarks=benchmarks,
            trials=trials,
            data=data,
            device=device,
            results=results,
            timeout_s=timeout_s,
            tracks=tracks,
            proof="required" if require_proof else "yes" if proof else "no",
        )
    )
    announce(session.announcements())
    if dry_run:
        from benchharness.report.preview import preview
        from benchharness.run.survey import forecast

        facts = session.survey()
        click.echo(preview(facts, forecast(session.plan, facts)))
        return 0
    from benchharness.cli.report_command import show

    lines = Lines()
    folder, records = session.run(lines, on_prepare=lines.prepared, announce=announce)
    show(folder.path)
    is_well = all(record["status"] in ("ok", "skipped") for record in records)
    is_proven = all(
        verdict == "proven" for record in records for verdict in record["proofs"].values()
    )
    return 0 if is_well and (is_proven or not require_proof) else 1
