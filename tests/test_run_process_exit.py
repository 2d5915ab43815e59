"""Workers end at once, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchharness.measure.clock import now_s
from benchharness.run.process.executor import WorkerProcess
from benchharness.worker.request import WorkerRequest, worker_command

# Ends as the workers do; the interpreter's own shutdown would take longer than a test may.
PROGRAM = """
import ctypes, multiprocessing, os, sys, tempfile, threading, time
from pathlib import Path
from benchharness.worker.process import exit_process

class Slow:
    def __del__(self):
        time.sleep(100)

def fail():
    raise RuntimeError("a failing exit handler")

if __name__ == "__main__":
    import atexit
    kept, slow = tempfile.TemporaryDirectory(dir=Path(sys.argv[1])), Slow()
    Path(kept.name, "compiled").write_text("code")
    threading.Thread(target=time.sleep, args=(100,)).start()
    child = multiprocessing.get_context("spawn").Process(
        target=time.sleep, args=(100,), daemon=True
    )
    child.start()
    os.write(int(sys.argv[-1]), b'{"event": "child", "pid": %d}\\n' % child.pid)
    atexit.register(print, "exit handler")
    atexit.register(fail)
    ctypes.CDLL(None).printf(b"printed in C\\n")
    print("last line")
    exit_process(int(sys.argv[2]))
"""


def worker(tmp_path: Path, *, code: int) -> WorkerProcess:
    """Return a worker that has begun to end itself with an exit code."""
    program, scratch = tmp_path / "program.py", tmp_path / "scratch"
    program.write_text(PROGRAM)
    scratch.mkdir()
    return WorkerProcess(
        [sys.executable, str(program), str(scratch), str(code)],
        # With buffers, which have to be written out.
        environment={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        log=tmp_path / "log",
    )


@pytest.mark.parametrize("code", [0, 3])
def test_a_worker_ends_without_shutdown_of_its_interpreter(tmp_path, code):
    """Its folders and children are gone, its log is complete, its exit code is what it said."""
    events: list[dict] = []
    started = worker(tmp_path, code=code)

    while not isinstance(event := started.next_event(silence_s=50, limit_s=50), str):
        events.append(event)
    began_s = now_s()
    exit_code = started.process.wait(timeout=50)
    started.end(is_patient=True)

    assert (event, exit_code) == ("ended", code)
    assert now_s() - began_s < 20
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not psutil.pid_exists(events[0]["pid"])
    log = (tmp_path / "log").read_text()
    assert {"exit handler", "last line", "printed in C"} <= set(log.splitlines())
    assert "a failing exit handler" in log


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_the_end_of_a_worker_is_waited_for(tmp_path, monkeypatch, has_descriptors):
    """With the kernel's descriptor of the process, and where the system has none."""
    if not has_descriptors:
        monkeypatch.delattr(os, "pidfd_open")
    started = WorkerProcess(
        [sys.executable, "-c", "import time; time.sleep(0.5); print('done')"],
        environment=dict(os.environ),
        log=tmp_path / "log",
    )

    started.end(is_patient=True)

    assert started.process.returncode == 0
    assert (tmp_path / "log").read_text() == "done\n"


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_a_worker_that_does_not_end_is_killed(tmp_path, monkeypatch, has_descriptors):
    """After a second where it has sent no final event."""
    if not has_descriptors:
        monkeypatch.delattr(os, "pidfd_open")
    started = WorkerProcess(
        [sys.executable, "-c", "import time; time.sleep(100)"],
        environment=dict(os.environ),
        log=tmp_path / "log",
    )

    began_s = time.monotonic()
    started.end(is_patient=False)

    assert started.process.returncode == -9
    assert 1 <= time.monotonic() - began_s < 50


TALKATIVE = """
import os, sys, time
os.write(int(sys.argv[-1]), b'{"event": "phase", "phase": "a"}\\n{"event": "phase", ')
time.sleep(0.2)
os.write(int(sys.argv[-1]), b'"phase": "b"}\\n')
time.sleep(100)
"""


def test_events_come_one_by_one_until_the_worker_is_silent_or_late(tmp_path: Path):
    """An event whose line comes in two parts is whole; then nothing comes for half a second."""
    started = WorkerProcess(
        [sys.executable, "-c", TALKATIVE], environment=dict(os.environ), log=tmp_path / "log"
    )

    phases = [started.next_event(silence_s=50)["phase"] for _ in range(2)]
    stops = [started.next_event(silence_s=0.5), started.next_event(silence_s=50, limit_s=0.1)]
    started.end(is_patient=False)

    assert phases == ["a", "b"]
    assert stops == ["silent", "late"]


LATE = """
import os, sys, time
time.sleep(2)
os.write(int(sys.argv[-1]), b'{"event": "phase", "phase": "a"}\\n')
time.sleep(100)
"""


def test_a_run_that_was_stopped_for_a_while_takes_no_worker_for_silent(tmp_path, monkeypatch):
    """Its clock went on for a thousand seconds in which it could hear nothing: Ctrl-Z and fg."""
    started = WorkerProcess(
        [sys.executable, "-c", LATE], environment=dict(os.environ), log=tmp_path / "log"
    )
    began_s = now_s()

    def clock_s() -> float:
        return now_s() + (1000.0 if now_s() - began_s > 0.3 else 0.0)

    monkeypatch.setattr("benchharness.run.process.executor.now_s", clock_s)
    event = started.next_event(silence_s=100)
    stop = started.next_event(silence_s=0.5)
    started.end(is_patient=False)

    assert event == {"event": "phase", "phase": "a"}
    assert stop == "silent"


def test_a_request_is_read_as_it_was_written(tmp_path: Path):
    """Its cells, which are requests themselves, too."""
    cell = WorkerRequest(plugin="numpy", settings={"epochs": 2}, probe_file="probe.safetensors")
    request = WorkerRequest(job="probe", plugin="numpy", cells=(cell, cell), is_reference=True)

    request.write(tmp_path / "request.json")

    assert WorkerRequest.read(tmp_path / "request.json") == request


def test_without_descriptors_events_are_on_standard_output_and_all_else_on_standard_error(
    tmp_path: Path,
):
    """So a job is repeated by hand from its request; what else is printed is no event."""
    request = WorkerRequest(job="convert-weights", arguments={"backbone": "none", "out": ""})
    request.write(tmp_path / "request.json")

    done = subprocess.run(
        worker_command(tmp_path / "request.json"), capture_output=True, text=True, timeout=50
    )

    *_, finished = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0
    assert (finished["status"], finished["reason"]) == ("failed", "KeyError: 'none'")
    assert "Traceback" in done.stderr
