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
        callback=_disable,
        help="Disable this plugin (repeatable).",
    )(function)


def _disable(context: click.Context, option: click.Parameter, names: tuple[str, ...]) -> None:
    if not names:
        return
    from benchharness.plugins import disable, disabled, installed_names

    known = sorted({*installed_names(), *disabled()})
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(
            f"expected an installed plugin ({', '.join(known) or 'none'}), "
            f"found {', '.join(unknown)}"
        )
    disable(names)
