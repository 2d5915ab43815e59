"""Memory that workers keep: what giving it back and asking for it anew costs is mostly noise."""

from __future__ import annotations

from collections.abc import Mapping

# glibc gives large arrays back to the kernel when they are freed, and the kernel clears every page
# that is asked for again: 30 % of a PyTorch step on one processor, and most of what equal steps
# differed by there. Other allocators do not read these.
KEPT: Mapping[str, str] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
_TUNED = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def with_retained_heap(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose processes keep the memory they free.

    Who has tuned the allocator is left alone.

    Source:
        mallopt(3) of glibc: M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.
    """
    if any(name.startswith(_TUNED) for name in environment):
        return dict(environment)
    return {**environment, **KEPT}


def retains_heap(environment: Mapping[str, str]) -> bool:
    """Return whether the processes of an environment keep the memory they free, by our doing."""
    return KEPT.items() <= environment.items()
