"""Settings of speed are told as the work shows them, whatever the framework says of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_plugins import importable, install
from test_run import run

from benchharness.api import Execution
from benchharness.measure.blocks import Block
from benchharness.testing.tasks import linear, make_task
from benchharness.worker.trial import observed_settings

pytestmark = pytest.mark.slow

SPINNING = """
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend, NumpyTraining


def spin():
    until_s = time.thread_time() + 0.01
    while time.thread_time() < until_s:
        pass


class Training(NumpyTraining):
    # Each thread of a step works for 10 ms; they take turns where Python lets only one work.
    def __init__(self, task, dtype, options):
        self.options, self.is_compiled = options, False
        self.pool = ThreadPoolExecutor(1)
        super().__init__(task, dtype)

    def _step(self, inputs, labels):
        if self.options["compiles"] and not self.is_compiled:
            time.sleep(1.0)
            self.is_compiled = True
        other = self.pool.submit(spin) if self.options["shares"] else None
        spin()
        if other:
            other.result()
        return super()._step(inputs, labels)

    def settings(self):
        return {**super().settings(), "compile": True, "threads": 2}


class Backend(NumpyBackend):
    def __init__(self, options):
        super().__init__()
        self.options = options

    def train(self, task):
        plain = replace(task, execution=replace(task.execution, compile=False))
        return Training(plain, self._dtype, self.options)


@hookimpl
def benchharness_backend(options):
    return Backend(options)
"""

SUITE = """
name = "spinning"
backends = ["as_asked", "as_ever"]

[dataset]
source = "drawn"

[backend.as_asked]
plugin = "spinning"
options = { compiles = true, shares = true }

[backend.as_ever]
plugin = "spinning"
options = { compiles = false, shares = false }

[defaults]
image_size = 16
train_images = 60
test_images = 4
batch_size = 5
compile = true

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
dense = 4
epochs = 2
trials = 1
"""


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("gpu", "float32", ["precision", "tf32"]),
        ("gpu", "tf32", ["precision", "tf32"]),
        ("gpu", "bfloat16", []),
        ("cpu", "float32", []),
    ],
)
def test_a_precision_that_nvidias_libraries_override_is_unconfirmed(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, expected: list[str]
):
    """What frameworks ask for is not what is computed."""
    execution = Execution(device=device, threads=1, precision=precision)
    task = replace(make_task(linear(outputs=2)), execution=execution)
    context = SimpleNamespace(cpu=SimpleNamespace(sharing=0))
    loop = SimpleNamespace(
        epochs=[SimpleNamespace(blocks=[Block(1, 0.1)])],
        train_s=0.1,
        training=SimpleNamespace(settings=dict),
    )
    assert observed_settings(context, task, loop) == {}

    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert observed_settings(context, task, loop) == dict.fromkeys(expected, "unconfirmed")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_settings_of_speed_are_those_that_the_work_shows(tmp_path: Path):
    """One compiles and has two threads at work, the other only says so."""
    install(tmp_path / "plugin", "spinning", SPINNING)

    expected = {"as_asked": [True, 2], "as_ever": ["unconfirmed", "unconfirmed"]}
    with importable(tmp_path / "plugin"):
        # Whoever waits for a core in its first steps may seem to compile, or not to: not always.
        for _ in range(5):
            _, records = run(tmp_path, SUITE)
            told = {
                record["backend"]: [record["effective"][name] for name in ("compile", "threads")]
                for record in records
            }
            if told == expected:
                break

    assert told == expected
