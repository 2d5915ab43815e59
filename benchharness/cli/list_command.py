"""``benchharness list``."""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click

from benchharness.cli import options
from benchharness.cli.streams import echo
from benchharness.data.sources import SOURCES
from benchharness.model.backbones import BACKBONES
from benchharness.plugins import distribution, extensions, install_command, installed, obstacle
from benchharness.suite.builtin import IMAGES

STRATEGIES = {
    "dataset": "bring images to the device without training: the speed of the input",
    "simple_cnn": "train a small convolutional network from scratch",
    "bottleneck": "run a pretrained backbone once, train a new head on its features",
    "fine_tune": "train the head and part of the backbone together",
}


@click.command("list")
@options.disable_plugin
def command() -> None:
    """Show the available backends, strategies, datasets, backbones and suites.

    Imports no deep-learning framework.
    """
    backends = {name: _described(entry) for name, entry in installed().items()}
    added = {
        kind: {name: distribution(entry) for name, entry in extensions(kind).items()}
        for kind in ("datasets", "meters", "observers", "reports", "commands")
    }
    sources = {name: source.description for name, source in SOURCES.items()}
    files = [*sorted(Path().glob("*.toml")), *sorted(Path("suites").glob("*.toml"))]
    suites = {str(file): title for file in files if (title := _title(file)) is not None}
    sections = {
        "backends": backends or {"none": f"install one with: {install_command('torch')}"},
        "strategies": STRATEGIES,
        "datasets": sources | {k: v for k, v in added.pop("datasets").items() if k not in SOURCES},
        "backbones": {name: backbone.description for name, backbone in BACKBONES.items()},
        **_environments(),
        "suites here": suites or {"none": "a suite is a TOML file; see the README"},
        **added,
        "built in": {"--data DIR": _title(IMAGES) or ""},
    }
    for title, rows in sections.items():
        click.echo(f"{title}:")
        for name, description in rows.items():
            echo(f"  {name:<26} {description}")


def _described(entry: EntryPoint) -> str:
    """Return the distribution of a backend, and why it cannot run on this Python."""
    missing = obstacle(entry)
    return f"{distribution(entry)}{f'; {missing}; {missing.remedy}' if missing else ''}"


def _environments() -> dict[str, dict[str, str]]:
    """Return the backends that have a separate environment."""
    from benchharness.download.caches import cache_folder
    from benchharness.environments.store import Environments

    rows = {
        use.backend: f"{environment.plugin} in an environment of "
        f"{', '.join(environment.requirements)}; {use.suite}"
        for environment in reversed(Environments(cache_folder(os.environ)).all())
        for use in environment.uses
    }
    return {"backends with an environment": rows} if rows else {}


def _title(file: Path) -> str | None:
    """Return what a suite says of itself; None for a file that is no suite."""
    try:
        # A pipe of that name would be waited for, and deep nesting is no suite of anybody's.
        document = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return None
    if "benchmark" not in document or "name" not in document:
        return None
    return str(document.get("title") or document["name"])
