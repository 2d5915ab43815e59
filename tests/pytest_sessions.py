"""Whole pytest sessions on suites, and a backend that takes its time for each step.

`paced` is the NumPy backend with a pause after every step, so that what is compared does not
depend on who else uses the machine. PACE_MS makes it slower; FAULT makes it fail.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A session in this process takes back what it has imported, and NumPy cannot be imported again.
import benchharness.pytest_plugin.suites
import benchharness.pytest_plugin.timing  # noqa: F401

PLUGIN = """
import os
import time
from dataclasses import replace

from benchharness.api import UnsupportedError, hookimpl
from benchharness.testing.reference import NumpyBackend

PACE_S = float(os.environ.get("PACE_MS", "20")) / 1e3


def paced(after_step):
    def step():
        time.sleep(PACE_S)
        after_step()

    return step


class Paced:
    def __init__(self, backend, fault):
        self._backend, self._fault = backend, fault

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def feed(self, task):
        feeding = self._backend.feed(task)
        feed = feeding.feed
        feeding.feed = lambda batches, *, after_step: feed(batches, after_step=paced(after_step))
        return feeding

    def train(self, task):
        if self._fault == "breaks":
            print("the last thing it said")
            raise ValueError("out of ideas")
        if self._fault == "lacks":
            raise UnsupportedError("layout: not here")
        if self._fault == "errs":
            task = replace(task, optimizer=replace(task.optimizer, lr=2 * task.optimizer.lr))
        training = self._backend.train(task)
        train = training.train
        training.train = lambda epochs, *, after_step, after_epoch: train(
            epochs, after_step=paced(after_step), after_epoch=after_epoch
        )
        return training


@hookimpl
def benchharness_backend(options):
    return Paced(NumpyBackend(dtype="float64"), options.get("fault"))
"""

HEAD = """
name = "pace"
trials = 1
seed = 3
backends = ["paced"]

[dataset]
source = "drawn"

[defaults]
image_size = 32
train_images = 20
test_images = 4
batch_size = 5
"""
FEED = """
[[benchmark]]
name = "feed"
strategy = "dataset"
"""
CNN = """
[[benchmark]]
name = "small_cnn"
strategy = "simple_cnn"
filters = [2, 3]
dense = 8
"""
SUITE = HEAD + FEED + CNN


# Importing hypothesis would be half of what such a session takes.
INI = "[pytest]\naddopts = -p no:hypothesispytest\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A pytest session that is over."""

    code: int
    text: str

    def lines(self, word: str) -> list[str]:
        """Return the printed lines with a word in them."""
        return [line for line in self.text.splitlines() if word in line]

    @property
    def is_plain(self) -> bool:
        """Whether no traceback was printed."""
        return not re.search(r"Traceback|INTERNALERROR|^E  ", self.text, re.M)


def install(folder: Path, suite: str = SUITE) -> None:
    """Make a project: a suite, and the backend that it names."""
    package = folder / "paced-1.0.dist-info"
    package.mkdir(exist_ok=True)
    (folder / "paced_backend.py").write_text(PLUGIN)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: paced\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchharness]\npaced = paced_backend\n")
    (folder / "pytest.ini").write_text(INI)
    (folder / "pace.toml").write_text(suite)


def start(
    folder: Path, *arguments: str, program: str = "pytest", **environment: str
) -> subprocess.Popen[str]:
    """Start a program in a project as its user does, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", program, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "BENCHHARNESS_CACHE": str(folder / "cache"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Where this session is a shell's job in the background, Ctrl-C is ignored and so inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(folder: Path, *arguments: str, program: str = "pytest", **environment: str) -> Session:
    """Run a program in a project as its user does."""
    return ended(start(folder, *arguments, program=program, **environment))


def ended(process: subprocess.Popen[str], *, timeout_s: float = 1200) -> Session:
    """Return a session when it is over."""
    try:
        text, _ = process.communicate(timeout=timeout_s)
    except BaseException:
        # Ctrl-C too does not reach a group of its own.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Session(code=process.returncode, text=text)


def saved(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the newest file of pytest-benchmark, and what is in it."""
    file = sorted(folder.glob(".benchmarks/*/*.json"))[-1]
    return file, json.loads(file.read_text())
