"""What is left when the user interrupts a run: finished trials, and no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    (tmp_path / "long.toml").write_text(SUITE)
    run = subprocess.Popen(
        [sys.executable, "-m", "benchharness", "run", "long.toml"],
        cwd=tmp_path,
        env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts this in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    records = tmp_path / "results/long/latest/records.jsonl"
    deadline = time.monotonic() + 60
    while not records.exists() or records.read_text().count("\n") < 2:
        assert time.monotonic() < deadline, "no trial has finished within a minute"
        time.sleep(0.05)

    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=30)

    finished = [json.loads(line.split(" ", 1)[1]) for line in records.read_text().splitlines()]
    rows = (records.parent / "trials.csv").read_text().splitlines()
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert {record["status"] for record in finished} == {"ok"}
    assert len(rows) == 1 + len(finished) >= 3
    assert _workers(tmp_path) == []


def _workers(folder: Path) -> list[str]:
    """Return the command lines of workers whose request lies below a folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "benchharness.run.worker" in line and str((process.parent / "cwd").readlink()) == str(
            folder
        ):
            lines.append(line)
    return lines
