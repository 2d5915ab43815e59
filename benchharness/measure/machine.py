"""The machine: processor, memory, control groups, load, and what identifies it."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

from benchharness.measure.clock import affinity
from benchharness.measure.energy_meter import POWERCAP, find_rapl
from benchharness.measure.gpu import (
    Accelerator,
    GpuState,
    find_accelerators,
    read_gpus,
    unread_gpus,
)

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_SYSTEM_COUNTS = Path("/proc/vmstat")
_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINERS = ("docker", "kubepods", "libpod", "containerd", "lxc")
_LOAD_INTERVAL_S = 0.5

# Variables of the frameworks, of the libraries that compute for them, of the C library and its
# linker.
_PREFIXES = (
    *("TF_", "XLA_", "JAX_", "TORCH_", "PYTORCH_", "KERAS_"),
    *("CUDA_", "CUBLAS_", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_", "DNNL_", "OMP_", "MKL_", "KMP_", "OPENBLAS_"),
    *("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"),
)
# The device is recorded by a name that holds on any machine. Terraform's variables begin as
# TensorFlow's do.
_NOT_RECORDED = re.compile(
    r"^CUDA_VISIBLE_DEVICES$|^TF_(VAR|TOKEN|HTTP|CLI)_|TOKEN|SECRET|PASSWORD|CREDENTIAL"
)

# Variables that name this host and its kind of machine, where the system's names do not.
HOST, KIND = "BENCHHARNESS_HOST", "BENCHHARNESS_MACHINE"

EnergyAccess = Literal["rapl", "locked", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Resources of a machine that this process may use.

    Attributes:
        quota: Processor seconds per second that a control group allows; None for no limit.
        load: How many of these cores other processes use; None if unknown.
        gpu_trouble: Why existing GPUs go unused; empty for none.
        energy: ``rapl`` where the processor's energy can be read, ``locked`` where only root may
            read it, else empty.
    """

    cpu: str
    cores: int
    quota: float | None = None
    load: float | None = None
    memory_bytes: int
    free_bytes: int
    gpus: tuple[GpuState, ...] = ()
    gpu_trouble: str = ""
    energy: EnergyAccess = ""
    is_contained: bool = False
    python: str = ""
    system: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether others leave less than half of the cores."""
        return self.load is not None and self.load > self.cores / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Tightest limits of the control groups that a process is in; None for no limit.

    Files that the kernel can drop count as free; ``cores`` are processor seconds per second.
    """

    memory_bytes: int | None = None
    free_bytes: int | None = None
    cores: float | None = None


def read_machine(environment: Mapping[str, str] = os.environ) -> Machine:
    """Return the current state of this machine; imports no framework."""
    limits = read_cgroup_limits()
    memory_bytes, free_bytes = read_memory(limits)
    # Not the system's load average: that of the last minute is high long after others have left.
    busy = psutil.cpu_percent(interval=_LOAD_INTERVAL_S, percpu=True)
    shares = [busy[core] for core in affinity() if core < len(busy)]
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        quota=limits.cores,
        load=sum(shares) / 100 if shares else None,
        memory_bytes=memory_bytes,
        free_bytes=free_bytes,
        gpus=read_gpus(find_accelerators(environment)),
        gpu_trouble=unread_gpus(environment),
        energy=read_energy(),
        is_contained=is_contained(environment),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
    )


def describe_environment(
    accelerators: Sequence[Accelerator], *, packages: Sequence[str]
) -> dict[str, object]:
    """Return the machine and the versions of those distributions that are installed, JSON-able."""
    versions: dict[str, str] = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": list(os.getloadavg()),
        "accelerators": [asdict(accelerator) for accelerator in accelerators],
        "packages": versions,
    }


def fingerprint() -> dict[str, Any]:
    """Return what decides how fast a machine is and does not change by itself, JSON-able.

    Versions are left out, for a comparison may be about them; so are load, free memory and the
    name of a rented host, which differ at each reading.
    """
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "quota": read_cgroup_limits().cores,
        "accelerators": [accelerator.name for accelerator in find_accelerators({})],
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def machine_label(fingerprint: Mapping[str, Any]) -> str:
    """Return a fingerprint on one line; two lines are equal where the fingerprints are."""
    cpu, cores, quota = (fingerprint[key] for key in ("cpu", "cores", "quota"))
    limit = "" if quota is None else f" (quota {quota:g})"
    parts = [f"{cpu}, {cores} cores{limit}", *fingerprint["accelerators"]]
    return f"{', '.join(parts)}, {fingerprint['system']} {fingerprint['architecture']}"


