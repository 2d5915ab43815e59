"""Options shared by several commands."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchharness.files import expanded


class FilePath(click.Path):
    """A path in which ``~`` is the home folder, even where no shell has expanded it."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Return the path of an argument."""
        return super().convert(expanded(value), param, ctx)


PATH = FilePath(path_type=Path)

profile = click.option(
    "--profile", help="Named overrides in the suite; chosen for this machine by default."
)
backends = click.option(
    "--backend", "backends", multiple=True, help="Only this backend (repeatable)."
)
benchmarks = click.option(
    "--benchmark", "benchmarks", multiple=True, help="Only this benchmark (repeatable)."
)
tracks = click.option(
    "--track",
    "tracks",
    multiple=True,
    type=click.Choice(["equal", "native"]),
    help="Only this track (repeatable).",
)
columns = click.option("--column", "columns", multiple=True, help="Only this column (repeatable).")
data = click.option(
    "--data",
    type=FilePath(path_type=Path, exists=True, file_okay=False),
    help="Folder of the dataset; overrides the suite and BENCHHARNESS_DATA.",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
results = click.option(
    "--results",
    type=PATH,
    default=Path("results"),
    show_default=True,
    help="Folder where runs are stored.",
)
timeout = click.option(
    "--timeout",
    "timeout_s",
    type=float,
    help="Kill a trial that reports no progress for this many seconds.",
)
offline = click.option(
    "--offline", is_flag=True, help="Do not download anything (also BENCHHARNESS_OFFLINE=1)."
)
json_events = click.option(
    "--json", "as_json", is_flag=True, help="Print events as JSON, one object per line."
)
quiet = click.option("-q", "--quiet", is_flag=True, help="Print only the table and errors.")
