"""``benchharness schema``."""

from __future__ import annotations

import json

import click

from benchharness.suite.file import json_schema


@click.command("schema")
def command() -> None:
    """Print the JSON schema of a suite.

    Write it beside your suite and name it in the first line, ``#:schema ./suite.schema.json``:
    editors then complete and check what you type.
    """
    click.echo(json.dumps(json_schema(), indent=2))
