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
    # In a session of its own: no group that we could end has it.
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    pathlib.Path(os.environ["CHILD_PID_FILE"]).write_text(str(child.pid))
    time.sleep(600)


def quit_early(training):
    print("last words of the worker", flush=True)
    os._exit(3)


def killed_once(training):
    marker = pathlib.Path(os.environ["CHILD_PID_FILE"])
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def allocation(training):
    print("terminate called after throwing an instance of 'std::bad_alloc'", flush=True)
    os.abort()


def poison(training):
    training.load_weights({name: float("nan") * a for name, a in training.weights().items()})


FAULTS = {
    "nan": poison,
    "allocation": allocation,
    "killed once": killed_once,
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
trials = 1
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
    process = start(workplace, fault, *options, settings=settings)
    output, errors = process.communicate(timeout=120)
    lines = (workplace / "results/faults/latest/records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return process.returncode, {r["backend"]: r for r in records}, output + errors


def environment(workplace: Path) -> dict[str, str]:
    """Return the variables under which the plugin and a cache of its own are found."""
    return {
        **os.environ,
        "PYTHONPATH": str(workplace / "plugin"),
        "BENCHHARNESS_CACHE": str(workplace / "cache"),
        "CHILD_PID_FILE": str(workplace / "child.pid"),
    }


def start(workplace: Path, fault: str, *options: str, settings: str = "") -> subprocess.Popen[str]:
    """Begin to run the suite, unproven: a prober would meet the fault first."""
    suite = workplace / "faults.toml"
    suite.write_text(SUITE.format(fault=fault, settings=settings))
    return subprocess.Popen(
        [sys.executable, "-m", "benchharness", "run", str(suite), "--no-proof", *options],
        cwd=workplace,
        env=environment(workplace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def certified(workplace: Path, fault: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Certify the suite."""
    suite = workplace / "faults.toml"
    suite.write_text(SUITE.format(fault=fault, settings=""))
    return subprocess.run(
        [sys.executable, "-m", "benchharness", "certify", suite.name, *options],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_killed_prober_is_told_with_the_command_that_repeats_the_proof(workplace: Path):
    """The command does what it promises: this one is killed once, then the pair is proven."""
    options = ("--backend", "faulty", "--backend", "numpy", "--device", "cpu")

    killed = certified(workplace, "killed once", *options)

    again = "benchharness certify faults.toml --backend faulty --backend numpy --device cpu"
    assert killed.returncode == 1
    assert "the worker was ended by SIGKILL" in " ".join(killed.stdout.split())
    assert f"to repeat what could not be compared: {again}; the rest is kept" in killed.stderr
    repeated = certified(workplace, "killed once", *options)
    assert repeated.returncode == 0, repeated.stdout
    assert "to repeat" not in repeated.stderr


def test_a_quiet_certificate_tells_no_remedy(workplace: Path):
    """Nothing but the table."""
    killed = certified(workplace, "kill", "--quiet")

    assert killed.returncode == 1
    assert killed.stderr == ""


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("bug", "failed", "ZeroDivisionError: planted bug"),
        ("exit", "failed", "exit code 3"),
        ("segfault", "failed", "SIGSEGV"),
        ("kill", "failed", "SIGKILL"),
        ("memory", "oom", "unable to allocate 11 GB"),
        ("allocation", "oom", "SIGABRT: memory ran out"),
    ],
)
def test_a_failing_worker_leaves_a_row_with_the_reason_and_the_rest_goes_on(
    workplace: Path, fault: str, status: str, reason: str
):
    """One backend's failure is a row; the other backend's trial is complete; exit code 1."""
    code, records, output = run(workplace, fault)

    assert code == 1
    # The first steps of all are those that compile.
    assert records["faulty"]["failure"]["phase"] == "compile"
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


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    [
        (["--timeout", "8"], "", "no sign of life for 8 s"),
        ([], "time_limit_s = 10", "still running after the 10 s that it was given"),
    ],
    ids=["silence", "limit"],
)
def test_a_hanging_trial_is_ended_with_all_its_children(
    workplace: Path, options: list[str], settings: str, reason: str
):
    """The worker and what it started are gone, wherever that went, and the run goes on."""
    code, records, _ = run(workplace, "hang", *options, settings=settings)

    assert code == 1
    assert records["faulty"]["status"] == "timeout"
    assert reason in records["faulty"]["reason"]
    assert records["numpy"]["status"] == "ok"
    assert _is_gone(int((workplace / "child.pid").read_text()))


def test_no_process_outlives_a_run_that_is_killed(workplace: Path):
    """SIGKILL of the run: its worker goes, and what the worker has started in a session apart."""
    process = start(workplace, "hang")
    child_file = workplace / "child.pid"
    deadline = time.monotonic() + 60
    while not child_file.exists() or not child_file.read_text():
        assert time.monotonic() < deadline, "no trial has begun to train within a minute"
        time.sleep(0.05)
    child = int(child_file.read_text())
    worker = int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])

    process.kill()
    process.wait()

    assert _is_gone(worker)
    assert _is_gone(child)


def test_a_trial_whose_process_was_killed_is_repeated_as_often_as_asked(workplace: Path):
    """The second attempt is the record; the first stands beside it, and its log is kept."""
    code, records, _ = run(workplace, "killed once", "--retries", "1")

    again = records["faulty"]
    assert code == 0
    assert again["status"] == "ok"
    assert [one["status"] for one in again["attempts"]] == ["failed"]
    assert "SIGKILL" in again["attempts"][0]["reason"]
    assert (workplace / f"results/faults/latest/logs/{again['id']}.1.log").exists()


def test_a_trial_that_fails_by_itself_is_not_repeated(workplace: Path):
    """A bug fails alike each time."""
    _, records, _ = run(workplace, "bug", "--retries", "3")

    assert records["faulty"]["attempts"] == []


def test_the_first_failure_ends_the_run_where_that_is_asked(workplace: Path):
    """--fail-fast: what comes after the failed trial does not run, and the tables are written."""
    code, records, output = run(workplace, "bug", "--fail-fast")

    assert code == 1
    assert list(records) == ["faulty"]
    assert "stopped at the first failure" in output
    assert (workplace / "results/faults/latest/trials.csv").exists()


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


def test_a_backend_that_is_not_installed_leaves_rows_that_say_so(workplace: Path):
    """Only its own cells fail; nobody is sent to install what somebody may have called so."""
    code, records, _ = run(workplace, "none", "--backend", "mxnet", "--backend", "numpy")

    assert code == 1
    assert records["mxnet"]["status"] == "failed"
    assert "backend mxnet: expected an installed plugin (" in records["mxnet"]["reason"]
    assert "pip install" not in records["mxnet"]["reason"]
    assert records["numpy"]["status"] == "ok"


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, or does so within five seconds."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False
