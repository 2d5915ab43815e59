"""Cost of a suite of 10,000 trials in the harness itself: expansion, each trial, memory.

Run with ``pytest tests/benchmarks/test_many_trials.py --benchmark-enable``; without that, fewer
trials are tried. The trials end as soon as they begin, so that what remains is ours: identity,
record, its way to the disk, and the word of it. A worker's own process is measured apart, beside
one that is merely started.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchharness.measure.meters import tree
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor, TrialSteps
from benchharness.run.process.exit import Outcome
from benchharness.run.session import open_session, start_run
from benchharness.suite.load import load
from benchharness.suite.resolve import resolve
from benchharness.worker.request import WorkerRequest

TRIALS, TRIED = 10_000, 200
SUITE = f"""
name = "many"
trials = 10
backends = ["numpy"]

[dataset]
source = "drawn"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
filters = [2]

[benchmark.matrix]
dense = {list(range(1, 101))}
batch_size = {list(range(1, 11))}
"""
WORKER = """
import json, os, sys
with os.fdopen(int(sys.argv[-1]), "w") as pipe:
    event = {"event": "finished", "status": "ok", "reason": "", "metrics": {"wall_s": 0.1}}
    pipe.write(json.dumps(event) + "\\n")
"""


class Immediate:
    """An executor whose trials end well at once."""

    variables: ClassVar[dict[str, str]] = {}

    def steps(self, request: Any, **words: Any) -> TrialSteps[Outcome]:
        """Return how a trial of three epochs ends."""
        yield from ()
        epochs = [{"epoch": n, "train_s": 0.1, "train_loss": 0.5} for n in (1, 2, 3)]
        return Outcome(status="ok", metrics={"wall_s": 0.1}, epochs=epochs, is_final=True)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of 1,000 cells of ten trials each."""
    path = tmp_path / "many.toml"
    path.write_text(SUITE)
    return path


def test_expansion(benchmark: Any, suite: Path) -> None:
    """From the file to 10,000 trials in their order."""

    def expand() -> int:
        return len(resolve(load(suite), profile=None).trials())

    assert benchmark.pedantic(expand, rounds=5) == TRIALS


def test_each_trial(
    benchmark: Any, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time the trials of a run, beside their processes; its memory does not grow with them."""
    count = TRIED if benchmark.disabled else TRIALS
    request = RunOptions(suite=suite, results=tmp_path / "results", proof="no", device="cpu")
    session = open_session(request, cache=tmp_path / "cache")
    runner = start_run(session, lambda event: None)
    runner.requests.executor = Immediate()  # type: ignore[assignment]
    held: list[int] = []

    def carry_out() -> None:
        for number, _ in enumerate(runner.run_trials(lambda event: None), start=1):
            if number % (count // 10) == 0:
                held.append(tree(os.getpid())[os.getpid()])
            if number == count:
                return

    began_s = time.perf_counter()
    benchmark.pedantic(carry_out, rounds=1)
    trial_ms = 1e3 * (time.perf_counter() - began_s) / count
    runner.close()
    # The first tenth fills what every trial asks for.
    growth = held[-1] - held[0]
    with capsys.disabled():
        print(f"\n{count:,} trials: {trial_ms:.2f} ms each, {growth / 1e6:+.1f} MB of memory")
    # Speed is judged where that was asked for; elsewhere only what is far beyond it.
    assert trial_ms < (2000 if benchmark.disabled else 60)
    assert growth < 20e6


def test_each_process(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Time a worker that does nothing beside the same process merely started and awaited."""
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{WORKER}")
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    executor = LocalExecutor(environment=os.environ, python=str(python))
    own: list[float] = []
    bare: list[float] = []

    def worker() -> None:
        began_s = time.perf_counter()
        outcome = executor.run(
            WorkerRequest(),
            request_file=tmp_path / "request.json",
            log=tmp_path / "log",
            on_event=lambda event: None,
        )
        own.append(time.perf_counter() - began_s)
        assert outcome.status == "ok"

    def process() -> None:
        began_s = time.perf_counter()
        subprocess.run(
            [str(python), "request.json", "1"],
            stdout=subprocess.DEVNULL,
            check=True,
            # As workers are: a session has a share of the processor of its own.
            start_new_session=True,
        )
        bare.append(time.perf_counter() - began_s)

    worker()
    own.clear()
    benchmark.pedantic(worker, setup=process, rounds=20)
    beside_ms = 1e3 * statistics.median(o - b for o, b in zip(own, bare, strict=True))
    with capsys.disabled():
        print(f"\na worker: {beside_ms:.1f} ms beside its process")
