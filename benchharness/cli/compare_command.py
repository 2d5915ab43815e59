"""``benchharness compare``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchharness.cli import options
from benchharness.cli.options import disable_plugin

if TYPE_CHECKING:
    from benchharness.compare.comparison import Comparison
    from benchharness.compare.overrides import Changes
    from benchharness.compare.recorded import RecordedOptions
    from benchharness.compare.run import ComparisonOptions
    from benchharness.compare.targets import TargetSpec
    from benchharness.errors import Problem


@click.command("compare")
@click.argument("a", required=False, metavar="A")
@click.argument("b", required=False)
@disable_plugin
@click.option(
    "--suite",
    type=options.PATH,
    help="What both sides run; needed to run them.",
)
@options.profile
@options.benchmarks
@options.backends
@click.option(
    "--set-a", "set_a", multiple=True, help="A setting of A alone: key=value; repeatable."
)
@click.option(
    "--set", "--set-b", "set_b", multiple=True, help="A setting of B alone: key=value; repeatable."
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    help="How much worse counts: 5% for every speed, COLUMN=2% for one column; repeatable.",
)
@options.columns
@click.option("--pairs", help="Pairs of trials of each cell: at most N, or FEWEST..MOST.")
@click.option("--budget", "minutes", type=float, help="Minutes after which no pairs are added.")
@click.option(
    "--across",
    multiple=True,
    type=click.Choice(["machine", "data", "weights", "settings"]),
    help="Compare recorded runs although this differs; may be repeated.",
)
@options.data
@options.device
@click.option(
    "--results",
    type=options.PATH,
    default=Path("results"),
    show_default=True,
    help="Where runs are recorded; comparisons are in its folder of that name.",
)
@click.option(
    "--repository",
    type=options.FilePath(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Whose revisions are compared; the current folder by default.",
)
@options.timeout
@options.tracks
@click.option(
    "--proof/--no-proof",
    default=True,
    help="Prove first that both sides do the same work (default), or compare them unproven.",
)
@options.offline
@click.option(
    "--markdown",
    type=options.PATH,
    help="Also write the table as Markdown here.",
)
@click.option("--junit", type=options.PATH, help="Also write JUnit XML here.")
@options.json_events
@options.quiet
def command(
    *,
    a: str | None,
    b: str | None,
    suite: Path | None,
    profile: str | None,
    benchmarks: tuple[str, ...],
    backends: tuple[str, ...],
    set_a: tuple[str, ...],
    set_b: tuple[str, ...],
    thresholds: tuple[str, ...],
    columns: tuple[str, ...],
    pairs: str | None,
    minutes: float | None,
    across: tuple[str, ...],
    data: Path | None,
    device: str,
    results: Path,
    repository: Path,
    timeout_s: float | None,
    tracks: tuple[str, ...],
    proof: bool,
    offline: bool,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say whether B is worse than A: slower, larger or less accurate.

    A and B are backends of --suite, git revisions (rev:HEAD~1; rev:. for the files as they lie,
    which B is by default), or recorded runs (a folder, a suite's name, RUN@BACKEND for one of its
    backends). With a suite alone, A is the suite as written and B the same with --set.

    What is run is run in turn, A B, B A, in fresh processes, until each cell is decided or there
    are no more pairs. Recorded runs are compared as they are.

    Exit codes: 0 nothing is worse; 1 a trial failed; 2 the request could not be understood; 3 B is
    worse; 4 undecidable; 130 interrupted.
    """
    from benchharness.compare.criteria import read_thresholds, unknown_columns
    from benchharness.compare.sampling import read_pairs
    from benchharness.compare.targets import parse_targets
    from benchharness.run.options import RunOptions

    if as_json and quiet:
        raise click.BadParameter("expected no --quiet beside it", param_hint="--json")
    if a is None:
        if suite is None:
            raise click.UsageError(
                "expected A, found none: a suite (compare SUITE --set key=value), a backend, a "
                "git revision (rev:HEAD) or a recorded run"
            )
        a, suite = str(suite), None
    if minutes is not None and minutes <= 0:
        raise click.BadParameter("expected more than 0 minutes", param_hint="--budget")
    for option, path in (("--markdown", markdown), ("--junit", junit)):
        if path is not None and not path.parent.is_dir():
            raise click.BadParameter(
                f"{path}: expected a folder to write it in, found none", param_hint=option
            )
    limits = read_thresholds(thresholds)
    _require(unknown_columns(columns, option="--column"))
    fewest, most = read_pairs(pairs)
    changes = [_changes(set_a, "--set-a"), _changes(set_b, "--set")]
    suite, sides = parse_targets(a, b, suite=suite, is_changed=any(changes), results=results)

    def deliver(comparison: Comparison) -> int:
        _write(comparison, markdown=markdown, junit=junit)
        return comparison.exit_code

    if sides[0].kind == "run":
        from benchharness.compare.recorded import RecordedOptions

        _refuse_changes(changes)
        question = RecordedOptions(
            benchmarks=benchmarks,
            backends=backends,
            columns=columns,
            thresholds=limits,
            across=across,
            described=_described(suite, profile),
        )
        return _compare_recorded(sides, question, deliver, results=results, as_json=as_json)
    from benchharness.compare.run import ComparisonOptions
    from benchharness.compare.targets import fresh_side

    assert suite is not None
    ours, theirs = (fresh_side(*pair) for pair in zip(sides, changes, strict=True))
    named = tuple(dict.fromkeys(one.backend for one in (ours, theirs) if one.backend))
    order = ComparisonOptions(
        request=RunOptions(
            suite=suite,
            profile=profile,
            backends=named or backends,
            benchmarks=benchmarks,
            data=data,
            device=device,
            results=results,
            timeout_s=timeout_s,
            tracks=tracks,
            proof="yes" if proof else "no",
            offline=offline,
        ),
        a=ours,
        b=theirs,
        columns=columns,
        thresholds=limits,
        fewest=fewest,
        most=most,
        minutes=minutes,
        repository=repository,
    )
    return _compare_fresh(order, deliver, as_json=as_json, is_quiet=quiet)


