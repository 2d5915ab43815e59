"""Backends that are slower or larger than another by a known amount, and their comparison."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LAGGARD = '''
"""Wraps a backend; each step takes step_s longer, and slower times as long again.

In every tenth epoch all of that takes every_tenth times as long again.

Validation images are all right after each epoch where misses is "never", and all wrong in trials
that miss their target: in half of them at random, or in those of every other seed.

Where there is a diary, it says of each epoch whose it was and from when to when it went on.
"""

import os
import random
import time
from dataclasses import replace
from importlib import import_module

import numpy as np

from benchharness.api import UnsupportedError, hookimpl

HELD = []


class Laggard:
    def __init__(
        self, backend, *, slower=0.0, step_s=0.0, every_tenth=0.0, hungrier_mb=0, fault="",
        name="", diary="", misses=""
    ):
        self._backend, self._slower, self._step_s = backend, slower, step_s
        self._every_tenth = every_tenth
        self._hungrier_mb, self._fault = hungrier_mb, fault
        self._name, self._diary, self._misses = name, diary, misses

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def train(self, task):
        if self._fault == "broken":
            raise RuntimeError("it broke")
        if self._fault == "unable":
            raise UnsupportedError("it cannot")
        if self._hungrier_mb:
            HELD.append(np.ones((self._hungrier_mb, 2**20), np.uint8))
        training = self._backend.train(task)
        original, evaluate = training.train, training.evaluate
        is_missed = {
            "half": random.SystemRandom().random() < 0.5,
            "every other": task.seed % 2 == 0,
        }.get(self._misses, False)
        is_after_epoch = False

        def score(batches):
            scores = evaluate(batches)
            return replace(scores, top1=float(not is_missed)) if is_after_epoch else scores

        def train(epochs, *, after_step, after_epoch):
            began_s = epoch_s = time.monotonic()
            epoch = 1

            def late():
                nonlocal began_s
                training.synchronize()
                spent_s = time.monotonic() - began_s
                late_s = self._step_s + self._slower * spent_s
                again_s = self._every_tenth * (spent_s + late_s) if epoch % 10 == 0 else 0.0
                time.sleep(late_s + again_s)
                after_step()
                began_s = time.monotonic()

            def rested(scores):
                nonlocal began_s, epoch_s, epoch, is_after_epoch
                if self._diary:
                    with open(self._diary, "a") as file:
                        file.write(f"{os.getpid()} {self._name} {epoch_s} {time.monotonic()}\\n")
                if self._fault == "dies" and len(epochs) > 1:
                    os._exit(3)
                is_after_epoch = bool(self._misses)
                after_epoch(scores)
                is_after_epoch = False
                epoch += 1
                began_s = epoch_s = time.monotonic()

            original(epochs, after_step=late, after_epoch=rested)

        training.train, training.evaluate = train, score
        return training


@hookimpl
def benchharness_backend(options):
    options = dict(options)
    module = import_module(options.pop("plugin", "benchharness.testing.plugin"))
    return Laggard(module.benchharness_backend(options={}), **options)
'''
SUITE = """
name = "lagging"
trials = 1
seed = 5
backends = ["slow"]

[backend.slow]
plugin = "laggard"
options = { step_s = 0.02 }

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 20
test_images = 8
batch_size = 4
dense = 4
dropout = 0.0

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
"""


def install(folder: Path, text: str = SUITE) -> Path:
    """Write a suite, and the laggard where processes started in the folder find it."""
    package = folder / "laggard-1.0.dist-info"
    package.mkdir(parents=True)
    (folder / "laggard.py").write_text(LAGGARD)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: laggard\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchharness]\nlaggard = laggard\n")
    file = folder / "lagging.toml"
    file.write_text(text)
    return file


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a process in which the laggard of a folder is installed."""
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
        "BENCHHARNESS_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
    }
    for name in ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS"):
        variables.pop(name, None)
    return variables


def benchharness(
    folder: Path, *arguments: str, timeout_s: float = 1800
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, the laggard installed."""
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
