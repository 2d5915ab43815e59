"""``--no-plugin``, an option of every command that may load a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def disable_plugin(function: F) -> F:
    """Give a command the option; it takes effect before the command begins."""
    return click.option(
        "--no-plugin",
        multiple=True,
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_bar,
        help="Leave the plugin of this name alone, as if it were not installed; repeatable.",
    )(function)


def _bar(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if not names:
        return
    from benchharness.plugins import bar

    known = _installed()
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(
            f"expected an installed plugin ({', '.join(known) or 'none'}), "
            f"found {', '.join(unknown)}"
        )
    bar(names)


def _installed() -> list[str]:
    """Return the names of all plugins, whatever they add."""
    from importlib.metadata import distributions

    from benchharness.plugins import GROUP

    every = (entry for found in distributions() for entry in found.entry_points)
    return sorted({one.name for one in every if f"{one.group}.".startswith(f"{GROUP}.")})
