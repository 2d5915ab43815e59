"""Reasons of a worker's death, and the state of the machine after it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchharness.measure.gpu import wait_until_released
from benchharness.measure.machine import oom_kill_count
from benchharness.run.process.exit import Outcome, diagnose_exit, log_tail
from benchharness.worker.process import is_oom, mentions_oom

GIB = 2**30


def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_any_other():
    """SIGKILL is out of memory where the kernel has counted such a kill meanwhile, else not."""
    status, reason = diagnose_exit(-signal.SIGKILL, (), oom_kills=1)

    assert status == "oom"
    assert "the host's memory ran out" in reason
    assert diagnose_exit(-signal.SIGKILL, ("almost", "done"), oom_kills=0) == (
        "failed",
        "the worker was ended by SIGKILL; it printed last: almost / done; "
        "killed by a user or a resource limit; fix that and retry",
    )


def test_a_real_time_signal_has_a_number_for_a_name():
    """Python knows no name for it, and the run goes on."""
    assert "the worker was ended by signal 40;" in diagnose_exit(-40, (), oom_kills=0)[1]


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 411041792 bytes",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes",
        "OOM when allocating tensor with shape[64,150,150,3]",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "Unable to allocate 11.2 GiB for an array with shape (3000000000,)",
        "OSError: [Errno 12] Cannot allocate memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "failed to create context: CUDA_ERROR_OUT_OF_MEMORY",
        "HIP error: hipErrorOutOfMemory",
        "cudaErrorMemoryAllocation",
    ],
)
def test_memory_that_runs_out_is_known_by_what_each_allocator_says(text: str):
    """Frameworks, C++, NumPy and the system each have words of their own."""
    assert mentions_oom(text)
    assert is_oom(RuntimeError(text))


def test_a_wrapped_lack_of_memory_is_one():
    """An error that was caused by it counts, an ordinary one does not."""
    wrapped = ValueError("the layer could not be built")
    wrapped.__cause__ = MemoryError()

    assert is_oom(wrapped)
    assert not is_oom(ValueError("expected 3 channels"))


def test_the_log_tail_is_the_last_lines_that_are_not_blank(tmp_path: Path):
    """Of a log of any size, and none where there is no log."""
    log = tmp_path / "trial.log"
    log.write_text("noise\n" * 100_000 + "one\n\ntwo\n  three  \n\n")

    assert log_tail(log) == ("one", "two", "three")
    assert log_tail(tmp_path / "none.log") == ()


def test_kills_are_counted_in_our_own_groups_before_the_whole_system(tmp_path: Path):
    """A stranger's kill on the same machine is none of ours."""
    membership, system = tmp_path / "cgroup", tmp_path / "vmstat"
    group = tmp_path / "fs/slice"
    group.mkdir(parents=True)
    membership.write_text("0::/slice\n")
    system.write_text("pgfault 12\noom_kill 7\n")

    alone = oom_kill_count(tmp_path / "fs", membership, system)
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")

    assert alone == 7
    assert oom_kill_count(tmp_path / "fs", membership, system) == 2
    assert oom_kill_count(tmp_path / "fs", tmp_path / "absent", tmp_path / "absent") == 0


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        """Return the time."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


def test_device_memory_is_seen_to_be_free_before_anything_else_runs():
    """The driver takes three readings to give it back; the fourth is as before."""
    clock, readings = Clock(), iter([5 * GIB, 5 * GIB, 3 * GIB, GIB])

    held = wait_until_released(GIB, lambda: next(readings), now=clock.now, sleep=clock.sleep)

    assert held == 0
    assert next(readings, None) is None


def test_device_memory_that_stays_in_use_is_told_and_not_waited_for_forever():
    """After half a minute the run goes on, and the record says how much is held."""
    clock = Clock()

    held = wait_until_released(GIB, lambda: 3 * GIB, now=clock.now, sleep=clock.sleep)

    assert held == 2 * GIB
    assert 30 <= clock.seconds < 31


def test_where_no_gpu_tells_nothing_is_waited_for():
    """A machine without a GPU loses no time."""
    assert wait_until_released(None, lambda: None, sleep=lambda seconds: pytest.fail("slept")) == 0


def test_a_failure_is_placed_in_its_phase_and_epoch():
    """The epoch is the one that was going on; before and after training there is none."""
    outcome = Outcome(log_tail=("ouch",))
    outcome.add({"event": "phase", "phase": "train"})
    outcome.add({"event": "epoch", "epoch": 1, "blocks": []})

    assert outcome.failure(epochs=3) == {"phase": "train", "epoch": 2, "log_tail": ["ouch"]}
    outcome.add({"event": "phase", "phase": "save"})
    assert outcome.failure(epochs=3) == {"phase": "save", "epoch": None, "log_tail": ["ouch"]}
    outcome.status = "ok"
    assert outcome.failure(epochs=3) is None
