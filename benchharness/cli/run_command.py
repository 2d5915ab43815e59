"""``benchharness run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from benchharness.cli import options
from benchharness.cli.streams import echo
from benchharness.exit_codes import Terminated

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchharness.results.record import Record
    from benchharness.run.events import Observer
    from benchharness.run.options import RunOptions
    from benchharness.run.runner import Runner


def _trials(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | Literal["auto"] | None:
    """Return a number of trials, or ``auto``; the suite checks its range."""
    try:
        return "auto" if value == "auto" else None if value is None else int(value)
    except ValueError:
        raise click.BadParameter(f'expected a number or "auto", found "{value}"') from None


@click.command("run")
@options.optional_suite
@options.request
@click.option(
    "--trials",
    callback=_trials,
    metavar="N|auto",
    help="Trials per cell. auto, the default where the suite states no number: until each "
    "benchmark's backends differ or are equal with confidence.",
)
@click.option(
    "--max-trials",
    type=int,
    metavar="N",
    help="With --trials auto: at most this many (default 10).",
)
@click.option(
    "--max-minutes",
    type=float,
    metavar="M",
    help="With --trials auto: only the first three trials of each cell after this many minutes of "
    "timing.",
)
@options.results
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Retries for trials whose process crashed or hung (not for ordinary failures).",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first trial that fails.")
@click.option(
    "--resume",
    type=options.PATH,
    is_flag=False,
    flag_value=".",
    help="Resume a run: run only the missing trials. RUN is its folder or name; the suite's "
    "latest by default.",
    metavar="[RUN]",
)
@click.option("--only-failed", is_flag=True, help="Resume a run: repeat its failed trials.")
@click.option("--share-device", is_flag=True, help="Allow sharing the GPU with another run.")
@options.cluster
@click.option(
    "--share-host",
    is_flag=True,
    help="With --cluster: run trials on all workers of a host at once (timings suffer).",
)
@options.tracks
@click.option(
    "--proof/--no-proof",
    default=True,
    help="Prove that the backends do the same work before timing (default), or skip the proof.",
)
@click.option(
    "--require-proof",
    is_flag=True,
    help="Exit 1 before timing if any pair is not proven equivalent.",
)
@click.option(
    "--write-suite",
    type=options.PATH,
    help="Write a copy of the built-in suite to this file and exit.",
)
@options.log_to
@click.option("--dry-run", is_flag=True, help="Show every trial without running any.")
@options.json_events
@options.quiet
def command(
    *,
    suite: Path | None,
    data: Path | None,
    resume: Path | None,
    only_failed: bool,
    proof: bool,
    require_proof: bool,
    write_suite: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **others: Any,
) -> int:
    """Run SUITE, a TOML file, and print its table.

    Without SUITE, the built-in suite runs on the images in --data.

    Every trial runs in a separate process; the backends alternate. Records, CSV files and logs
    are written to the results folder as the trials finish.

    Exit codes: 0 success; 1 a trial failed, or a timed pair is not proven equivalent (unless
    --no-proof is given); 2 invalid suite or options; 130 interrupted (--resume continues).
    """
    from benchharness.run.options import RunOptions

    options.require_compatible(require_proof=require_proof, no_proof=not proof)
    options.require_compatible(json=as_json, dry_run=dry_run)
    options.require_compatible(json=as_json, quiet=quiet)
    if suite is None and resume is not None and resume.suffix == ".toml":
        # "run --resume SUITE": the option has taken the argument.
        suite, resume = resume, Path()
    if only_failed and resume is None:
        resume = Path()
    if write_suite is not None:
        _write_suite(write_suite)
        return 0
    if suite is None and data is None and resume is not None:
        raise click.UsageError(
            "--resume and --only-failed need SUITE, or --data DIR for a run of the built-in suite: "
            "benchharness run SUITE --resume [RUN]"
        )
    given = RunOptions(
        suite=options.suite_or_builtin(suite, data),
        data=data,
        resume=resume,
        only_failed=only_failed,
        proof="required" if require_proof else "yes" if proof else "no",
        **others,
    )
    if dry_run:
        _preview(given)
        return 0
    return _run(given, as_json=as_json, is_quiet=quiet)


def _write_suite(path: Path) -> None:
    """Write the built-in suite to a new file, and print how to run it."""
    from benchharness.files import unwritten
    from benchharness.suite.builtin import IMAGES

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(IMAGES.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(
            f"{path}: expected to write a new file, found: {unwritten(error)}",
            param_hint="--write-suite",
        ) from error
    echo(f"{path} written; run it: benchharness run {path} --data DIR")


def _preview(given: RunOptions) -> None:
    """Print what would run."""
    from benchharness.report.preview import preview, resources_text
    from benchharness.run.dry_run import check_weights, preview_trials
    from benchharness.run.estimate import warnings
    from benchharness.run.messages import adaptation_messages
    from benchharness.run.session import open_session

    session = open_session(given)
    dataset = session.dataset_info()
    check_weights(session.plan, places=session.places)
    estimate = session.estimate_resources(dataset)
    lines = [*session.plan_messages(), *adaptation_messages(session.plan, dataset)]
    for line in [*lines, *warnings(estimate, session.accelerators)]:
        echo(line, err=True)
    for line in preview(dataset, list(preview_trials(session.plan, dataset))).split("\n"):
        echo(line)
    click.echo(resources_text(estimate.seconds(given.results), estimate.cells()))


def _run(given: RunOptions, *, as_json: bool, is_quiet: bool) -> int:
    """Run with progress, print the table, and return the exit code."""
    from benchharness.cli.report_command import publish, show
    from benchharness.progress import watch
    from benchharness.report.summary import answers_in
    from benchharness.run.events import RunFinished
    from benchharness.run.resume import SUCCESS
    from benchharness.suite.builtin import IMAGES

    hints: list[str] = []
    again = f"benchharness run {f'--data {given.data}' if given.suite == IMAGES else given.suite}"
    try:
        with watch(as_json=as_json, is_quiet=is_quiet) as observe:
            with _open_run(given, observe) as runner:
                folder = runner.folder
                try:
                    records = runner.run(observe)
                except (KeyboardInterrupt, Terminated):
                    if folder.records()[0]:
                        publish(folder.path, tell=hints.append)
                    hints.append(f"to resume: {again} --resume {folder.path}")
                    raise
            page = publish(folder.path, tell=hints.append)
            code = _exit_code(records, proof=given.proof)
            run = folder.read_run()
            observe(
                RunFinished(
                    exit_code=code,
                    folder=str(folder.path),
                    answers=tuple(answers_in(run, records)),
                    report=str(page) if page else None,
                )
            )
        if any(record["status"] not in SUCCESS for record in records):
            hints.append(f"to repeat failed trials: {again} --only-failed")
        if any(look["stop"] == "time" for look in run.get("looks", ())):
            hints.append(f"time limit reached; to resume: {again} --resume")
        if not as_json:
            show(folder.path)
    finally:
        # After the live display has ended, however the run did.
        for line in [] if as_json or is_quiet else hints:
            echo(line, err=True)
    return code


def _open_run(given: RunOptions, observe: Observer) -> AbstractContextManager[Runner]:
    """Return the runner of a new or resumed run, on this machine or on a cluster."""
    if given.cluster is not None:
        from benchharness.cluster.session import open_cluster_run

        return open_cluster_run(given, observe)
    from benchharness.run.session import open_session, start_run

    return start_run(open_session(given, observe=observe), observe)


def _exit_code(records: list[Record], *, proof: str) -> int:
    from benchharness.fairness.certificate import PROVEN
    from benchharness.model.cell import cell_key
    from benchharness.results.cells import record_key
    from benchharness.run.resume import SUCCESS

    if any(record["status"] not in SUCCESS for record in records):
        return 1
    timed = {record_key(record) for record in records if record["status"] == "ok"}
    for record in records:
        # The native track does not claim equal work.
        if proof == "no" or record["track"] != "equal" or record_key(record) not in timed:
            continue
        for other, verdict in record["proofs"].items():
            rival = cell_key(record["benchmark"], record["matrix"], record["track"], other)
            # Nothing is compared with what a backend does not support.
            if verdict != PROVEN and rival in timed:
                return 1
    return 0
