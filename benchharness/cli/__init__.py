"""The command line: one file per command, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
import warnings

import click

from benchharness import __version__
from benchharness.cli.disk_errors import is_disk_error
from benchharness.cli.errors import Terminated, exit_code, explanation, install_signal_handlers
from benchharness.cli.saying import say
from benchharness.cli.surroundings import name_home, open_missing_streams
from benchharness.errors import BenchError
from benchharness.extensions import extensions
from benchharness.plugins import distribution

_COMMANDS = {
    "run": "run a suite and print its table",
    "certify": "prove that the backends do the same work, and time nothing",
    "data": "fetch and decode what a suite reads, or check that it is whole",
    "list": "backends, strategies, datasets, backbones and suites that can be had",
    "report": "print the table of a recorded run again",
    "compare": "say whether one of two sides is slower, larger or less accurate",
    "env": "build and look after environments: two versions of a framework in one suite",
    "doctor": "what this machine can do, what is missing, how to get it",
    "plugin": "begin a backend of your own, and hold it against the contract",
    "schema": "print the JSON schema of a suite, for editors",
}
# Through the hook for commands, as any plugin's; what they do stands here, because help imports
# no command.
_ADDED = {
    "noise": "say how small a difference this machine can show",
    "history": "runs over time, and where they stepped to another level",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that help is instant.

    To its own come those of plugins, ours among them; of two of one name, its own is meant.
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
        if cmd_name in extensions("commands"):
            from benchharness.cli.added import command_of_plugin

            return command_of_plugin(cmd_name)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their first lines, importing none."""
        added = {
            name: _ADDED.get(name) or f"added by {distribution(entry)}"
            for name, entry in extensions("commands").items()
            if name not in _COMMANDS
        }
        with formatter.section("Commands"):
            formatter.write_dl(list((_COMMANDS | added).items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="benchharness")
def cli() -> None:
    """Benchmark deep-learning backends on the same work.

    Exit codes: 0 all well; 1 a trial failed or a proof was refused; 2 the request could not be
    understood; 3 a regression; 4 undecidable; 130 interrupted.
    """


def main() -> None:
    """Run the command line; a mistake of the user's is one line per problem, no traceback."""
    open_missing_streams()
    name_home()
    install_signal_handlers()
    if not sys.warnoptions:
        # What libraries warn of concerns their callers; what concerns the user is told by us.
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
            say(f"{mark}{line}", err=True)
        code = exit_code(error)
    sys.exit(code if isinstance(code, int) else 0)
