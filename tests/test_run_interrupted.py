"""Interrupted runs: finished trials stay, and no process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from local_processes import wait_for, workers

from benchharness.results import journal
from benchharness.run.runner import defer_signals

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("pages")]

SUITE = """
name = "long"
trials = 50
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
dense = 4
"""


def test_interrupting_a_run_keeps_what_has_finished_and_ends_its_worker(tmp_path: Path):
    """Ctrl-C: exit code 130, every finished trial in records and CSV, no worker left behind."""
    run = begin(tmp_path)
    records = tmp_path / "results/long/latest/records.jsonl"
    wait_for_trials(records, 2)

    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=300)

    finished = [json.loads(line) for line in records.read_text().splitlines()]
    rows = (records.parent / "trials.csv").read_text().splitlines()
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert {record["status"] for record in finished} == {"ok"}
    assert len(rows) == 1 + len(finished) >= 3
    assert "NOT COMPLETE" in (records.parent / "report.html").read_text()
    assert f"to resume: benchharness run long.toml --resume {records.parent.resolve()}" in (
        errors.replace("results/long", str(tmp_path / "results/long"))
    )
    wait_for(lambda: workers(tmp_path) == [])


def test_interrupting_twice_ends_at_once(tmp_path: Path):
    """The second Ctrl-C waits for no report: exit code 130, records whole, no worker left."""
    run = begin(tmp_path)
    records = tmp_path / "results/long/latest/records.jsonl"
    wait_for_trials(records, 1)

    run.send_signal(signal.SIGINT)
    # Until the first has been taken, two are one.
    while run.poll() is None:
        time.sleep(0.05)
        run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=300)

    assert run.returncode == 130
    assert errors.splitlines()[-1] == "ended at once; finished trials have been saved"
    assert journal.read(records)[1] == []
    wait_for(lambda: workers(tmp_path) == [])


def test_a_signal_waits_for_the_end_of_what_must_be_whole():
    """Ctrl-C between a record and the word of it is obeyed after both."""
    done = []
    # Started in the background, we would ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        with pytest.raises(KeyboardInterrupt):
            with defer_signals():
                signal.raise_signal(signal.SIGINT)
                done.append("whole")
            done.append("more")

        assert done == ["whole"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def begin(folder: Path) -> subprocess.Popen[str]:
    """Begin a run of 50 trials."""
    (folder / "long.toml").write_text(SUITE)
    return subprocess.Popen(
        [sys.executable, "-m", "benchharness", "run", "long.toml"],
        cwd=folder,
        env={**os.environ, "BENCHHARNESS_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts this in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_trials(records: Path, trials: int) -> None:
    """Return once so many trials have finished."""
    wait_for(lambda: records.exists() and records.read_text().count("\n") >= trials)
