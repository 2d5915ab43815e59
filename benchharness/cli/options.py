"""Options shared by several commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from benchharness.files import expanded

F = TypeVar("F", bound=Callable[..., object])


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


def disable_plugin(function: F) -> F:
    """Add ``--no-plugin`` to a command that may load plugins; it takes effect first."""
    return click.option(
        "--no-plugin",
        multiple=True,
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_disable,
        help="Disable this plugin (repeatable).",
    )(function)


def _disable(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if not names:
        return
    from benchharness.plugins import disable, disabled, installed_names

    known = sorted({*installed_names(), *disabled()})
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(
            f"expected an installed plugin ({', '.join(known) or 'none'}), "
            f"found {', '.join(unknown)}"
        )
    disable(names)
