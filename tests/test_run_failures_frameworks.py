"""Real backends really ended in mid-epoch: a row with its reason, and the rest complete."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchharness.run.events import EpochEnded, Event, TrialStarted
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session, start_run

pytestmark = pytest.mark.full

SUITE = """
name = "victims"
trials = 1
backends = ["{backend}", "numpy"]

[dataset]
source = "drawn"

[[benchmark]]
name = "victim"
backends = ["{backend}"]
strategy = "simple_cnn"
image_size = {size}
train_images = 80
test_images = 8
filters = [{filters}]
dense = 16
batch_size = {batch}
epochs = {epochs}

[[benchmark]]
name = "rest"
strategy = "dataset"
image_size = 16
train_images = 80
test_images = 8
"""


def kill(worker: psutil.Process) -> None:
    """End it as the kernel does when memory runs out."""
    worker.send_signal(signal.SIGKILL)


def starve(worker: psutil.Process) -> None:
    """Let it have no more memory than it has, as ulimit does."""
    limit = worker.memory_info().vms
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, limit))


def freeze(worker: psutil.Process) -> None:
    """Let it hang."""
    worker.suspend()


@pytest.mark.parametrize("backend", ["keras", "torch"])
@pytest.mark.parametrize(
    ("harm", "statuses", "reason"),
    [
        (kill, {"failed"}, "SIGKILL"),
        (freeze, {"timeout"}, "no progress for 12 s"),
        # What a framework makes of it differs: an exception, an end by a signal, or waiting for
        # ever for a thread that could not be started.
        (starve, {"oom", "failed", "timeout"}, ""),
    ],
    ids=["kill", "hang", "memory"],
)
def test_a_backend_that_is_ended_in_mid_epoch_leaves_a_row_and_the_rest_goes_on(
    tmp_path: Path,
    backend: str,
    harm: Callable[[psutil.Process], None],
    statuses: set[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
):
    """After its second epoch the worker is killed, frozen or starved; the other backend's is ok."""
    pytest.importorskip({"keras": "tensorflow", "torch": "torch"}[backend])
    suite = tmp_path / "victims.toml"
    # Where memory is to run out, a step needs so much that its allocator asks the system for it.
    size, filters, batch, epochs = (128, 32, 64, 40) if harm is starve else (16, 8, 16, 400)
    suite.write_text(
        SUITE.format(backend=backend, size=size, filters=filters, batch=batch, epochs=epochs)
    )
    request = RunOptions(
        suite=suite, results=tmp_path / "results", proof="no", device="cpu", timeout_s=900
    )

    def allow_silence(seconds: float) -> None:
        object.__setattr__(runner.requests.executor, "silence_s", seconds)

    def watch(event: Event) -> None:
        # Importing a framework is silent too, for minutes on a busy machine.
        if isinstance(event, TrialStarted):
            allow_silence(900)
        if isinstance(event, EpochEnded) and event.epoch == 2 and event.name.benchmark == "victim":
            allow_silence(12 if harm is freeze else 60)
            harm(worker())

    session = open_session(request, cache=tmp_path / "cache")
    with start_run(session, watch) as runner:
        folder, records = runner.folder, runner.run(watch)

    found = {record["benchmark"]: record for record in records if record["backend"] == backend}
    with capsys.disabled():
        print(f"\n{backend}: {found['victim']['status']}: {found['victim']['reason']}")
    assert found["victim"]["status"] in statuses
    assert reason in found["victim"]["reason"]
    assert found["victim"]["failure"]["phase"] in ("train", "evaluate", "test")
    # What keeps the memory of its steps may meet the limit after its last epoch only.
    assert (found["victim"]["failure"]["epoch"] or epochs) >= 3
    assert len(found["victim"]["epochs"]) >= 2
    assert found["rest"]["status"] == "ok"
    assert len(records) == 3
    assert not [one for one in psutil.Process().children() if is_worker(one)]
    assert (folder.path / found["victim"]["log"]).exists()


def worker() -> psutil.Process:
    """Return the process that carries out a trial for us."""
    return next(one for one in psutil.Process().children() if is_worker(one))


def is_worker(process: psutil.Process) -> bool:
    """Whether a process carries out a trial."""
    return "benchharness.worker" in process.cmdline()
