"""``benchharness plugin new`` and ``benchharness plugin check``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from benchharness.cli import options


@click.group("plugin")
def command() -> None:
    """Create a backend plugin, or check one against the contract."""


@command.command("new")
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=options.FOLDER,
    default=Path(),
    help="Parent of its folder; the current folder by default.",
)
def new(*, name: str, parent: Path) -> int:
    """Write the package of a new backend called NAME.

    It works at once, because NumPy computes until each module is replaced by your framework's.
    """
    from benchharness.testing.scaffold import distribution_of, write_plugin

    folder = parent / distribution_of(name)
    files = write_plugin(name, folder)
    click.echo(
        f"{folder}: {len(files)} files\n"
        f"install it:  pip install -e '{folder}[dev]'\n"
        f"check it:    benchharness plugin check {name}\n"
        "then replace one module after the other, in the order of its README"
    )
    return 0


@command.command("check")
@click.argument("name")
@click.option(
    "--option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the plugin, as in a suite (repeatable).",
)
@click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where."
)
@options.as_json
def check(
    *, name: str, pairs: tuple[str, ...], device: Literal["cpu", "gpu"], as_json: bool
) -> int:
    """Check the installed backend NAME against the contract, clause by clause.

    What it refuses with a reason is skipped, and reported. The same checks for pytest are
    benchharness.testing.BackendContract and PluginContract.

    Exit codes: 0 the contract is kept; 1 it is broken, or NAME is not installed; 2 invalid
    arguments.
    """
    from importlib.util import find_spec

    from benchharness.errors import PluginError, Problem, SuiteError

    if find_spec("pytest") is None:
        raise PluginError(
            "plugin check: expected pytest to be installed, found none; "
            "pip install 'benchharness[testing]'"
        )
    if wrong := [pair for pair in pairs if "=" not in pair]:
        problems = [Problem(where="--option", expected="KEY=VALUE", found=pair) for pair in wrong]
        raise SuiteError("command line", problems)
    from benchharness.testing.check import PluginCheck

    values = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    checked = PluginCheck(name=name, options=values, device=device)
    if as_json:
        import json

        list(checked.run())
        click.echo(json.dumps(checked.as_dict()))
    else:
        from rich.console import Console

        from benchharness.report.views import clause_lines, contract_outcome

        console, printed = Console(highlight=False), set[str]()
        with console.status("checking"):
            for result in checked.run():
                for line in clause_lines(result, width=console.width, printed=printed):
                    console.print(line)
        console.print("", contract_outcome(checked))
    return 0 if checked.is_kept else 1
