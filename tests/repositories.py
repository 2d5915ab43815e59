"""Git repositories of a small plugin, for the tests of revisions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PLUGIN = '''"""A plugin whose every training step takes longer by what its revision says."""

import time

from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend, NumpyTraining

STEP_S = {step_s}


class SlowTraining(NumpyTraining):
    def train(self, epochs, *, after_step, after_epoch):
        def after_slow_step():
            time.sleep(STEP_S)
            after_step()

        super().train(epochs, after_step=after_slow_step, after_epoch=after_epoch)


class SlowBackend(NumpyBackend):
    def train(self, task):
        return SlowTraining(task, self._dtype)


@hookimpl
def benchharness_backend(options):
    return SlowBackend(dtype="float32")
'''
SLOW_SUITE = """
name = "slow"
seed = 3
trials = 1
backends = ["slowpoke"]

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 16
test_images = 4
batch_size = 4
dense = 4

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2]
epochs = 1
"""
ROLES = ("AUTHOR", "COMMITTER")
PYPROJECT = """
[project]
name = "benchharness-slowpoke"
version = "{version}"
dependencies = {dependencies}

[project.entry-points.benchharness]
{entry} = "benchharness_slowpoke.plugin"
"""


class GitRepository:
    """A git repository of a folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *arguments: str) -> str:
        """Return what git prints here, whoever the user is."""
        who = {"NAME": "Ada", "EMAIL": "ada@example.org"}
        people = {f"GIT_{role}_{what}": value for role in ROLES for what, value in who.items()}
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.top,
            env={**os.environ, **people, "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, message: str = "change", *, tag: str = "") -> str:
        """Commit all files and return the full hash."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")


class PluginRepository(GitRepository):
    """A git repository of a plugin, which nobody has installed."""

    def write(
        self,
        *,
        step_s: float | str = 0.0,
        dependencies: tuple[str, ...] = ("numpy>=1.26",),
        entry: str = "slowpoke",
        version: str = "1.0",
        folder: str = "src",
    ) -> None:
        """Write the plugin's files; seconds of a step may be an expression of Python."""
        package = self.top / folder / "benchharness_slowpoke"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "plugin.py").write_text(PLUGIN.format(step_s=step_s), encoding="utf-8")
        text = PYPROJECT.format(version=version, dependencies=list(dependencies), entry=entry)
        (self.top / "pyproject.toml").write_text(text, encoding="utf-8")
