"""NVIDIA GPUs: which there are, what they are doing and for whom, asked without any framework.

NVIDIA's management library (NVML) answers where nvidia-ml-py is installed, else the program
nvidia-smi. Names and units are those of nvidia-ml-py 13.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.measure.clock import now_s

# How frameworks and schedulers say which GPUs a process may use.
VISIBLE = "CUDA_VISIBLE_DEVICES"
# The driver's numbers for who may compute on a GPU.
_MODES = {0: "shared", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
# Bits of the clocks' event reasons that mean: slower than asked for. Idling, and clocks that
# someone has set, are no throttling.
_THROTTLE = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
# A machine of many GPUs without the persistence daemon takes some seconds.
_SMI_S = 60.0
_SMI_QUERY = "--query-gpu=index,uuid,name,memory.total,driver_version"
# A driver takes a moment to give back the memory of a killed process; what it keeps for itself
# changes a little.
_RELEASE_S, _RELEASE_PERIOD_S = 30.0, 0.1
_SLACK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One NVIDIA GPU, or one MIG instance of it; no ``uuid`` where the driver reports none.

    ``index`` is that of ``cuda:INDEX``, counted among those that this process may use.
    """

    index: int
    name: str
    memory_bytes: int
    driver: str
    uuid: str = ""

    @property
    def selector(self) -> str:
        """Name of it for ``CUDA_VISIBLE_DEVICES`` and NVML: the UUID, else the number."""
        return self.uuid or str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignProcess:
    """A process on the GPU that is none of ours; its bytes of device memory are None if unknown."""

    pid: int
    name: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """State of a GPU before anything runs on it; None or empty for what is unknown.

    Attributes:
        cuda: Newest CUDA version that the driver serves.
        mode: ``shared``, ``exclusive process``, ``exclusive thread`` or ``prohibited``.
        has_energy: Whether it counts what it draws.
    """

    accelerator: Accelerator
    free_bytes: int | None = None
    cuda: str = ""
    mode: str = ""
    processes: tuple[ForeignProcess, ...] = ()
    has_energy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """State of a GPU at one moment; None for what the driver does not report.

    Attributes:
        used_bytes: Of device memory, by everyone.
        process_bytes: Of device memory, by process id; the driver's, not a container's.
        utilization: Share of the driver's last sampling period in which a kernel ran, 0-1.
        throttled: Why the clock is lower than asked for.
    """

    used_bytes: int | None
    process_bytes: dict[int, int]
    utilization: float | None
    clock_mhz: int | None
    throttled: tuple[str, ...]


