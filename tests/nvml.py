"""NVIDIA's management library, made up: a GPU whose figures a test turns, or other answers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class NvmlError(Exception):
    """What the library raises."""


class FakeNvml:
    """The calls of pynvml that are used.

    Args:
        silent: Names of calls that are refused.
        answers: Functions by name, in place of those of a single GPU and beside them.
    """

    NVMLError = NvmlError
    NVML_CLOCK_SM = 1

    def __init__(self, *silent: str, **answers: Callable[..., Any]) -> None:
        self.silent = set(silent)
        self.used, self.free, self.total = 1000, 70_000_000_000, 80_000_000_000
        self.energy_mj, self.gpu_percent, self.reasons = 5000, 50, 0
        self.running = [SimpleNamespace(pid=7, usedGpuMemory=300)]
        self._answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetIndex": lambda handle: handle,
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(
                used=self.used, free=self.free, total=self.total
            ),
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=self.gpu_percent),
            "nvmlDeviceGetClockInfo": lambda handle, kind: 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: self.reasons,
            "nvmlDeviceGetComputeMode": lambda handle: 3,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: self.running,
            "nvmlDeviceGetGraphicsRunningProcesses": lambda handle: [],
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: self.energy_mj,
            "nvmlSystemGetCudaDriverVersion": lambda: 12080,
            "nvmlSystemGetProcessName": lambda pid: "python",
            **answers,
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers = self.__dict__.get("_answers", {})
        if name not in answers:
            raise AttributeError(name)

        def ask(*arguments: object) -> Any:
            if name in self.silent:
                raise NvmlError("Not Supported")
            try:
                return answers[name](*arguments)
            except (IndexError, ValueError):
                raise NvmlError("Not Found") from None

        return ask
