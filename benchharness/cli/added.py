"""Commands that plugins add."""

from __future__ import annotations

import click

from benchharness.errors import PluginError
from benchharness.extensions import extensions, load_extension
from benchharness.plugins import title


def command_of_plugin(name: str) -> click.Command:
    """Import the command of a plugin.

    Raises:
        PluginError: It cannot be imported, or gives no command.
    """
    command = load_extension("commands", name)()
    if not isinstance(command, click.Command):
        raise PluginError(
            f"{title(extensions('commands')[name])}: expected a click.Command, found {command!r}"
        )
    return command
