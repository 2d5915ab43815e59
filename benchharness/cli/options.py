"""Options and arguments that several commands share."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from benchharness.errors import SuiteError
from benchharness.files import expanded

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.Path):
    """A path in which ``~`` is the home folder, even where no shell has expanded it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of an argument."""
        return super().convert(expanded(value), param, ctx)


PATH = FilePath(path_type=Path)
FOLDER = FilePath(path_type=Path, file_okay=False)
EXISTING_FOLDER = FilePath(path_type=Path, exists=True, file_okay=False)
POSITIVE = click.FloatRange(min=0, min_open=True)


def _only(what: str, **facts: Any) -> Callable[[F], F]:
    """Return the option that selects some of what there is."""
    help_text = f"Only this {what} (repeatable)."
    return click.option(f"--{what}", f"{what}s", multiple=True, help=help_text, **facts)


suite = click.argument("suite", type=PATH)
optional_suite = click.argument("suite", type=PATH, required=False)
profile = click.option(
    "--profile", help="Named overrides in the suite; chosen for this machine by default."
)
backends = _only("backend")
benchmarks = _only("benchmark")
tracks = _only("track", type=click.Choice(["equal", "native"]))
columns = _only("column")
data = click.option(
    "--data",
    type=EXISTING_FOLDER,
    help="Folder of the dataset; overrides the suite and BENCHHARNESS_DATA. May hold your "
    "pictures, in a folder for each class.",
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
    type=POSITIVE,
    metavar="S",
    help="Kill a worker that reports no progress for this many seconds. For a total limit use "
    "time_limit_s in the suite.",
)
cluster = click.option(
    "--cluster",
    metavar="CLUSTER",
    help="Use the hosts of a dask cluster: the address or the file of its scheduler, local:N for N "
    "processes on this machine, or a TOML file for a batch system.",
)
offline = click.option(
    "--offline", is_flag=True, help="Do not download anything (also BENCHHARNESS_OFFLINE=1)."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
json_events = click.option(
    "--json", "as_json", is_flag=True, help="Print events as JSON, one object per line."
)
quiet = click.option("-q", "--quiet", is_flag=True, help="Print only the table and errors.")


def _disable(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if not names:
        return
    from benchharness.plugins import disable, disabled, installed_names
    from benchharness.text import did_you_mean

    known = sorted({*installed_names(), *disabled()})
    if unknown := [name for name in names if name not in known]:
        hints = dict.fromkeys(
            f"; {hint}" for name in unknown if (hint := did_you_mean(name, known))
        )
        raise click.BadParameter(
            f"expected an installed plugin ({', '.join(known) or 'none'}), "
            f"found {', '.join(unknown)}{''.join(hints)}"
        )
    disable(names)


def _log_to(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if not names:
        return
    from benchharness.observers import VARIABLE, problems

    if unusable := problems(names, where="--log-to"):
        raise SuiteError("command line", unusable)
    os.environ[VARIABLE] = ",".join(names)


log_to = click.option(
    "--log-to",
    multiple=True,
    metavar="NAME",
    expose_value=False,
    callback=_log_to,
    help="Log the run to mlflow, tensorboard or wandb (repeatable; also BENCHHARNESS_LOG_TO=NAME,"
    "NAME).",
)
# Of a command that may load plugins; it takes effect before other options.
disable_plugin = click.option(
    "--no-plugin",
    multiple=True,
    metavar="NAME",
    expose_value=False,
    is_eager=True,
    callback=_disable,
    help="Disable this plugin (repeatable).",
)


def request(function: F) -> F:
    """Add the options of every command that runs a suite."""
    shared = (disable_plugin, profile, backends, benchmarks, data, device, timeout, offline)
    for option in reversed(shared):
        function = option(function)
    return function


def require_compatible(**given: bool) -> None:
    """Refuse two given options that exclude each other; their names have ``_`` for ``-``."""
    names = [f"--{name.replace('_', '-')}" for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise click.BadParameter(f"cannot be combined with {names[1]}", param_hint=names[0])


def suite_or_builtin(suite: Path | None, data: Path | None) -> Path:
    """Return a suite, by default the built-in one for the user's own pictures in ``data``."""
    from benchharness.suite.builtin import IMAGES

    if suite is None and data is None:
        raise click.UsageError(
            "expected a suite, or --data DIR with a folder of pictures for each class; found "
            "neither (benchharness list shows the suites here)"
        )
    return suite or IMAGES


def command_line() -> str:
    """Return the command as the user wrote it."""
    return shlex.join(["benchharness", *sys.argv[1:]])
