"""NVIDIA's management library: what a GPU is doing, for whom, and what it draws.

Names and units as in nvidia-ml-py 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")

# Bits of the clocks' event reasons that mean: slower than asked for. Idling, and clocks that
# someone has set, are no throttling.
_THROTTLE = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignProcess:
    """A process on the GPU that is none of ours.

    Attributes:
        name: Empty where the driver does not tell.
        bytes: Of device memory; None where the driver does not tell.
    """

    pid: int
    name: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU at one moment; None for what the driver does not tell.

    Attributes:
        used_bytes: Of device memory, by everyone.
        process_bytes: Of device memory, by process id; the driver's, not a container's.
        utilization: Share of the driver's last sampling period in which a kernel ran, 0-1.
        clock_mhz: Of the streaming multiprocessors.
        throttled: Why the clock is lower than asked for.
    """

    used_bytes: int | None
    process_bytes: dict[int, int]
    utilization: float | None
    clock_mhz: int | None
    throttled: tuple[str, ...]


class Gpu:
    """One GPU of the driver's.

    Args:
        nvml: The module ``pynvml``, initialised.
        index: As the driver counts.
    """

    def __init__(self, nvml: Any, index: int) -> None:
        self.index = index
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def read(self) -> GpuReading:
        """Return what it is doing."""
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates)
        reasons = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        return GpuReading(
            used_bytes=None if memory is None else memory.used,
            process_bytes={p.pid: p.usedGpuMemory for p in processes if p.usedGpuMemory},
            utilization=None if rates is None else rates.gpu / 100,
            clock_mhz=self._ask(
                lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
            ),
            throttled=tuple(name for bit, name in _THROTTLE.items() if reasons & bit),
        )

    def uuid(self) -> str:
        """Return what tells it from every other GPU; empty where the driver does not tell."""
        found = self._ask(self._nvml.nvmlDeviceGetUUID)
        return found.decode() if isinstance(found, bytes) else found or ""

    def energy_j(self) -> float | None:
        """Return the joules drawn since the driver was loaded; None before Volta."""
        millijoules = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1e3

    def processes(self) -> tuple[ForeignProcess, ...]:
        """Return every process that computes or draws on it."""
        nvml = self._nvml
        running = [
            *(self._ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()),
            *(self._ask(nvml.nvmlDeviceGetGraphicsRunningProcesses) or ()),
        ]
        return tuple(
            ForeignProcess(pid=pid, name=self._name(pid), bytes=used)
            for pid, used in sorted({p.pid: p.usedGpuMemory for p in running}.items())
        )

    def _ask(self, question: Callable[[Any], Value]) -> Value | None:
        try:
            return question(self._handle)
        except self._nvml.NVMLError:
            # This GPU, its driver or a container around us does not tell.
            return None

    def _name(self, pid: int) -> str:
        name = self._ask(lambda _: self._nvml.nvmlSystemGetProcessName(pid))
        return name.decode() if isinstance(name, bytes) else name or ""


def open_gpu(index: int) -> Gpu | None:
    """Return a GPU, or None where there is no nvidia-ml-py, no driver or no such GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return Gpu(pynvml, index)
    except pynvml.NVMLError:
        return None


def foreign_processes(index: int, *, own: Iterable[int] = ()) -> tuple[ForeignProcess, ...]:
    """Return the processes on a GPU that are none of ours; none where nobody tells.

    Args:
        index: As the driver counts.
        own: Process ids of ours.
    """
    gpu = open_gpu(index)
    ours = set(own)
    return () if gpu is None else tuple(p for p in gpu.processes() if p.pid not in ours)
