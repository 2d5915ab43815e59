"""``benchharness compare``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from benchharness.cli import options


@click.command("compare")
@click.argument("a", required=False, metavar="A")
@click.argument("b", required=False)
@options.request
@click.option(
    "--suite", type=options.PATH, help="Suite that both sides run; not needed for recorded runs."
)
@click.option(
    "--set-a", "set_a", multiple=True, help="Override a setting of A: key=value (repeatable)."
)
@click.option(
    "--set",
    "--set-b",
    "set_b",
    multiple=True,
    help="Override a setting of B: key=value (repeatable).",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    help="How much worse counts: 5% for every speed, COLUMN=2% for one column (repeatable).",
)
@options.columns
@click.option("--pairs", help="Pairs of trials of each cell: at most N, or FEWEST..MOST.")
@click.option(
    "--max-minutes",
    "minutes",
    type=options.POSITIVE,
    metavar="M",
    help="Stop sampling after this many minutes.",
)
@click.option(
    "--ignore",
    multiple=True,
    type=click.Choice(["machine", "data", "weights", "settings"]),
    help="Ignore differences in this when comparing recorded runs (repeatable).",
)
@click.option(
    "--results",
    type=options.PATH,
    default=Path("results"),
    show_default=True,
    help="Folder of recorded runs; comparisons go to its subfolder `comparisons`.",
)
@click.option(
    "--repository",
    type=options.EXISTING_FOLDER,
    default=Path(),
    help="Repository whose revisions are compared; the current folder by default.",
)
@options.tracks
@click.option(
    "--proof/--no-proof",
    default=True,
    help="Prove first that both sides do the same work (default), or compare them unproven.",
)
@click.option("--markdown", type=options.PATH, help="Also write the table as Markdown here.")
@click.option(
    "--junit-xml", "--junit", "junit", type=options.PATH, help="Also write JUnit XML here."
)
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
    ignore: tuple[str, ...],
    results: Path,
    repository: Path,
    proof: bool,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
    quiet: bool,
    **others: Any,
) -> int:
    """Compare A and B and report regressions: slower, larger or less accurate.

    A and B are backends of --suite, git revisions (rev:HEAD~1; rev:. for the working tree, the
    default of B), or recorded runs (a folder, a suite's name, RUN@BACKEND for one of its
    backends). With a suite alone, A is the suite as written and B the same with --set.

    Both sides run in turn, A B, B A, in new processes, until each cell is decided or there are no
    more pairs. Recorded runs are compared as they are.

    Exit codes: 0 no regression; 1 a trial failed; 2 invalid request; 3 B is worse; 4
    undecidable; 130 interrupted.
    """
    from benchharness.cli.report_command import print_place
    from benchharness.compare.overrides import parse_overrides
    from benchharness.compare.sampling import read_pairs
    from benchharness.compare.targets import parse_targets
    from benchharness.compare.verdict import read_thresholds, unknown_columns
    from benchharness.errors import SuiteError
    from benchharness.files import atomic_write_text, unwritten
    from benchharness.progress import watch
    from benchharness.report import comparison as views
    from benchharness.run.events import Compared, RunFinished

    options.require_compatible(json=as_json, quiet=quiet)
    if a is None and suite is None:
        raise click.UsageError(
            "expected A, found none: a suite (compare SUITE --set key=value), a backend, a "
            "git revision (rev:HEAD) or a recorded run"
        )
    if a is None:
        a, suite = str(suite), None
    as_markdown = partial(views.markdown, command=options.command_line())
    files = (("--markdown", markdown, as_markdown), ("--junit-xml", junit, views.junit))
    for option, path, _ in files:
        if path is not None and not path.parent.is_dir():
            raise click.BadParameter(
                f"{path}: expected a folder to write it in, found none", param_hint=option
            )
    limits = read_thresholds(thresholds)
    set_on_a, problems_of_a = parse_overrides(set_a, option="--set-a")
    set_on_b, problems_of_b = parse_overrides(set_b, option="--set")
    problems = [*unknown_columns(columns, option="--column"), *problems_of_a, *problems_of_b]
    if problems:
        raise SuiteError("command line", problems)
    overrides = (set_on_a, set_on_b)
    fewest, most = read_pairs(pairs)
    suite, targets = parse_targets(a, b, suite=suite, has_overrides=any(overrides), results=results)
    is_recorded = targets[0].kind == "run"
    for given in overrides:
        if is_recorded and given:
            raise click.BadParameter("cannot be used with recorded runs", param_hint=given.option)

    with watch(as_json=as_json, is_quiet=quiet or (is_recorded and not as_json)) as observe:
        if is_recorded:
            from benchharness.compare.recorded import compare_recorded
            from benchharness.compare.targets import recorded_run
            from benchharness.suite.load import load

            described = load(suite).regression_settings(profile=profile) if suite else None
            run_a, run_b = (recorded_run(target.text, results=results) for target in targets)
            comparison = compare_recorded(
                run_a,
                run_b,
                benchmarks=benchmarks,
                backends=backends,
                columns=columns,
                thresholds=limits,
                ignore=ignore,
                described=described,
            )
            observe(Compared(comparison=comparison.as_dict()))
        else:
            from benchharness.compare.run import ComparisonOptions, run_comparison
            from benchharness.compare.targets import side_of
            from benchharness.run.options import RunOptions

            assert suite is not None
            side_a, side_b = map(side_of, targets, overrides)
            named = tuple(dict.fromkeys(side.backend for side in (side_a, side_b) if side.backend))
            request = RunOptions(
                suite=suite,
                profile=profile,
                backends=named or backends,
                benchmarks=benchmarks,
                results=results,
                proof="yes" if proof else "no",
                **others,
            )
            sampled = ComparisonOptions(
                request=request,
                a=side_a,
                b=side_b,
                columns=columns,
                thresholds=limits,
                fewest=fewest,
                most=most,
                minutes=minutes,
                repository=repository,
            )
            comparison = run_comparison(sampled, observe).comparison
        for option, path, render in files:
            if path is None:
                continue
            try:
                atomic_write_text(path, render(comparison))
            except OSError as error:
                raise click.BadParameter(
                    f"cannot write {path}: {unwritten(error)}", param_hint=option
                ) from error
        observe(
            RunFinished(
                exit_code=comparison.exit_code,
                folder=comparison.folder or None,
                answers=(views.headline(comparison),),
            )
        )
    if not as_json:
        from rich.console import Console

        console = Console()
        console.print("", views.comparison_table(comparison, width=console.width))
        if comparison.folder:
            print_place(console, f"records, logs and comparison.json: {comparison.folder}")
    return comparison.exit_code
