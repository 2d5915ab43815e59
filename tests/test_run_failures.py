"""Trials whose worker fails, seen from outside: real processes, really ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FAULTY = """
import atexit, ctypes, os, pathlib, signal, subprocess, sys, time
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


def leave(training):
    # The interpreter's own shutdown takes longer than a worker without a last event is given.
    atexit.register(time.sleep, 3)
    sys.exit(3)


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
    "killed_once": killed_once,
    "bug": bug,
    "memory": memory,
    "hang": hang,
    "exit": quit_early,
    "leave": leave,
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
backends = [{names}]

[dataset]
source = "drawn"

{tables}

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
FAILURES = ("bug", "exit", "leave", "segfault", "kill", "memory", "allocation", "nan")


def install(folder: Path) -> Path:
    """Install a plugin in a folder whose training fails in the way its option says."""
    plugin = folder / "plugin"
    metadata = plugin / "benchharness_faulty-1.0.dist-info"
    metadata.mkdir(parents=True)
    (plugin / "faulty_backend.py").write_text(FAULTY)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: benchharness-faulty\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[benchharness]\nfaulty = faulty_backend\n")
    return folder


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the faulty plugin."""
    return install(tmp_path)


@pytest.fixture(scope="module")
def failures(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[int, dict[str, dict], str, Path]:
    """One run of backends that each fail in their own way, beside one that does not."""
    folder = install(tmp_path_factory.mktemp("failures"))
    settings = "epochs = 3"
    found = run(folder, *FAILURES, others=("mxnet",), options=["--retries", "1"], settings=settings)
    return *found, folder


def run(
    workplace: Path,
    *faults: str,
    options: Sequence[str] = (),
    settings: str = "",
    others: Sequence[str] = (),
) -> tuple[int, dict[str, dict], str]:
    """Run the suite; return exit code, records by backend, and everything printed."""
    process = start(workplace, *faults, options=options, settings=settings, others=others)
    output, errors = process.communicate(timeout=1800)
    lines = (workplace / "results/faults/latest/records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return process.returncode, {r["backend"]: r for r in records}, output + errors


def environment(workplace: Path) -> dict[str, str]:
    """Return the variables under which the plugin and a separate cache are found."""
    return {
        **os.environ,
        "PYTHONPATH": str(workplace / "plugin"),
        "BENCHHARNESS_CACHE": str(workplace / "cache"),
        "CHILD_PID_FILE": str(workplace / "child.pid"),
    }


def write_suite(workplace: Path, *names: str, faults: Sequence[str], settings: str = "") -> Path:
    """Write a suite of these backends, those with a fault named after it."""
    tables = "\n".join(
        f'[backend.{fault}]\nplugin = "faulty"\noptions = {{ fault = "{fault}" }}'
        for fault in faults
    )
    text = SUITE.format(names=json.dumps(names).strip("[]"), tables=tables, settings=settings)
    (workplace / "faults.toml").write_text(text)
    return workplace / "faults.toml"


def start(
    workplace: Path,
    *faults: str,
    options: Sequence[str] = (),
    settings: str = "",
    others: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Start a run with a backend for each fault; unproven, for a probe would meet the fault first.

    Args:
        others: Backends beside these and ``numpy``.
    """
    suite = write_suite(workplace, *faults, *others, "numpy", faults=faults, settings=settings)
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
    suite = write_suite(workplace, fault, "numpy", faults=[fault])
    return subprocess.run(
        [sys.executable, "-m", "benchharness", "certify", suite.name, *options],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_killed_prober_is_told_with_the_command_that_repeats_the_proof(workplace: Path):
    """The command does what it promises: this one is killed once, then the pair is proven."""
    options = ("--backend", "killed_once", "--backend", "numpy", "--device", "cpu")

    killed = certified(workplace, "killed_once", *options)

    again = "benchharness certify faults.toml --backend killed_once --backend numpy --device cpu"
    assert killed.returncode == 1
    assert "the worker was ended by SIGKILL" in " ".join(killed.stdout.split())
    assert f"to repeat what could not be compared: {again}; the rest is kept" in killed.stderr
    repeated = certified(workplace, "killed_once", *options)
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
        ("leave", "failed", "exit code 3"),
        ("exit", "failed", "last words of the worker"),
        ("segfault", "failed", "SIGSEGV"),
        ("kill", "failed", "SIGKILL"),
        ("memory", "oom", "unable to allocate 11 GB"),
        ("allocation", "oom", "SIGABRT: memory ran out"),
        ("nan", "diverged", "epoch 1: "),
        ("mxnet", "failed", "backend mxnet: expected an installed plugin ("),
    ],
)
def test_a_failing_worker_leaves_a_row_with_the_reason_and_the_rest_goes_on(
    failures: tuple[int, dict[str, dict], str, Path], fault: str, status: str, reason: str
):
    """One backend's failure is a row; the other backends' trials are complete; exit code 1."""
    code, records, output, _ = failures

    assert code == 1
    if fault not in ("nan", "mxnet"):
        # The first steps of all are those that compile.
        assert records[fault]["failure"]["phase"] == "compile"
    assert records[fault]["status"] == status
    assert reason in records[fault]["reason"]
    # Nobody is sent to install what somebody may have called so.
    assert "pip install" not in records[fault]["reason"]
    assert records["numpy"]["status"] == "ok"
    assert "Traceback" not in output


