"""Machines as the doctor sees them: limits of control groups, the state of GPUs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from nvml import FakeNvml

from benchharness.measure.gpu import Accelerator, read_gpus
from benchharness.measure.machine import (
    CgroupLimits,
    is_contained,
    read_cgroup_limits,
    read_energy,
    read_machine,
    read_memory,
)

GPU = Accelerator(index=1, name="H100", memory_bytes=80_000_000_000, driver="570.1")


def group(folder: Path, **files: str) -> None:
    """Write the files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def membership(tmp_path: Path, *lines: str) -> Path:
    """Write which groups this process is in."""
    file = tmp_path / "membership"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_the_second_version_limits_memory_and_processor_time(tmp_path: Path):
    """8 GB, 3 of them held, half a gigabyte of that droppable; one and a half cores."""
    root = tmp_path / "cgroup"
    group(
        root / "job",
        memory__max="8000000000",
        memory__current="3000000000",
        memory__stat="anon 1\ninactive_file 500000000",
        cpu__max="150000 100000",
    )

    assert read_cgroup_limits(root, membership(tmp_path, "0::/job")) == CgroupLimits(
        memory_bytes=8_000_000_000, free_bytes=5_500_000_000, cores=1.5
    )


def test_the_tightest_of_the_groups_above_decides(tmp_path: Path):
    """A job of a user of 4 GB has no more than 4, whatever its own limit says."""
    root = tmp_path / "cgroup"
    group(root / "user", memory__max="4000000000", memory__current="1000000000")
    group(root / "user" / "job", memory__max="8000000000", cpu__max="max 100000")

    found = read_cgroup_limits(root, membership(tmp_path, "0::/user/job"))

    assert (found.memory_bytes, found.free_bytes) == (4_000_000_000, 3_000_000_000)
    assert found.cores is None


def test_the_first_version_has_a_tree_for_each_controller(tmp_path: Path):
    """Its words for no limit are a very large number and -1."""
    root = tmp_path / "cgroup"
    group(
        root / "memory" / "job",
        memory__limit_in_bytes="2000000000",
        memory__usage_in_bytes="600000000",
        memory__stat="total_inactive_file 100000000",
    )
    group(root / "memory", memory__limit_in_bytes="9223372036854771712")
    group(root / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")

    found = read_cgroup_limits(root, membership(tmp_path, "4:memory:/job", "1:cpu:/"))

    assert found == CgroupLimits(memory_bytes=2_000_000_000, free_bytes=1_500_000_000, cores=None)


def test_a_path_that_is_the_hosts_falls_back_to_the_containers_root(tmp_path: Path):
    """Inside a container, the container's limits stand at the root of what it sees."""
    root = tmp_path / "cgroup"
    group(root, memory__max="1000000000", memory__current="0")

    found = read_cgroup_limits(root, membership(tmp_path, "0::/somewhere/on/the/host"))

    assert found.memory_bytes == 1_000_000_000


def test_without_control_groups_there_is_no_limit(tmp_path: Path):
    """As on systems that have none."""
    assert read_cgroup_limits(tmp_path, tmp_path / "nothing") == CgroupLimits()


def test_memory_is_what_the_group_leaves_of_it():
    """Neither more than the machine has, nor more than the group allows."""
    total, free = read_memory(CgroupLimits())

    assert read_memory(CgroupLimits(memory_bytes=10**9, free_bytes=10**6)) == (10**9, 10**6)
    assert read_memory(CgroupLimits(memory_bytes=2**62, free_bytes=2**62))[0] == total
    assert 0 < free < total


def test_energy_is_readable_locked_or_not_counted(tmp_path: Path):
    """The remedy differs."""
    package = tmp_path / "intel-rapl:0"
    assert read_energy(tmp_path) == ""

    package.mkdir()
    assert read_energy(tmp_path) == "locked"
    (package / "name").write_text("package-0\n")
    for name in ("energy_uj", "max_energy_range_uj"):
        (package / name).write_text("5")
    assert read_energy(tmp_path) == "rapl"


@pytest.mark.parametrize(
    ("environment", "groups", "expected"),
    [
        ({}, "0::/user.slice", False),
        ({"container": "podman"}, "", True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "", True),
        ({}, "5:memory:/docker/3f2a", True),
    ],
)
def test_a_container_is_known_by_what_it_leaves(
    tmp_path: Path, environment: dict[str, str], groups: str, expected: bool
):
    """By variables, by files, by the names of groups."""
    file = membership(tmp_path, groups)

    assert is_contained(environment, marks=(), membership=file) is expected
    assert is_contained(environment, marks=(tmp_path,), membership=file)


def test_this_machine_can_be_read():
    """Everything that an estimate needs is there."""
    machine = read_machine({})

    assert machine.cpu and machine.python and machine.cores >= 1
    assert 0 < machine.free_bytes <= machine.memory_bytes


def test_a_gpu_tells_its_memory_its_cuda_and_who_else_is_there(monkeypatch):
    """Everything that NVML is asked for."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    (state,) = read_gpus([GPU])

    assert (state.free_bytes, state.cuda, state.mode) == (
        70_000_000_000,
        "12.8",
        "exclusive process",
    )
    assert state.has_energy
    assert [(process.pid, process.name) for process in state.processes] == [(7, "python")]


def test_what_a_driver_does_not_tell_stays_empty(monkeypatch):
    """An older card, or a container around us, refuses some questions."""
    refused = ("nvmlDeviceGetComputeMode", "nvmlDeviceGetMemoryInfo")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*refused))
    (state,) = read_gpus([GPU])

    assert (state.mode, state.free_bytes) == ("", None)
    assert state.cuda == "12.8"


def test_a_gpu_that_nvml_does_not_open_is_listed_all_the_same(monkeypatch):
    """As a lost device is."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml("nvmlDeviceGetHandleByIndex"))
    (state,) = read_gpus([GPU])

    assert state.accelerator == GPU and state.processes == ()
