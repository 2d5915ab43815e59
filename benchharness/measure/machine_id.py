"""Which machine a timing is bound to, told alike each time it is asked."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from benchharness.measure.cgroup import read_allowance
from benchharness.measure.environment import cpu_name, usable_cores
from benchharness.measure.gpu import find_accelerators


def fingerprint() -> dict[str, Any]:
    """Return what decides how fast a machine is and does not change by itself, JSON-able.

    Left out is what a comparison may be about, as the versions of driver, system and Python, and
    what is another at each reading, as load, free memory and the name of a rented host.
    """
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "quota": read_allowance().cores,
        "accelerators": [accelerator.name for accelerator in find_accelerators({})],
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def in_words(found: Mapping[str, Any]) -> str:
    """Return a fingerprint on one line; two lines are equal where the fingerprints are."""
    quota = "" if found["quota"] is None else f" (quota {found['quota']:g})"
    parts = [f"{found['cpu']}, {found['cores']} cores{quota}", *found["accelerators"]]
    return f"{', '.join(parts)}, {found['system']} {found['architecture']}"