def test_a_bug_leaves_its_traceback_in_the_log_and_is_not_repeated(failures):
    """The reason is one line, more is in the log; a bug would fail again, a killed process not."""
    _, records, _, folder = failures

    log = folder / "results/faults/latest" / records["bug"]["log"]
    assert "in bug" in log.read_text()
    assert records["bug"]["attempts"] == []
    assert len(records["kill"]["attempts"]) == 1


# The limit is for the trial that hangs alone; the other backend has a benchmark of its own.
LIMITED = """time_limit_s = 30
backends = ["hang"]

[[benchmark]]
name = "rest"
strategy = "dataset"
backends = ["numpy"]
image_size = 16
train_images = 12
test_images = 4
batch_size = 5
"""


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    [
        (["--timeout", "20"], "", "no progress for 20 s"),
        ([], LIMITED, "exceeded time_limit_s = 30"),
    ],
    ids=["silence", "limit"],
)
def test_a_hanging_trial_is_ended_with_all_its_children(
    workplace: Path, options: list[str], settings: str, reason: str
):
    """The worker and what it started are gone, wherever that went, and the run goes on."""
    code, records, _ = run(workplace, "hang", options=options, settings=settings)

    assert code == 1
    assert records["hang"]["status"] == "timeout"
    assert reason in records["hang"]["reason"]
    assert records["numpy"]["status"] == "ok"
    assert _is_gone(int((workplace / "child.pid").read_text()))


def test_no_process_outlives_a_run_that_is_killed(workplace: Path):
    """SIGKILL of the run: its worker goes, and what the worker has started in a session apart."""
    process = start(workplace, "hang")
    child_file = workplace / "child.pid"
    deadline = time.monotonic() + 300
    while not child_file.exists() or not child_file.read_text():
        assert time.monotonic() < deadline, "no trial has begun to train within five minutes"
        time.sleep(0.05)
    child = int(child_file.read_text())
    worker = int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])

    process.kill()
    process.wait()

    assert _is_gone(worker)
    assert _is_gone(child)


def test_a_killed_trial_is_repeated_and_a_setting_not_supported_is_skipped(workplace: Path):
    """Neither fails the run. The second attempt is the record; the first one's log is kept."""
    code, records, _ = run(workplace, "killed_once", "unsupported", options=["--retries", "1"])

    again = records["killed_once"]
    assert code == 0
    assert again["status"] == "ok"
    assert [attempt["status"] for attempt in again["attempts"]] == ["failed"]
    assert "SIGKILL" in again["attempts"][0]["reason"]
    assert (workplace / f"results/faults/latest/logs/{again['id']}.1.log").exists()
    assert records["unsupported"]["status"] == "skipped"
    assert records["unsupported"]["reason"] == "precision: only on Sundays"


def test_the_first_failure_ends_the_run_where_that_is_asked(workplace: Path):
    """--fail-fast: what comes after the failed trial does not run, and the tables are written."""
    code, records, output = run(workplace, "bug", options=["--fail-fast"])

    assert code == 1
    assert list(records) == ["bug"]
    assert "stopped at the first failure" in output
    assert (workplace / "results/faults/latest/trials.csv").exists()


def _is_gone(pid: int) -> bool:
    """Return True once a process has ended, False if it still runs after a minute."""
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False