class Gpu:
    """One GPU or MIG instance, by a handle of the initialised module ``pynvml``."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.index: int = self._ask(nvml.nvmlDeviceGetIndex) or 0

    def accelerators(self) -> Iterator[Accelerator]:
        """Yield what a process can be given of it: the whole, or each of its MIG instances."""
        nvml, parts = self._nvml, [self]
        split = self._ask(nvml.nvmlDeviceGetMigMode)
        if split and split[0]:
            places = range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount) or 0)
            handles = [self._ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, p) for p in places]
            # There may be fewer than the most that are possible.
            parts = [Gpu(nvml, handle) for handle in handles if handle is not None]
        for part in parts:
            memory = part._ask(nvml.nvmlDeviceGetMemoryInfo)
            yield Accelerator(
                index=self.index,
                name=part._ask(nvml.nvmlDeviceGetName) or "",
                memory_bytes=memory.total if memory else 0,
                driver=part._ask(lambda _: nvml.nvmlSystemGetDriverVersion()) or "",
                uuid=part._ask(nvml.nvmlDeviceGetUUID) or "",
            )

    def read(self) -> GpuReading:
        """Return what it is doing."""
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates)
        reasons = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        return GpuReading(
            used_bytes=memory and memory.used,
            process_bytes={p.pid: p.usedGpuMemory for p in processes if p.usedGpuMemory},
            utilization=None if rates is None else rates.gpu / 100,
            clock_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            throttled=tuple(name for bit, name in _THROTTLE.items() if reasons & bit),
        )

    def state(self, accelerator: Accelerator) -> GpuState:
        """Return how it may be used, and by whom it is."""
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo)
        mode = self._ask(nvml.nvmlDeviceGetComputeMode)
        version = self._ask(lambda _: nvml.nvmlSystemGetCudaDriverVersion())
        return GpuState(
            accelerator=accelerator,
            free_bytes=memory and memory.free,
            cuda="" if version is None else f"{version // 1000}.{version % 1000 // 10}",
            mode=_MODES.get(mode, ""),
            processes=self.processes(),
            has_energy=self.energy_j() is not None,
        )

    def energy_j(self) -> float | None:
        """Return the joules drawn since the driver was loaded; None before Volta, and of MIG."""
        millijoules = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1e3

    def processes(self) -> tuple[ForeignProcess, ...]:
        """Return every process that computes or draws on it."""
        nvml = self._nvml
        computing = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        drawing = self._ask(nvml.nvmlDeviceGetGraphicsRunningProcesses) or ()
        running = {process.pid: process.usedGpuMemory for process in (*computing, *drawing)}
        return tuple(
            ForeignProcess(
                pid=pid,
                name=self._ask(lambda _, pid=pid: nvml.nvmlSystemGetProcessName(pid)) or "",
                bytes=used,
            )
            for pid, used in sorted(running.items())
        )

    def _ask(self, question: Callable[..., Any], *arguments: object) -> Any:
        """Return an answer; None where GPU, driver or a container around us does not report it."""
        try:
            return question(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def find_accelerators(environment: Mapping[str, str] = os.environ) -> tuple[Accelerator, ...]:
    """Return the NVIDIA GPUs that ``CUDA_VISIBLE_DEVICES`` leaves; none without a driver."""
    nvml = _import()
    gpus = list(_by_smi()) if nvml is None else []
    for index in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        # One that has fallen off the bus cannot be opened; the others compute.
        if gpu := open_gpu(str(index)):
            gpus += gpu.accelerators()
    if VISIBLE in environment:
        gpus = _visible(gpus, environment[VISIBLE])
    return tuple(replace(gpu, index=place) for place, gpu in enumerate(gpus))


def unread_gpus(
    environment: Mapping[str, str] = os.environ, *, devices: Path = Path("/dev")
) -> str:
    """Return why GPUs of the machine go unused; empty for none, hidden ones, and those read."""
    is_hidden = VISIBLE in environment or not any(devices.glob("nvidia[0-9]*"))
    if is_hidden or find_accelerators(environment):
        return ""
    return (
        "this machine has an NVIDIA GPU, but neither NVML nor nvidia-smi reports a usable one, so "
        "the CPU is used; install nvidia-ml-py, or run nvidia-smi to see what is wrong"
    )


def open_gpu(selector: str) -> Gpu | None:
    """Return the GPU of an accelerator's selector; None without nvidia-ml-py, driver or GPU."""
    nvml = _import()
    if nvml is None:
        return None
    try:
        if selector.isdigit():
            return Gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(int(selector)))
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(selector))
    except nvml.NVMLError:
        return None


def read_gpus(accelerators: Sequence[Accelerator]) -> tuple[GpuState, ...]:
    """Return the state of each GPU, which is empty without NVML."""
    return tuple(
        gpu.state(accelerator)
        if (gpu := open_gpu(accelerator.selector))
        else GpuState(accelerator=accelerator)
        for accelerator in accelerators
    )


def foreign_processes(selector: str) -> tuple[ForeignProcess, ...]:
    """Return the processes on a GPU before any of ours is; none if unknown."""
    gpu = open_gpu(selector)
    return gpu.processes() if gpu else ()


def wait_until_released(
    before_bytes: int | None,
    used_bytes: Callable[[], int | None],
    *,
    now: Callable[[], float] = now_s,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until device memory is as it was before a worker began; return the bytes still held."""
    if before_bytes is None:
        return 0
    deadline_s = now() + _RELEASE_S
    while True:
        held = (used_bytes() or 0) - before_bytes
        if held <= _SLACK_BYTES:
            return 0
        if now() >= deadline_s:
            return held
        sleep(_RELEASE_PERIOD_S)


def _import() -> Any | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _by_smi() -> Iterator[Accelerator]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return
    try:
        answer = subprocess.run(
            [command, _SMI_QUERY, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SMI_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return
    for line in answer.stdout.splitlines():
        # Other lines are messages.
        if line.count(",") == 4:
            index, uuid, name, mebibytes, driver = map(str.strip, line.split(","))
            yield Accelerator(
                index=int(index),
                name=name,
                memory_bytes=int(mebibytes) * 2**20 if mebibytes.isdigit() else 0,
                driver=driver,
                uuid=uuid,
            )


def _visible(gpus: Sequence[Accelerator], stated: str) -> list[Accelerator]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` lists, in its order.

    As CUDA reads it: numbers or beginnings of UUIDs, up to the first that there is not.
    """
    chosen: list[Accelerator] = []
    for entry in map(str.strip, stated.split(",")):
        for gpu in gpus:
            if entry == str(gpu.index) or (entry and gpu.uuid.startswith(entry)):
                break
        else:
            break
        if gpu in chosen:
            break
        chosen.append(gpu)
    return chosen
