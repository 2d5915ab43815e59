"""Device of a run, and the environment in which a worker sees only that device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchharness.errors import Problem, SuiteError
from benchharness.measure.gpu import VISIBLE, Accelerator
from benchharness.measure.machine import cpu_name, usable_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """CPU or GPU that trials run on.

    A GPU has the index of ``cuda:INDEX``, and a selector by which CUDA and the driver know it.
    """

    kind: Literal["cpu", "gpu"]
    index: int | None
    name: str
    selector: str = ""

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a worker, which sees this device and no other accelerator."""
        visible = {
            VISIBLE: self.selector,
            # The driver's order; CUDA's default order begins with the fastest.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "PYTHONUNBUFFERED": "1",
        }
        return {**environment, **visible}


def choose_device(wanted: str, accelerators: Sequence[Accelerator]) -> Device:
    """Return the device that ``cuda:N`` or another choice means, or raise a SuiteError."""
    cpu = Device(kind="cpu", index=None, name=f"{cpu_name()} ({usable_cores()} cores)")
    if wanted == "cpu" or (wanted == "auto" and not accelerators):
        return cpu
    name, colon, number = wanted.partition(":")
    index = int(number) if number.isdigit() else 0
    known = {accelerator.index: accelerator for accelerator in accelerators}
    if wanted == "auto":
        index = min(known)
    elif name != "cuda" or (colon and not number.isdigit()) or index not in known:
        here = ", ".join(["auto", "cpu", *(f"cuda:{place}" for place in known)])
        raise SuiteError(
            "command line",
            [Problem(where="--device", expected=f"one of {here}", found=f'"{wanted}"')],
        )
    return Device(
        kind="gpu",
        index=index,
        name=f"{known[index].name} (cuda:{index})",
        selector=known[index].selector,
    )
