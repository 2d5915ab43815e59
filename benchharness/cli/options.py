"""Options that several commands have, each said once."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchharness.files import expanded


class FilePath(click.Path):
    """A path in which ``~`` is the home folder, also where no shell has seen to that."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        """Return the path of what was written."""
        return super().convert(expanded(value), param, ctx)


PATH = FilePath(path_type=Path)

profile = click.option(
    "--profile", help="Overrides for a kind of machine or purpose; chosen by default."
)
backends = click.option(
    "--backend", "backends", multiple=True, help="Only this backend; may be repeated."
)
benchmarks = click.option(
    "--benchmark", "benchmarks", multiple=True, help="Only this benchmark; repeatable."
)
tracks = click.option(
    "--track",
    "tracks",
    multiple=True,
    type=click.Choice(["equal", "native"]),
    help="Only this track; may be repeated.",
)
columns = click.option(
    "--column", "columns", multiple=True, help="Only this column; may be repeated."
)
data = click.option(
    "--data",
    type=FilePath(path_type=Path, exists=True, file_okay=False),
    help="Folder of the dataset; wins over the suite and BENCHHARNESS_DATA.",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
results = click.option(
    "--results",
    type=PATH,
    default=Path("results"),
    show_default=True,
    help="Where runs are recorded.",
)
timeout = click.option(
    "--timeout", "timeout_s", type=float, help="Seconds that a trial may give no sign of life."
)
offline = click.option(
    "--offline", is_flag=True, help="Download nothing; also by BENCHHARNESS_OFFLINE=1."
)
json_events = click.option(
    "--json", "as_json", is_flag=True, help="Print events for programs, one JSON object a line."
)
quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but the table and errors.")
