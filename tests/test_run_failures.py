"""What becomes of trials whose worker fails, seen from outside: real processes, really ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
    "killed_once": killed_once,
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
backends = {backends}

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended: its exit code, records by backend, and everything printed."""

    code: int
    records: dict[str, dict]
    output: str
    folder: Path


def make_workplace(folder: Path) -> Path:
    """Install a plugin whose training fails in the way its option says."""
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
    return make_workplace(tmp_path)


def run(workplace: Path, *faults: str, options: Sequence[str] = (), settings: str = "") -> Finished:
    """Run a backend for each fault, named after it, and the sound one."""
    process = start(workplace, *faults, options=options, settings=settings)
    output, errors = process.communicate(timeout=180)
    folder = workplace / "results/faults/latest"
    records = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    return Finished(
        code=process.returncode,
        records={record["backend"]: record for record in records},
        output=output + errors,
        folder=folder,
    )


def environment(workplace: Path) -> dict[str, str]:
    """Return the variables under which the plugin and a cache of its own are found."""
    return {
        **os.environ,
        "PYTHONPATH": str(workplace / "plugin"),
        "BENCHHARNESS_CACHE": str(workplace / "cache"),
        "CHILD_PID_FILE": str(workplace / "child.pid"),
    }


def write_suite(workplace: Path, *faults: str, settings: str = "") -> Path:
    """Write a suite of a backend for each fault, and the sound one."""
    known = [fault for fault in faults if fault != "mxnet"]
    tables = "".join(
        f'[backend.{fault}]\nplugin = "faulty"\noptions = {{ fault = "{fault}" }}\n\n'
        for fault in known
    )
    suite = workplace / "faults.toml"
    backends = json.dumps([*known, "numpy"])
    suite.write_text(SUITE.format(backends=backends, tables=tables, settings=settings))
    return suite


def start(
    workplace: Path, *faults: str, options: Sequence[str] = (), settings: str = ""
) -> subprocess.Popen[str]:
    """Begin to run the suite, unproven: a prober would meet the fault first."""
    suite = write_suite(workplace, *faults, settings=settings)
    chosen = [word for name in (*faults, "numpy") for word in ("--backend", name)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchharness", "run", str(suite), "--no-proof", *chosen, *options],
        cwd=workplace,
        env=environment(workplace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def certified(workplace: Path, fault: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Certify the suite."""
    suite = write_suite(workplace, fault)
    return subprocess.run(
        [sys.executable, "-m", "benchharness", "certify", suite.name, *options],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run in which every backend but the last fails, each in a way of its own."""
    return run(
        make_workplace(tmp_path_factory.mktemp("failed")),
        *("bug", "exit", "segfault", "kill", "memory", "allocation", "nan", "mxnet"),
        settings="epochs = 3",
    )


@pytest.fixture(scope="module")
def retried(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run with a retry, in which nothing fails in the end."""
    workplace = make_workplace(tmp_path_factory.mktemp("retried"))
    return run(workplace, "killed_once", "unsupported", options=["--retries", "1"])


def test_one_backends_failure_leaves_the_others_complete(failed: Finished):
    """The last backend's trial is complete; exit code 1, and no traceback on the screen."""
    assert failed.code == 1
    assert failed.records["numpy"]["status"] == "ok"
    assert "Traceback" not in failed.output


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
def test_a_failing_worker_leaves_a_row_with_the_reason(
    failed: Finished, fault: str, status: str, reason: str
):
    """The row says in which phase it failed, and why."""
    record = failed.records[fault]

    # The first steps of all are those that compile.
    assert record["failure"]["phase"] == "compile"
    assert record["status"] == status
    assert reason in record["reason"]


def test_a_bug_leaves_its_traceback_in_the_log_of_the_trial(failed: Finished):
    """The reason is one line; whoever wants more finds the traceback in the log."""
    log = failed.folder / failed.records["bug"]["log"]

    assert "in bug" in log.read_text()


def test_what_a_dead_worker_printed_last_is_part_of_the_reason(failed: Finished):
    """It is reported, not lost."""
    assert "last words of the worker" in failed.records["exit"]["reason"]


def test_a_loss_that_is_no_number_is_a_diverged_row_with_its_epoch(failed: Finished):
    """Training that blows up ends there, and says when."""
    assert failed.records["nan"]["status"] == "diverged"
    assert failed.records["nan"]["reason"].startswith("epoch 1: ")


def test_a_backend_that_is_not_installed_leaves_rows_that_say_so(failed: Finished):
    """Only its own cells fail; nobody is sent to install what somebody may have called so."""
    record = failed.records["mxnet"]

    assert record["status"] == "failed"
    assert "backend mxnet: expected an installed plugin (" in record["reason"]
    assert "pip install" not in record["reason"]


def test_a_trial_whose_process_was_killed_is_repeated_as_often_as_asked(retried: Finished):
    """The second attempt is the record; the first stands beside it, and its log is kept."""
    record = retried.records["killed_once"]

    assert retried.code == 0
    assert record["status"] == "ok"
    assert [attempt["status"] for attempt in record["attempts"]] == ["failed"]
    assert "SIGKILL" in record["attempts"][0]["reason"]
    assert (retried.folder / f"logs/{record['id']}.1.log").exists()


def test_a_setting_that_a_backend_cannot_honour_skips_its_cell(retried: Finished):
    """A skipped cell is no failure, and is never done in some other way in silence."""
    record = retried.records["unsupported"]

    assert retried.code == 0
    assert record["status"] == "skipped"
    assert record["reason"] == "precision: only on Sundays"


def test_a_trial_that_fails_by_itself_is_not_repeated_and_ends_the_run_where_asked(workplace: Path):
    """A bug fails alike each time; --fail-fast: nothing runs after it, and tables are written."""
    done = run(workplace, "bug", options=["--retries", "3", "--fail-fast"])

    assert done.code == 1
    assert list(done.records) == ["bug"]
    assert done.records["bug"]["attempts"] == []
    assert "stopped at the first failure" in done.output
    assert (done.folder / "trials.csv").exists()


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
    ("options", "settings", "reason"),
    [
        (["--timeout", "8"], "", "no progress for 8 s"),
        ([], "time_limit_s = 10", "exceeded time_limit_s = 10"),
    ],
    ids=["silence", "limit"],
)
def test_a_hanging_trial_is_ended_with_all_its_children(
    workplace: Path, options: list[str], settings: str, reason: str
):
    """The worker and what it started are gone, wherever that went, and the run goes on."""
    done = run(workplace, "hang", options=options, settings=settings)

    assert done.code == 1
    assert done.records["hang"]["status"] == "timeout"
    assert reason in done.records["hang"]["reason"]
    assert done.records["numpy"]["status"] == "ok"
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
