"""Runs of one suite on the NumPy reference, with all files that a user finds in their folders."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from click.testing import CliRunner, Result
from in_process import workers_here
from suite_files import NUMPY_TWINS

from benchharness.cli import cli

SUITE = (
    """
name = "tiny"
trials = 2
"""
    + NUMPY_TWINS
    + """
[defaults]
image_size = 16
train_images = 20
test_images = 16
batch_size = 5

[[benchmark]]
name = "feed"
strategy = "dataset"

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2, 3]
dense = 8
epochs = 3
validation = 0.2
target_top1 = 0.1
"""
)


def invoke(*words: str | Path) -> Result:
    """Carry out a command in this process, its workers' jobs too."""
    with workers_here():
        return CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)


def record_runs(folder: Path, count: int, *, text: str = SUITE) -> list[Path]:
    """Run a suite so often, below a folder; return the folders of the runs in order."""
    suite, results = folder / "tiny.toml", folder / "results"
    suite.write_text(text)
    with mock.patch.dict(os.environ, BENCHHARNESS_CACHE=str(folder / "cache")):
        for _ in range(count):
            done = invoke("run", suite, "--device", "cpu", "--results", results, "-q")
            assert done.return_value == 0, done.output
    return sorted(path for path in (results / "tiny").iterdir() if not path.is_symlink())
