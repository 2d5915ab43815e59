"""The machine at this moment: what there is to compute with, and who else computes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchharness.measure.cgroup import MEMBERSHIP, CgroupLimits, read_allowance
from benchharness.measure.energy import POWERCAP, find_rapl
from benchharness.measure.environment import cpu_name, usable_cores
from benchharness.measure.gpu import GpuState, find_accelerators, read_gpus, unread_gpus

_INTERVAL_S = 0.5
_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINERS = ("docker", "kubepods", "libpod", "containerd", "lxc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine has.

    Attributes:
        cores: That this process may use.
        quota: Processor seconds per second that a control group allows; None for no limit.
        load: How many of these cores are at work for others; None if unknown.
        memory_bytes: All there is, or what a control group allows of it.
        free_bytes: Of that, what new processes can have.
        gpu_trouble: Why GPUs that there are go unused; empty for none.
        energy: ``rapl`` where the processor's energy can be read, ``locked`` where it is counted
            and not ours to read, else empty.
        is_contained: Whether we are in a container.
    """

    cpu: str
    cores: int
    quota: float | None = None
    load: float | None = None
    memory_bytes: int
    free_bytes: int
    gpus: tuple[GpuState, ...] = ()
    gpu_trouble: str = ""
    energy: Literal["rapl", "locked", ""] = ""
    is_contained: bool = False
    python: str = ""
    system: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether others leave less than half of the cores."""
        return self.load is not None and self.load > self.cores / 2


def read_machine(environment: Mapping[str, str] = os.environ) -> Machine:
    """Return this machine as it is now; imports no framework."""
    allowance = read_allowance()
    memory_bytes, free_bytes = read_memory(allowance)
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        quota=allowance.cores,
        load=read_load(),
        memory_bytes=memory_bytes,
        free_bytes=free_bytes,
        gpus=read_gpus(find_accelerators(environment)),
        gpu_trouble=unread_gpus(environment),
        energy=read_energy(),
        is_contained=is_contained(environment),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
    )


def read_memory(allowance: CgroupLimits | None = None) -> tuple[int, int]:
    """Return the bytes of host memory that there are for us, and those that are free."""
    import psutil

    allowance = read_allowance() if allowance is None else allowance
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    if allowance.memory_bytes is not None:
        total = min(total, allowance.memory_bytes)
    if allowance.free_bytes is not None:
        free = min(free, allowance.free_bytes)
    return total, free


def read_load(interval_s: float = _INTERVAL_S) -> float | None:
    """Return how many of the cores that we may use are at work, over a moment in which we sleep.

    Not the system's load average: that of the last minute is high long after others have left.
    """
    import psutil

    busy = psutil.cpu_percent(interval=interval_s, percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(busy))
    shares = [busy[core] for core in usable if core < len(busy)]
    return sum(shares) / 100 if shares else None


def read_energy(root: Path = POWERCAP) -> Literal["rapl", "locked", ""]:
    """Return whether the processor's energy can be read, is locked away, or is not counted."""
    if find_rapl(root) is not None:
        return "rapl"
    return "locked" if any(root.glob("intel-rapl:*")) else ""


def is_contained(
    environment: Mapping[str, str],
    *,
    marks: tuple[Path, ...] = _MARKS,
    membership: Path = MEMBERSHIP,
) -> bool:
    """Return whether a container is around us, by the signs that the usual ones leave."""
    if "container" in environment or "KUBERNETES_SERVICE_HOST" in environment:
        return True
    try:
        groups = membership.read_text(encoding="utf-8")
    except OSError:
        groups = ""
    return any(mark.exists() for mark in marks) or any(name in groups for name in _CONTAINERS)
