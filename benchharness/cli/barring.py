"""``--no-plugin``, an option of every command that may load a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def no_plugin(function: F) -> F:
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
    from benchharness.plugins import bar, installed

    unknown = [name for name in names if name not in installed()]
    if unknown:
        known = ", ".join(installed()) or "none"
        raise click.BadParameter(
            f"expected an installed plugin ({known}), found {', '.join(unknown)}"
        )
    if names:
        bar(names)
