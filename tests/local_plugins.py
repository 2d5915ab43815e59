"""Plugins installed where processes started in a folder find them, without an installer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchharness import plugins


def install(
    folder: Path, name: str, source: str, *, groups: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write a distribution of one module.

    Args:
        folder: On the path of whoever is to find it.
        name: Of the plugin; its module is called ``NAME_module``.
        source: Of the module.
        groups: Entry points by group and name; None for a backend of the plugin's name.
    """
    module = f"{name}_module"
    found = groups or {"benchharness": {name: module}}
    metadata = folder / f"{name}_dist-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
            for group, entries in found.items()
        )
    )


def benchharness(
    folder: Path, *arguments: str, path: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does in a folder whose plugins are installed.

    Args:
        path: More places to import from.
        variables: Of the environment.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), path])),
        "BENCHHARNESS_CACHE": str(folder / "cache"),
        "COLUMNS": "100",
        **variables,
    }
    for name in ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let this process, and those it starts, find the plugins of a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(folder)
        # Whatever ran in this process before has already looked for plugins, and remembers.
        plugins.installed.cache_clear()
        yield
    plugins.installed.cache_clear()
