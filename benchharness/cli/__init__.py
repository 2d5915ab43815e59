"""The command line: one file per command, each imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings

import click

from benchharness import __version__
from benchharness.cli.streams import echo, install_signal_handlers, open_missing_streams
from benchharness.errors import BenchError, PluginError
from benchharness.exit_codes import Terminated, exit_code, explanation, is_disk_error
from benchharness.files import expanded
from benchharness.plugins import distribution, extensions, load_extension, title

_COMMANDS = {
    "run": "run a suite and print its table",
    "certify": "prove that the backends do the same work, without timing",
    "data": "download and decode the data of a suite, or verify it",
    "list": "list available backends, strategies, datasets, backbones and suites",
    "report": "print the table of a recorded run again",
    "merge": "merge runs of a suite, of several machines or days, into one",
    "verify": "recompute the figures of a recorded run from its samples",
    "compare": "compare two backends, revisions or runs and report regressions",
    "env": "manage the virtual environments that a suite requires",
    "doctor": "check what this machine can do, what is missing, and how to get it",
    "plugin": "create a backend plugin, or check one against the contract",
    "schema": "print the JSON schema of a suite, for editors",
}
# Commands of ours that come through the hook, as any plugin's; help imports no command.
_EXTENSIONS = {
    "noise": "measure the noise level of this machine",
    "history": "show results over time and detect change points",
}


class LazyGroup(click.Group):
    """A group whose commands, and those of plugins, are imported when they are called.

    A plugin's command does not replace one of the group's own.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(dict.fromkeys([*_COMMANDS, *extensions("commands")]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name in _COMMANDS:
            module = importlib.import_module(f"benchharness.cli.{cmd_name}_command")
            command: click.Command = module.command
            return command
        if (entry := extensions("commands").get(cmd_name)) is None:
            return None
        added = load_extension("commands", cmd_name)()
        if not isinstance(added, click.Command):
            raise PluginError(f"{title(entry)}: expected a click.Command, found {added!r}")
        return added

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their first lines, importing none."""
        added = {
            name: _EXTENSIONS.get(name) or f"added by {distribution(entry)}"
            for name, entry in extensions("commands").items()
            if name not in _COMMANDS
        }
        with formatter.section("Commands"):
            formatter.write_dl(list((_COMMANDS | added).items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="benchharness")
def cli() -> None:
    """Benchmark deep-learning backends on the same work.

    Exit codes: 0 success; 1 a trial failed or a proof was refused; 2 invalid suite or
    options; 3 a regression; 4 undecidable; 130 interrupted.
    """


def main() -> None:
    """Run the command line; a user's error is one line per problem, without a traceback."""
    open_missing_streams()
    # Containers may have users without a home folder, and libraries fail without any.
    if not expanded("~").is_absolute():
        os.environ["HOME"] = "/"
    install_signal_handlers()
    if not sys.warnoptions:
        # Warnings of libraries are for their callers; what concerns the user is in our messages.
        warnings.simplefilter("ignore")
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = exit_code(error)
    except (BenchError, OSError, click.Abort, KeyboardInterrupt, Terminated) as error:
        if isinstance(error, OSError) and not is_disk_error(error):
            raise
        mark = "error: " if isinstance(error, BenchError | OSError) else ""
        for line in explanation(error):
            echo(f"{mark}{line}", err=True)
        code = exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)
