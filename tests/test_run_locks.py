"""A device and a run belong to one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchharness.errors import RunError
from benchharness.locks import LockedError
from benchharness.run.locks import RunLock, lock_file, lock_gpu

HOLD = """
import sys
from pathlib import Path
from benchharness.run.locks import RunLock
claim = RunLock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holder_of(file: Path) -> subprocess.Popen[str]:
    """Return another process that holds a file until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_what_another_process_holds_is_refused_with_its_name(tmp_path: Path):
    """The holder is told by its process id; when it is killed, the file is free."""
    file = tmp_path / "device.lock"
    with holder_of(file) as other:
        with pytest.raises(LockedError) as refusal:
            RunLock.acquire(file)
        other.kill()
        other.wait()
        claim = RunLock.acquire(file)

    assert refusal.value.holder.startswith(f"process {other.pid} ")
    claim.release()


def test_a_gpu_in_use_is_refused_with_three_ways_out(tmp_path: Path):
    """Waiting, another GPU, or sharing it."""
    with holder_of(lock_file("gpu-GPU-7", folder=tmp_path)) as other:
        with pytest.raises(RunError) as refusal:
            lock_gpu("GPU-7", "NVIDIA X (cuda:7)", folder=tmp_path)
        other.kill()

    assert f"(process {other.pid} (" in str(refusal.value)
    assert "--device" in str(refusal.value)
    assert "--share-device" in str(refusal.value)


def test_one_process_may_claim_the_same_thing_twice(tmp_path: Path):
    """It is free for others once it was released as often as claimed."""
    file = tmp_path / "device.lock"
    first, second = RunLock.acquire(file), RunLock.acquire(file)

    first.release()
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-c", HOLD, str(file)], check=True, capture_output=True, input=b""
        )
    second.release()

    with holder_of(file) as other:
        other.kill()


def test_a_lock_of_another_user_s_is_only_read(tmp_path: Path):
    """A file that cannot be written is held all the same."""
    file = tmp_path / "device.lock"
    file.write_text("1\n")
    file.chmod(0o444)

    claim = RunLock.acquire(file)

    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-c", HOLD, str(file)], check=True, capture_output=True, input=b""
        )
    claim.release()


def test_a_link_in_the_folder_of_everybody_is_not_followed(tmp_path: Path):
    """Nobody can make us write into a file of his choice."""
    target, file = tmp_path / "precious", tmp_path / "device.lock"
    target.write_text("precious")
    file.symlink_to(target)

    with pytest.raises(OSError, match="symbolic"):
        RunLock.acquire(file)

    assert target.read_text() == "precious"
