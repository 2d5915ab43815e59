"""``benchharness env``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchharness.cli import options
from benchharness.cli.streams import echo

if TYPE_CHECKING:
    from benchharness.environments.store import Environment, Environments


@click.group("env")
def command() -> None:
    """Manage the environments of backends that have their own."""


@command.command("sync", short_help="Build what a suite asks for.")
@options.suite
@options.backends
@click.option("--rebuild", is_flag=True, help="Rebuild with the newest admissible versions.")
@options.offline
def sync(*, suite: Path, backends: tuple[str, ...], rebuild: bool, offline: bool) -> int:
    """Build the environment of each backend of SUITE that states requirements.

    Existing environments are kept. The interpreters that SUITE names are inspected and trusted:
    `run` may start them from then on.

    Exit codes: 0 all are ready; 1 one cannot be built; 2 invalid suite or options.
    """
    from benchharness.errors import BenchError
    from benchharness.run.interpreters import sync_environments

    code = 0
    for outcome in sync_environments(
        suite,
        backends=backends,
        rebuild=rebuild,
        environment={**os.environ, **({"BENCHHARNESS_OFFLINE": "1"} if offline else {})},
        tell=lambda line: echo(line, err=True),
    ):
        if not isinstance(outcome, BenchError):
            echo(outcome)
            continue
        code = 1
        for line in outcome.lines():
            echo(f"error: {line}", err=True)
    return code


@command.command("list", short_help="Show those that have been built.")
@options.as_json
def show_all(*, as_json: bool) -> None:
    """Show the built environments, newest first."""
    environments = _store().all()
    if as_json:
        click.echo(json.dumps([*map(_facts, environments)], indent=2))
        return
    if not environments:
        click.echo("none; benchharness env sync SUITE builds those that a suite asks for")
    for environment in environments:
        echo(summary(environment))
        for use in environment.uses:
            echo(f"{'':18}{use.backend} of {use.suite}")


@command.command("show", short_help="Show the contents of an environment.")
@click.argument("name")
@options.as_json
def show(*, name: str, as_json: bool) -> None:
    """Show what is in an environment: NAME is a backend, or the first letters of a digest."""
    environments = _named(_store(), name)
    if as_json:
        click.echo(json.dumps([*map(_facts, environments)], indent=2))
        return
    for environment in environments:
        echo(summary(environment))
        rows = {
            "requirements": ", ".join(environment.requirements),
            "built": environment.built,
            "size": _size(environment),
            "folder": str(environment.folder),
            **{f"used as {use.backend}": use.suite for use in environment.uses},
        }
        packages = sorted(environment.packages.items(), key=lambda item: item[0].lower())
        for title, text in [*rows.items(), *packages]:
            echo(f"  {title:<26} {text}")


@command.command("remove", short_help="Remove some, or all.")
@click.argument("names", nargs=-1)
@click.option("--unused", is_flag=True, help="Environments that no suite requires any more.")
@click.option("--all", "every", is_flag=True, help="All of them.")
def remove(*, names: tuple[str, ...], unused: bool, every: bool) -> None:
    """Remove environments: NAMES are backends, or the first letters of digests.

    `benchharness env sync` builds them again.
    """
    from benchharness.run.interpreters import unused_environments

    if not (names or unused or every):
        raise click.UsageError("expected names, --unused or --all; found none of them")
    store = _store()
    chosen = [environment for name in names for environment in _named(store, name)]
    chosen += unused_environments(store, environment=os.environ) if unused else []
    chosen += store.all() if every else []
    for environment in {environment.digest: environment for environment in chosen}.values():
        line = f"removed {summary(environment)}, {_size(environment)}"
        store.remove(environment)
        echo(line)
    if not chosen:
        click.echo("nothing to remove")


def summary(environment: Environment) -> str:
    """Return the digest of an environment and what is in it, on one line."""
    chosen = ", ".join(f"{name} {version}" for name, version in environment.chosen.items())
    return (
        f"{environment.digest}  {environment.plugin}: "
        f"{chosen or ', '.join(environment.requirements)}; "
        f"python {environment.python}, {len(environment.packages)} packages"
    )


def _facts(environment: Environment) -> dict[str, object]:
    facts = {"digest": environment.digest, **asdict(environment)}
    return {**facts, "folder": str(environment.folder), "bytes": environment.size_bytes()}


def _store() -> Environments:
    from benchharness.download.caches import cache_folder
    from benchharness.environments.store import Environments

    return Environments(cache_folder(os.environ))


def _named(store: Environments, name: str) -> list[Environment]:
    """Return the environments of a backend or digest, of which there must be one."""
    if environments := store.named(name):
        return environments
    known = dict.fromkeys(use.backend for environment in store.all() for use in environment.uses)
    raise click.BadParameter(
        f"expected a backend ({', '.join(known) or 'none has an environment yet'}) or the first "
        f'letters of a digest, found "{name}" (benchharness env list shows them)'
    )


def _size(environment: Environment) -> str:
    return f"{environment.size_bytes() / 1e9:.1f} GB"
