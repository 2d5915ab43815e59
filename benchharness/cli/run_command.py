"""``benchharness run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from benchharness.cli import options
from benchharness.cli.disable import disable_plugin
from benchharness.cli.errors import Terminated
from benchharness.cli.saying import say

if TYPE_CHECKING:
    from benchharness.results.record import Record
    from benchharness.results.store import RunFolder
    from benchharness.run.session import Request


def _trials(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | Literal["auto"] | None:
    """Return a number of trials; its range is the suite's to judge."""
    if value == "auto":
        return "auto"
    try:
        return None if value is None else int(value)
    except ValueError:
        raise click.BadParameter(f'expected a number or "auto", found "{value}"') from None


@click.command("run")
@click.argument("suite", type=options.PATH, required=False)
@disable_plugin
@options.profile
@options.backends
@options.benchmarks
@click.option(
    "--trials",
    callback=_trials,
    metavar="N|auto",
    help="Trials per cell. auto, the default where the suite states no number: until each "
    "benchmark's backends are told apart or found equal.",
)
@click.option(
    "--max-trials", type=int, metavar="N", help="With --trials auto: at most so many (default 10)."
)
@click.option(
    "--max-minutes",
    type=float,
    metavar="M",
    help="With --trials auto: no trials beyond the first three of each cell after so many minutes "
    "of timing.",
)
@click.option(
    "--data",
    type=options.FilePath(path_type=Path, exists=True, file_okay=False),
    help="Folder of the dataset; wins over the suite and BENCHHARNESS_DATA. May hold pictures "
    "of your own, in a folder for each class.",
)
@options.device
@options.results
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    help="Seconds that a trial may give no sign of life; time_limit_s in a suite is for all.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often to repeat a trial whose process died or hung; never one that failed by itself.",
)
@click.option("--fail-fast", is_flag=True, help="End the run with the first trial that fails.")
@click.option(
    "--resume",
    type=options.PATH,
    is_flag=False,
    flag_value=".",
    help="Go on with a run: do what is missing, and only that. RUN is its folder or name; the "
    "suite's latest by default.",
    metavar="[RUN]",
)
@click.option("--only-failed", is_flag=True, help="Go on with a run: repeat what failed in it.")
@click.option(
    "--share-device", is_flag=True, help="Time although another run is using the same GPU."
)
@options.tracks
@click.option(
    "--proof/--no-proof",
    default=True,
    help="Prove first that the backends do the same work (default), or time them unproven.",
)
@click.option(
    "--require-proof", is_flag=True, help="Time nothing, and exit 1, unless all is proven."
)
@options.offline
@click.option(
    "--write-suite",
    type=options.PATH,
    help="Write a copy of the built-in suite to this file, and run nothing.",
)
@click.option("--dry-run", is_flag=True, help="Show every trial and run none.")
@options.json_events
@options.quiet
def command(
    *,
    suite: Path | None,
    profile: str | None,
    backends: tuple[str, ...],
    benchmarks: tuple[str, ...],
    trials: int | Literal["auto"] | None,
    max_trials: int | None,
    max_minutes: float | None,
    data: Path | None,
    device: str,
    results: Path,
    timeout_s: float | None,
    retries: int,
    fail_fast: bool,
    resume: Path | None,
    only_failed: bool,
    share_device: bool,
    tracks: tuple[str, ...],
    proof: bool,
    require_proof: bool,
    offline: bool,
    write_suite: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run SUITE, a TOML file, and print its table.

    Without SUITE, a built-in one runs on the pictures that --data names.

    Every trial runs in a process of its own, the backends taking turns. Records, CSV files and
    logs are written below the results folder as the trials finish.

    Exit codes: 0 all well; 1 a trial failed, or work was timed that is not proven to be the same
    (--no-proof asks for none); 2 the request could not be understood; 130 interrupted, and --resume
    goes on.
    """
    from benchharness.cli.builtin import builtin_suite, write_copy
    from benchharness.run.session import Request

    if timeout_s is not None and timeout_s <= 0:
        raise click.BadParameter("expected more than 0 seconds", param_hint="--timeout")
    if require_proof and not proof:
        raise click.BadParameter("expected no --no-proof beside it", param_hint="--require-proof")
    if as_json and (dry_run or quiet):
        other = "--dry-run" if dry_run else "--quiet"
        raise click.BadParameter(f"expected no {other} beside it", param_hint="--json")
    if suite is None and resume is not None and resume.suffix == ".toml":
        # "run --resume SUITE": the option takes the word that is meant for the argument.
        suite, resume = resume, Path()
    if only_failed and resume is None:
        resume = Path()
    if write_suite is not None:
        write_copy(write_suite)
        return 0
    if suite is None and data is None and resume is not None:
        raise click.UsageError(
            "expected SUITE beside --resume and --only-failed, or the --data DIR of a run without "
            "one: benchharness run SUITE --resume [RUN]; found neither"
        )
    request = Request(
        suite=builtin_suite(data) if suite is None else suite,
        profile=profile,
        backends=backends,
        benchmarks=benchmarks,
        trials=trials,
        max_trials=max_trials,
        max_minutes=max_minutes,
        data=data,
        device=device,
        results=results,
        timeout_s=timeout_s,
        retries=retries,
        fail_fast=fail_fast,
        resume=resume,
        only_failed=only_failed,
        share_device=share_device,
        tracks=tracks,
        proof="required" if require_proof else "yes" if proof else "no",
        offline=offline,
    )
    if dry_run:
        _preview(request)
        return 0
    return _run(request, as_json=as_json, is_quiet=quiet)


def _preview(request: Request) -> None:
    """Print what would run."""
    from benchharness.report.preview import preview, resources_text
    from benchharness.run.dry_run import check_weights, forecast
    from benchharness.run.estimate import warnings
    from benchharness.run.messages import adaptation_messages
    from benchharness.run.session import open_session

    session = open_session(request)
    facts = session.survey()
    check_weights(session.plan, places=session.places)
    outlook = session.outlook(facts)
    said = [*session.announcements(), *adaptation_messages(session.plan, facts)]
    for line in [*said, *warnings(outlook, session.accelerators)]:
        say(line, err=True)
    for line in preview(facts, list(forecast(session.plan, facts))).split("\n"):
        say(line)
    click.echo(resources_text(outlook.seconds(request.results), outlook.cells()))


def _run(request: Request, *, as_json: bool, is_quiet: bool) -> int:
    """Carry out a run, watched, and print its table; return the exit code."""
    from benchharness.cli.report_command import publish, show
    from benchharness.progress import watch
    from benchharness.report.summary import answers_in
    from benchharness.run.events import RunFinished
    from benchharness.run.pending import SUCCESS
    from benchharness.run.session import open_session

    remarks: list[str] = []
    is_silent = as_json or is_quiet
    try:
        with watch(as_json=as_json, is_quiet=is_quiet) as observe:
            session = open_session(request, observe=observe)
            try:
                folder, records = session.run(observe)
            except (KeyboardInterrupt, Terminated):
                if session.folder is not None:
                    remarks += _left(session.folder, request)
                raise
            page = publish(folder.path, tell=remarks.append)
            code = _exit_code(records, proof=request.proof)
            observe(
                RunFinished(
                    exit_code=code,
                    folder=str(folder.path),
                    answers=tuple(answers_in(folder.read_run(), records)),
                    report=str(page) if page else None,
                )
            )
    except (KeyboardInterrupt, Terminated):
        # Now that the live picture is gone.
        for line in [] if is_silent else remarks:
            say(line, err=True)
        raise
    if any(record["status"] not in SUCCESS for record in records):
        remarks.append(f"to repeat what failed: {_again(request)} --only-failed")
    if any(look["stop"] == "time" for look in folder.read_run().get("looks", ())):
        remarks.append(f"out of time; to go on: {_again(request)} --resume")
    if not as_json:
        show(folder.path)
    for line in [] if is_silent else remarks:
        say(line, err=True)
    return code


def _left(folder: RunFolder, request: Request) -> list[str]:
    """Write the report of what has finished; return where it is, and how to go on."""
    from benchharness.cli.report_command import publish

    remarks: list[str] = []
    if folder.records()[0]:
        publish(folder.path, tell=remarks.append)
    return [*remarks, f"to go on: {_again(request)} --resume {folder.path}"]


def _again(request: Request) -> str:
    """Return the command that runs a suite."""
    from benchharness.suite.builtin import IMAGES

    suite = f"--data {request.data}" if request.suite == IMAGES else request.suite
    return f"benchharness run {suite}"


def _exit_code(records: list[Record], *, proof: str) -> int:
    from benchharness.fairness.certificate import PROVEN
    from benchharness.run.pending import SUCCESS

    if any(record["status"] not in SUCCESS for record in records):
        return 1
    if proof == "no":
        return 0
    timed = {_point(record, record["backend"]) for record in records if record["status"] == "ok"}
    unproven = (
        verdict != PROVEN
        for record in records
        for other, verdict in record["proofs"].items()
        # The native track claims no equal work; of what one backend cannot do, nothing is compared.
        if record["track"] == "equal"
        and {_point(record, record["backend"]), _point(record, other)} <= timed
    )
    return 1 if any(unproven) else 0


def _point(record: Record, backend: str) -> tuple[str, str, str, str]:
    """Return what a record was timed at, as one of a backend."""
    return record["benchmark"], repr(sorted(record["matrix"].items())), record["track"], backend
