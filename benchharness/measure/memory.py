"""Host memory: of this process at its peak, and of a process with all its children."""

from __future__ import annotations

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_rss_bytes() -> int:
    """Return the most memory this process has held at once.

    The kernel's ``ru_maxrss`` begins with what the parent held when it started us; Linux tells our
    own peak as VmHWM.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others KiB.
    return peak if sys.platform == "darwin" else peak * 1024


def tree(pid: int) -> dict[int, int]:
    """Return the resident bytes of a process and of all its descendants, by process id.

    Pages that processes share count in each. A process that has ended is left out.
    """
    import psutil

    found: dict[int, int] = {}
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.Error:
        return found
    for member in members:
        try:
            found[member.pid] = member.memory_info().rss
        except psutil.Error:
            continue
    return found