def _changes(texts: tuple[str, ...], option: str) -> Changes:
    from benchharness.compare.overrides import parse_overrides

    changes, problems = parse_overrides(texts, option=option)
    _require(problems)
    return changes


def _require(problems: list[Problem]) -> None:
    """Refuse the request where there is a problem with it.

    Raises:
        SuiteError: There is; all of them are in it.
    """
    from benchharness.errors import SuiteError

    if problems:
        raise SuiteError("command line", problems)


def _refuse_changes(changes: list[Changes]) -> None:
    for one in changes:
        if one:
            raise click.BadParameter(
                "expected none beside recorded runs, whose settings are history",
                param_hint=one.option,
            )


def _described(suite: Path | None, profile: str | None) -> dict[str, object] | None:
    """Return what a suite says of regressions; None without one."""
    from benchharness.suite.load import load

    return load(suite).regression_settings(profile=profile) if suite else None


def _compare_recorded(
    sides: tuple[TargetSpec, TargetSpec],
    question: RecordedOptions,
    deliver: Callable[[Comparison], int],
    *,
    results: Path,
    as_json: bool,
) -> int:
    from benchharness.compare.recorded import compare_recorded
    from benchharness.compare.targets import recorded_side
    from benchharness.progress import watch
    from benchharness.report.comparison import headline
    from benchharness.run.events import Compared, RunFinished

    with watch(as_json=as_json, is_quiet=not as_json) as observe:
        a, b = (recorded_side(side.text, results=results) for side in sides)
        comparison = compare_recorded(a, b, question)
        code = deliver(comparison)
        observe(Compared(comparison=comparison.as_dict()))
        observe(RunFinished(exit_code=code, answers=(headline(comparison),)))
    if not as_json:
        _show(comparison)
    return code


def _compare_fresh(
    order: ComparisonOptions, deliver: Callable[[Comparison], int], *, as_json: bool, is_quiet: bool
) -> int:
    from benchharness.compare.run import run_comparison
    from benchharness.progress import watch
    from benchharness.report.comparison import headline
    from benchharness.run.events import RunFinished

    with watch(as_json=as_json, is_quiet=is_quiet) as observe:
        comparison = run_comparison(order, observe).comparison
        code = deliver(comparison)
        observe(
            RunFinished(exit_code=code, folder=comparison.folder, answers=(headline(comparison),))
        )
    if not as_json:
        _show(comparison)
    return code


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    from benchharness.report.comparison import ComparisonTable

    console = Console()
    console.print()
    console.print(ComparisonTable(comparison=comparison))
    if comparison.folder:
        console.print(
            f"records, logs and comparison.json: {comparison.folder}",
            style="dim",
            highlight=False,
            markup=False,
        )


def _write(comparison: Comparison, *, markdown: Path | None, junit: Path | None) -> None:
    """Write the files that were asked for.

    Raises:
        click.BadParameter: One cannot be written.
    """
    from benchharness.files import atomic_write_text, unwritten
    from benchharness.report.comparison import markdown as as_markdown
    from benchharness.report.junit import junit as as_junit

    for option, path, render in (
        ("--markdown", markdown, as_markdown),
        ("--junit", junit, as_junit),
    ):
        if path is None:
            continue
        try:
            atomic_write_text(path, render(comparison))
        except OSError as error:
            raise click.BadParameter(
                f"{path}: expected to be able to write it, found: {unwritten(error)}",
                param_hint=option,
            ) from error
