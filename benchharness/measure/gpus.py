"""What the driver tells of each GPU: how it may be used, by whom it is, how much of it is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.measure.accelerators import Accelerator
from benchharness.measure.nvml import ForeignProcess, Gpu

# The driver's numbers for who may compute on a GPU.
_MODES = {0: "shared", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One GPU; None or empty for what nobody tells, as without nvidia-ml-py.

    Attributes:
        free_bytes: Of device memory.
        cuda: Newest CUDA version that the driver serves.
        mode: ``shared``, ``exclusive process``, ``exclusive thread`` or ``prohibited``.
        is_split: Whether it is split into MIG instances.
        processes: What is on it, none of it ours.
        has_energy: Whether it counts what it draws.
    """

    accelerator: Accelerator
    free_bytes: int | None = None
    cuda: str = ""
    mode: str = ""
    is_split: bool | None = None
    processes: tuple[ForeignProcess, ...] = ()
    has_energy: bool = False


def read_gpus(
    accelerators: Sequence[Accelerator], *, library: Any | None = None
) -> tuple[GpuState, ...]:
    """Return the state of each GPU.

    Args:
        library: The module ``pynvml``; None to import it where it is installed.
    """
    nvml = library if library is not None else _import()
    if nvml is None:
        return tuple(GpuState(accelerator=one) for one in accelerators)
    return tuple(_read(nvml, one) for one in accelerators)


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


def _read(nvml: Any, accelerator: Accelerator) -> GpuState:
    def ask(question: Callable[[], Any]) -> Any | None:
        try:
            return question()
        except nvml.NVMLError:
            return None

    handle = ask(lambda: nvml.nvmlDeviceGetHandleByIndex(accelerator.index))
    if handle is None:
        return GpuState(accelerator=accelerator)
    gpu = Gpu(nvml, accelerator.index)
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    split = ask(lambda: nvml.nvmlDeviceGetMigMode(handle))
    mode = ask(lambda: nvml.nvmlDeviceGetComputeMode(handle))
    version = ask(nvml.nvmlSystemGetCudaDriverVersion)
    return GpuState(
        accelerator=accelerator,
        free_bytes=None if memory is None else memory.free,
        cuda="" if version is None else f"{version // 1000}.{version % 1000 // 10}",
        mode="" if mode is None else _MODES.get(mode, ""),
        is_split=None if split is None else bool(split[0]),
        processes=gpu.processes(),
        has_energy=gpu.energy_j() is not None,
    )
