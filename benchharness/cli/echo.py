"""Lines for the user."""

from __future__ import annotations

import click

from benchharness.text import escape_control_chars


def echo(line: str, *, err: bool = False) -> None:
    """Print a line in which no name acts on the terminal.

    Args:
        line: Perhaps with names from suites, data and libraries.
        err: To standard error.
    """
    click.echo(escape_control_chars(line), err=err)
