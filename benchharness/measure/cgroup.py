"""What a control group allows this process: memory and processor time, as containers set them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SYSTEM_COUNTS = Path("/proc/vmstat")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """The tightest limits of the groups that a process is in; None for no limit.

    Attributes:
        memory_bytes: Most that all processes of the group may hold.
        free_bytes: How much of it is left, counting files that the kernel can drop as left.
        cores: Processor seconds per second.
    """

    memory_bytes: int | None = None
    free_bytes: int | None = None
    cores: float | None = None


def read_allowance(root: Path = ROOT, membership: Path = MEMBERSHIP) -> CgroupLimits:
    """Return what Linux's control groups, of either version, allow this process."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return CgroupLimits()
    limits, left, cores = [math.inf], [math.inf], [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for folder in _folders(root, controllers, path):
            limit = _memory_limit(folder)
            limits.append(limit)
            left.append(limit - _memory_used(folder))
            cores.append(_cores(folder))
    return CgroupLimits(
        memory_bytes=_whole(min(limits)),
        free_bytes=_whole(max(0.0, min(left))),
        cores=min(cores) if math.isfinite(min(cores)) else None,
    )


def oom_kill_count(
    root: Path = ROOT, membership: Path = MEMBERSHIP, system: Path = SYSTEM_COUNTS
) -> int:
    """Return how many processes the kernel has ended for want of memory, in the groups we are in.

    Where no group counts them it is those of the whole system; 0 where nobody counts.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    counted = [
        count
        for line in lines
        for folder in _folders(root, *line.split(":", 2)[1:])
        for name in ("memory.events", "memory.oom_control")
        if (count := _count(folder / name)) is not None
    ]
    # A group counts its own and those of the groups below it.
    return max(counted) if counted else _count(system) or 0


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(found["oom_kill"]) if "oom_kill" in found else None


def _folders(root: Path, controllers: str, path: str) -> Iterator[Path]:
    """Yield the folder of a group and of those above it.

    Version 2 has one tree and names no controllers. Inside a container the path may be that of the
    host, which is not there; what is above it then holds the container's own limits.
    """
    top = root / controllers if controllers else root
    folder = top / path.lstrip("/")
    while folder != top:
        yield folder
        folder = folder.parent
    yield top


def _memory_limit(folder: Path) -> float:
    found = min(_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes"))
    # Version 1 writes "no limit" as the largest number of pages.
    return found if found < 2**60 else math.inf


def _memory_used(folder: Path) -> float:
    used = min(_number(folder / "memory.current"), _number(folder / "memory.usage_in_bytes"))
    return max(0.0, used - _droppable(folder)) if math.isfinite(used) else 0.0


def _droppable(folder: Path) -> float:
    """Return the bytes of files that nobody has used lately."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    stat = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return float(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)


def _cores(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        limit = _number(folder / "cpu.cfs_quota_us")
        return limit / _number(folder / "cpu.cfs_period_us") if 0 < limit < math.inf else math.inf
    return math.inf if quota == "max" else float(quota) / float(period)


def _number(file: Path) -> float:
    try:
        return float(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # Not there, or the word "max".
        return math.inf


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