def machine_kind(environment: Mapping[str, str]) -> str:
    """Return which kind of machine this is: ``BENCHHARNESS_MACHINE``, else its label.

    Times are compared within a kind.
    """
    return environment.get(KIND) or machine_label(fingerprint())


def host_name(environment: Mapping[str, str]) -> str:
    """Return the name of this host: ``BENCHHARNESS_HOST``, else the system's."""
    return environment.get(HOST) or platform.node()


def recorded_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change arithmetic, threads or memory of a trial, sorted by name.

    Others are never recorded: they may be secrets.
    """
    return {
        # A value whose bytes are no text becomes text that any file can hold.
        name: environment[name].encode("utf-8", "backslashreplace").decode()
        for name in sorted(environment)
        if name.startswith(_PREFIXES) and not _NOT_RECORDED.search(name)
    }


def usable_cores() -> int:
    """Return the number of CPU cores this process may use."""
    return len(affinity())


def cpu_name() -> str:
    """Return the processor's name as the system reports it."""
    lines = _lines(Path("/proc/cpuinfo"))
    if not lines:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def read_memory(limits: CgroupLimits | None = None) -> tuple[int, int]:
    """Return the bytes of host memory available to us in total, and those that are free."""

    def least(*amounts: int | None) -> int:
        return min(amount for amount in amounts if amount is not None)

    limits, memory = limits or read_cgroup_limits(), psutil.virtual_memory()
    return least(memory.total, limits.memory_bytes), least(memory.available, limits.free_bytes)


def read_energy(root: Path = POWERCAP) -> EnergyAccess:
    """Return whether the processor's energy can be read, is locked, or is not counted."""
    if find_rapl(root) is not None:
        return "rapl"
    return "locked" if any(root.glob("intel-rapl:*")) else ""


def is_contained(
    environment: Mapping[str, str],
    *,
    marks: tuple[Path, ...] = _MARKS,
    membership: Path = _MEMBERSHIP,
) -> bool:
    """Return whether we are in a container, by the signs that the usual ones leave."""
    groups = "\n".join(_lines(membership))
    return (
        "container" in environment
        or "KUBERNETES_SERVICE_HOST" in environment
        or any(mark.exists() for mark in marks)
        or any(name in groups for name in _CONTAINERS)
    )


def read_cgroup_limits(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> CgroupLimits:
    """Return what Linux's control groups, of either version, allow this process."""
    memory, left, cores = list[int](), list[int](), list[float]()
    for folder in _group_folders(root, membership):
        limit = min(_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes"))
        # Version 1 writes "no limit" as the largest number of pages.
        if limit < 2**60:
            memory.append(int(limit))
            left.append(max(0, int(limit - _memory_used(folder))))
        cores += _core_limit(folder)
    return CgroupLimits(
        memory_bytes=min(memory, default=None),
        free_bytes=min(left, default=None),
        cores=min(cores, default=None),
    )


def oom_kill_count(
    root: Path = _CGROUPS, membership: Path = _MEMBERSHIP, system: Path = _SYSTEM_COUNTS
) -> int:
    """Return how many processes the kernel has killed for lack of memory, in our control groups.

    Where no group counts them it is those of the whole system; 0 where nobody counts.
    """
    counts = [
        int(count)
        for folder in _group_folders(root, membership)
        for name in ("memory.events", "memory.oom_control")
        if (count := _table(folder / name).get("oom_kill"))
    ]
    # A group counts its own and those of the groups below it.
    return max(counts) if counts else int(_table(system).get("oom_kill", 0))


def _group_folders(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of our control groups and of those above them.

    Version 2 has one tree and names no controllers. Inside a container the path may be that of the
    host, which is not there; the folders above it then hold the container's own limits.
    """
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        top = root / controllers
        folder = top / path.lstrip("/")
        yield from (place for place in (folder, *folder.parents) if place.is_relative_to(top))


def _memory_used(folder: Path) -> float:
    used = min(_number(folder / "memory.current"), _number(folder / "memory.usage_in_bytes"))
    stat = _table(folder / "memory.stat")
    # Files that nobody has used lately can be dropped.
    droppable = float(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)
    return max(0.0, used - droppable) if math.isfinite(used) else 0.0


def _core_limit(folder: Path) -> list[float]:
    """Return the processor seconds per second that a group allows; empty for no limit."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        limit = _number(folder / "cpu.cfs_quota_us")
        return [limit / _number(folder / "cpu.cfs_period_us")] if 0 < limit < math.inf else []
    return [] if quota == "max" else [float(quota) / float(period)]


def _number(file: Path) -> float:
    try:
        return float(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # Missing, or the word "max".
        return math.inf


def _table(file: Path) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in _lines(file) if " " in line)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
