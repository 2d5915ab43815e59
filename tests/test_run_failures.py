"""What becomes of trials whose worker fails, seen from outside: real processes, really ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAULTY = """
import ctypes, os, pathlib, signal, subprocess, sys, time
from benchharness.api import UnsupportedError, hookimpl
from benchharness.testing.reference import NumpyBackend


class Faulty(NumpyBackend):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def train(self, task):
        if self.fault == "unsupported":
            raise UnsupportedError("precision: only on Sundays")
        training = super().train(task)
        fault = FAULTS.get(self.fault)
        if fault:
            original = training.train
            def train(epochs, **callbacks):
                fault(training)
                return original(epochs, **callbacks)
            training.train = train
        return training


def bug(training):
    raise ZeroDivisionError("planted bug")


def memory(training):
    raise MemoryError("unable to allocate 11 GB")


def hang(training):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(os.environ["CHILD_PID_FILE"]).write_text(str(child.pid))
    time.sleep(600)


def quit_early(training):
    print("last words of the worker", flush=True)
    os._exit(3)


def poison(training):
    training.load_weights({name: float("nan") * a for name, a in training.weights().items()})


FAULTS = {
    "nan": poison,
    "bug": bug,
    "memory": memory,
    "hang": hang,
    "exit": quit_early,
    "segfault": lambda training: ctypes.string_at(0),
    "kill": lambda training: os.kill(os.getpid(), signal.SIGKILL),
}


@hookimpl
def benchharness_backend(options):
    return Faulty(options["fault"])
"""

SUITE = """
name = "faults"
backends = ["faulty", "numpy"]

[dataset]
source = "drawn"

[backend.faulty]
options = {{ fault = "{fault}" }}

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
filters = [2]
dense = 4
batch_size = 5
{settings}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with an installed plugin whose training fails in the way its option says."""
    plugin = tmp_path / "plugin"
    metadata = plugin / "benchharness_faulty-1.0.dist-info"
    metadata.mkdir(parents=True)
    (plugin / "faulty_backend.py").write_text(FAULTY)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: benchharness-faulty\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[benchharness]\nfaulty = faulty_backend\n")
    return tmp_path


def run(
    workplace: Path, fault: str, *options: str, settings: str = ""
) -> tuple[int, dict[str, dict], str]:
    """Run the suite; return exit code, records by backend, and everything printed."""
    suite = workplace / "faults.toml"
    suite.write_text(SUITE.format(fault=fault, settings=settings))
    done = subprocess.run(
        [sys.executable, "-m", "benchharness", "run", str(suite), *options],
        cwd=workplace,
        env={
            **os.environ,
            "PYTHONPATH": str(workplace / "plugin"),
            "BENCHHARNESS_CACHE": str(workplace / "cache"),
            "CHILD_PID_FILE": str(workplace / "child.pid"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = (workplace / "results/faults/latest/records.jsonl").read_text().splitlines()
    records = [json.loads(line.split(" ", 1)[1]) for line in lines]
    return done.returncode, {r["backend"]: r for r in records}, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("bug", "failed", "ZeroDivisionError: planted bug"),
        ("exit", "failed", "exit code 3"),
        ("segfault", "failed", "SIGSEGV"),
        ("kill", "failed", "SIGKILL"),
        ("memory", "oom", "unable to allocate 11 GB"),
    ],
)
def test_a_failing_worker_leaves_a_row_with_the_reason_and_the_rest_goes_on(
    workplace: Path, fault: str, status: str, reason: str
):
    """One backend's failure is a row; the other backend's trial is complete; exit code 1."""
    code, records, output = run(workplace, fault)

    assert code == 1
    assert records["faulty"]["status"] == status
    assert reason in records["faulty"]["reason"]
    assert records["numpy"]["status"] == "ok"
    assert "Traceback" not in output


def test_a_bug_leaves_its_traceback_in_the_log_of_the_trial(workplace: Path):
    """The reason is one line; whoever wants more finds the traceback in the log."""
    _, records, _ = run(workplace, "bug")

    log = workplace / "results/faults/latest" / records["faulty"]["log"]
    assert "in bug" in log.read_text()


def test_last_words_of_a_dead_worker_are_part_of_the_reason(workplace: Path):
    """What a worker printed before it died is told, not lost."""
    _, records, _ = run(workplace, "exit")

    assert "last words of the worker" in records["faulty"]["reason"]


def test_a_hanging_trial_is_ended_with_all_its_children(workplace: Path):
    """After the time limit the worker and what it started are gone, and the run goes on."""
    code, records, _ = run(workplace, "hang", "--timeout", "8")

    child = int((workplace / "child.pid").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or _is_zombie(child):
            break
        time.sleep(0.1)
    assert code == 1
    assert records["faulty"]["status"] == "timeout"
    assert records["numpy"]["status"] == "ok"
    assert not Path(f"/proc/{child}").exists() or _is_zombie(child)


def test_a_setting_that_a_backend_cannot_honour_skips_its_cell(workplace: Path):
    """A skipped cell is no failure, and is never done in some other way in silence."""
    code, records, _ = run(workplace, "unsupported")

    assert code == 0
    assert records["faulty"]["status"] == "skipped"
    assert records["faulty"]["reason"] == "precision: only on Sundays"


def test_a_loss_that_is_no_number_is_a_diverged_row_with_its_epoch(workplace: Path):
    """Training that blows up ends there, and says when."""
    code, records, _ = run(workplace, "nan", settings="epochs = 3")

    assert code == 1
    assert records["faulty"]["status"] == "diverged"
    assert records["faulty"]["reason"].startswith("epoch 1: ")
    assert records["numpy"]["status"] == "ok"


def test_a_backend_that_is_not_installed_leaves_rows_with_the_install_command(workplace: Path):
    """Only its own cells fail; the message says how to mend it."""
    code, records, _ = run(workplace, "none", "--backend", "mxnet", "--backend", "numpy")

    assert code == 1
    assert records["mxnet"]["status"] == "failed"
    assert "pip install benchharness-mxnet" in records["mxnet"]["reason"]
    assert records["numpy"]["status"] == "ok"


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
