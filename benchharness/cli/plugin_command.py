"""``benchharness plugin new`` and ``benchharness plugin check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchharness.cli import options

if TYPE_CHECKING:
    from benchharness.testing.audit import PluginCheck


@click.group("plugin")
def command() -> None:
    """Begin a backend of your own, and hold it against the contract."""


@command.command("new")
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=options.FilePath(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to make its folder; here by default.",
)
def new(*, name: str, parent: Path) -> int:
    """Write the package of a new backend called NAME.

    It runs at once: every piece of it leads to a NumPy reference, and you replace one piece after
    the other.
    """
    from benchharness.testing.scaffold import distribution_of, write_plugin

    folder = parent / distribution_of(name)
    files = write_plugin(name, folder)
    click.echo(f"{folder}: {len(files)} files")
    click.echo(f"install it:  pip install -e '{folder}[dev]'")
    click.echo(f"check it:    benchharness plugin check {name}")
    click.echo("then replace one module after the other; its README says in which order")
    return 0


@command.command("check")
@click.argument("name")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of the plugin, as in a suite; may be repeated.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def check(*, name: str, options: tuple[str, ...], device: str, as_json: bool) -> int:
    """Hold the installed backend NAME against the contract, clause by clause.

    What it refuses with a reason is passed over, and said. The same checks for pytest are
    benchharness.testing.BackendContract and PluginContract.

    Exit codes: 0 the contract is kept; 1 it is broken, or NAME is not installed; 2 the request
    could not be understood.
    """
    _require_pytest()
    from benchharness.testing.audit import PluginCheck

    audit = PluginCheck(name=name, options=_options(options), device=device)
    if as_json:
        import json

        list(audit.carry_out())
        click.echo(json.dumps(audit.as_dict()))
    else:
        _show(audit)
    return 0 if audit.is_kept else 1


def _show(audit: PluginCheck) -> None:
    """Print each clause as it becomes known."""
    from rich.console import Console

    from benchharness.report.checklist import lines, outcome

    console, told = Console(highlight=False), set[str]()
    with console.status("examining"):
        for result in audit.carry_out():
            for line in lines(result, width=console.width, told=told):
                console.print(line)
    console.print()
    console.print(outcome(audit))


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the plugin's options.

    Raises:
        SuiteError: One is no pair.
    """
    from benchharness.errors import Problem, SuiteError

    problems = [
        Problem(where="--option", expected="KEY=VALUE", found=pair)
        for pair in pairs
        if "=" not in pair
    ]
    if problems:
        raise SuiteError("command line", problems)
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _require_pytest() -> None:
    """Refuse to check where what checks is missing.

    Raises:
        PluginError: pytest, of which the contract is made, is not installed.
    """
    from importlib.util import find_spec

    from benchharness.errors import PluginError

    if find_spec("pytest") is None:
        raise PluginError(
            "plugin check: expected pytest to be installed, found none; "
            "pip install 'benchharness[testing]'"
        )
