"""GPUs that exist and may be used, by a fake driver, program and environment."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nvml import FakeNvml

from benchharness.errors import SuiteError
from benchharness.measure import gpu
from benchharness.measure.gpu import find_accelerators, read_gpus, unread_gpus
from benchharness.run.device import choose_device

GB = 10**9


WHOLE = ["GPU-a0", "GPU-b1", "GPU-c2"]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose handles are UUIDs.

    The second GPU is split into two MIG instances of the three that are possible.
    """
    nvml = FakeNvml(
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=WHOLE.__getitem__,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetIndex=WHOLE.index,
        nvmlDeviceGetUUID=lambda handle: handle,
        nvmlDeviceGetName=lambda handle: f"name of {handle}",
        nvmlSystemGetDriverVersion=lambda: "580.1",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(
            total=(10 if handle.startswith("MIG") else 80) * GB, free=8 * GB, used=0
        ),
        nvmlDeviceGetMigMode=lambda handle: [int(handle == "GPU-b1")] * 2,
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 3,
        nvmlDeviceGetMigDeviceHandleByIndex=lambda _, index: ["MIG-x", "MIG-y"][index],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-a0", "MIG-x", "MIG-y", "GPU-c2"]),
        ("2,0", ["GPU-c2", "GPU-a0"]),
        ("1", ["MIG-x"]),
        ("GPU-c", ["GPU-c2"]),
        ("MIG-y", ["MIG-y"]),
        ("0,7,2", ["GPU-a0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
@pytest.mark.usefixtures("driver")
def test_the_gpus_are_those_that_the_user_or_a_scheduler_leaves(
    visible: str | None, expected: list[str]
):
    """In the order stated, up to the first that there is not, as CUDA reads the variable."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = find_accelerators(environment)

    assert [one.uuid for one in found] == expected
    assert [one.index for one in found] == list(range(len(expected)))


@pytest.mark.usefixtures("driver")
def test_a_mig_instance_has_the_memory_of_its_slice():
    """Not that of the GPU around it."""
    whole, slice_, *_ = find_accelerators({})

    assert (whole.memory_bytes, slice_.memory_bytes) == (80 * GB, 10 * GB)
    assert [state.free_bytes for state in read_gpus([slice_])] == [8 * GB]


@pytest.mark.usefixtures("driver")
def test_a_worker_sees_the_chosen_gpu_alone_by_what_the_driver_calls_it():
    """``cuda:1`` of a job that was given GPUs 2 and 0 is the driver's GPU 0."""
    job = {"CUDA_VISIBLE_DEVICES": "2,0", "HOME": "/root"}
    device = choose_device("cuda:1", find_accelerators(job))

    assert device.environment(job) == {
        "CUDA_VISIBLE_DEVICES": "GPU-a0",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HOME": "/root",
        "PYTHONUNBUFFERED": "1",
    }
    assert device.name == "name of GPU-a0 (cuda:1)"


@pytest.mark.usefixtures("driver")
def test_a_worker_on_the_cpu_sees_no_gpu():
    """Whatever the job was given."""
    device = choose_device("cpu", find_accelerators({}))

    assert device.environment({"CUDA_VISIBLE_DEVICES": "2"})["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_the_job_was_not_given_cannot_be_asked_for():
    """The error names those that there are."""
    for wanted in ("cuda:2", "cuda:", "cuda:x"):
        with pytest.raises(SuiteError, match=f'one of auto, cpu, cuda:0, found "{wanted}"'):
            choose_device(wanted, find_accelerators({"CUDA_VISIBLE_DEVICES": "2"}))


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put an nvidia-smi where it is found, and hide NVML."""
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_without_nvml_the_drivers_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its memory is in MiB."""
    line = "1, GPU-b1, NVIDIA H100, 81559, 580.1"
    program(tmp_path, monkeypatch, f'test "$1" = "--query-gpu={QUERY}" && echo "{line}"')
    (found,) = find_accelerators({"CUDA_VISIBLE_DEVICES": "1"})

    assert (found.index, found.name, found.uuid) == (0, "NVIDIA H100", "GPU-b1")
    assert found.memory_bytes == 81559 * 2**20


QUERY = "index,uuid,name,memory.total,driver_version"


@pytest.mark.parametrize("trouble", ["exit 9", "hangs"])
def test_a_gpu_that_nothing_can_read_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
):
    """The driver's program fails or takes too long; the device file says that there is a GPU."""
    program(tmp_path, monkeypatch, trouble)
    if trouble == "hangs":

        def run(command, **options):
            raise subprocess.TimeoutExpired(command, options["timeout"])

        monkeypatch.setattr(subprocess, "run", run)
    assert find_accelerators({}) == ()
    assert unread_gpus({}, devices=tmp_path) == ""

    (tmp_path / "nvidia0").touch()
    assert "so the CPU is used; install nvidia-ml-py" in unread_gpus({}, devices=tmp_path)
    assert unread_gpus({"CUDA_VISIBLE_DEVICES": ""}, devices=tmp_path) == ""


def test_every_call_exists_in_nvidias_library():
    """And what a test asks of a made one is a call that is asked of the real one."""
    pynvml = pytest.importorskip("pynvml")
    called = set(re.findall(r"nvml\.(nvml\w+)", inspect.getsource(gpu)))

    assert len(called) > 15
    assert all(hasattr(pynvml, name) for name in called)
    assert FakeNvml()._answers.keys() <= called
    assert issubclass(pynvml.NVMLError, Exception)
    assert pynvml.NVML_CLOCK_SM == FakeNvml.NVML_CLOCK_SM
