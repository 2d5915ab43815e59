"""Meters of what a worker and its device use, read by the runner while the worker works."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any, Self

import psutil

from benchharness.measure.clock import others_seconds
from benchharness.measure.energy_meter import EnergyMeter
from benchharness.measure.gpu import Gpu, GpuReading
from benchharness.model.extension import Measured, Meter
from benchharness.plugins import hooks

_STATUS = Path("/proc/self/status")
# Frameworks keep what they take for far longer, and 0.25 s costs no measurable training time.
_PERIOD_S = 0.25
# A driver's counters are some tenths of a second old: of shorter work they show what was before.
_FEWEST_READINGS = 10
# Phases in which a worker holds more than its work does: copies of weights, and what checks take.
_AFTER_WORK = ("save", "replay", "calibrate")


def peak_rss_bytes() -> int:
    """Return the most memory this process has held at once.

    The kernel's ``ru_maxrss`` begins with what the parent held when it started us; on Linux our own
    peak is VmHWM.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, the others KiB.
    return peak if sys.platform == "darwin" else peak * 1024


def tree(pid: int) -> dict[int, int]:
    """Return the resident bytes of a process and of all its descendants, by process id.

    Pages that processes share count in each. A process that has ended is left out.
    """
    resident: dict[int, int] = {}
    # A process may end before it is read, the first one too.
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for member in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                resident[member.pid] = member.memory_info().rss
    return resident


@dataclass(slots=True, kw_only=True)
class Meters:
    """Samples a process tree and its GPU in a thread; a context manager.

    Memory is sampled until the weights are saved and the clock is checked, which take some more;
    energy, utilisation and clock only while work is timed.

    Attributes:
        base_bytes: Device memory in use before the worker began.
        added: Meters of plugins, by name.
        others: Processor seconds of other processes.
    """

    pid: int
    gpu: Gpu | None = None
    base_bytes: int | None = None
    added: dict[str, Meter] = field(default_factory=dict)
    others: Callable[[], float] = others_seconds
    now: Callable[[], float] = time.monotonic
    _others_from: tuple[float, float] | None = None
    _foreign_cores: float | None = None
    _errors: dict[str, Measured] = field(default_factory=dict)
    _host_bytes: int = 0
    _device_bytes: int = 0
    _energy: EnergyMeter = field(init=False)
    _is_timing: bool = False
    _is_at_work: bool = True
    _readings: list[GpuReading] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        """Add the meter of the GPU's energy, and the thread."""
        self._energy = EnergyMeter(self.gpu.energy_j if self.gpu else lambda: None)
        self._thread = threading.Thread(target=self._run, name="meters", daemon=True)

    def __enter__(self) -> Self:
        """Begin to sample."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop sampling."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_PERIOD_S):
            self.sample()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Note from a worker's event whether what it does is timed, and is its work."""
        if event["event"] == "phase" and event["phase"] in _AFTER_WORK:
            self._note_others()
            self._is_at_work = False
        if event["event"] != "timing":
            return
        if self._others_from is None:
            self._others_from = (self.now(), self.others())
        with self._lock:
            self._is_timing = event["state"] == "begin"
            self._sample_meters()

    def sample(self) -> None:
        """Take one sample."""
        members = tree(self.pid)
        reading = None if self.gpu is None else self.gpu.read()
        with self._lock:
            if self._is_at_work:
                self._host_bytes = max(self._host_bytes, sum(members.values()))
                if reading is not None:
                    self._device_bytes = max(self._device_bytes, self._used(reading, members))
            if self._is_timing and reading is not None:
                self._readings.append(reading)
            self._sample_meters()

    def metrics(self) -> dict[str, Any]:
        """Return the columns that are known: unknown ones are absent, never zero."""
        self._note_others()
        is_short = len(self._readings) < _FEWEST_READINGS
        readings = [] if is_short else self._readings
        shares = [r.utilization for r in readings if r.utilization is not None]
        clocks = [r.clock_mhz for r in readings if r.clock_mhz is not None]
        energy_j = None if is_short else self._energy.energy_j
        reasons = dict.fromkeys(name for r in self._readings for name in r.throttled)
        known: dict[str, Any] = {
            "peak_host_bytes": self._host_bytes or None,
            "peak_device_bytes": self._device_bytes or None,
            "energy_j": energy_j,
            "energy_source": None if energy_j is None else "nvml",
            "device_utilization": fmean(shares) if shares else None,
            "device_clock_mhz": median(clocks) if clocks else None,
            "throttled": ", ".join(reasons) or None,
            "foreign_cores": self._foreign_cores,
        }
        metrics: dict[str, Any] = dict(self._errors)
        for name, meter in self.added.items():
            try:
                columns = dict(meter.metrics())
                json.dumps(columns)
            except Exception as error:
                # What cannot be recorded must not take the record with it.
                columns = {"error": f"{type(error).__name__}: {error}"}
            # Columns of ours, and others under the meter's name.
            metrics |= {
                column if column in known else f"{name}.{column}": value
                for column, value in columns.items()
            }
        return metrics | {name: value for name, value in known.items() if value is not None}

    def _sample_meters(self) -> None:
        self._energy.sample(is_timed=self._is_timing)
        for name, meter in list(self.added.items()):
            try:
                meter.sample(is_timed=self._is_timing)
            except Exception as error:
                # A meter that fails must not take the trial with it.
                del self.added[name]
                self._errors[f"{name}.error"] = f"{type(error).__name__}: {error}"

    def _note_others(self) -> None:
        """Note how busy others were since timing began; once, for two readings are enough."""
        if self._others_from is None or self._foreign_cores is not None:
            return
        (began_s, before), now_s = self._others_from, self.now()
        if now_s > began_s:
            self._foreign_cores = max(0.0, (self.others() - before) / (now_s - began_s))

    def _used(self, reading: GpuReading, members: Mapping[int, int]) -> int:
        """Return the device memory of our processes.

        In a container the driver's process ids are not ours; then it is what came on top of what
        was in use before.
        """
        ours = sum(reading.process_bytes.get(pid, 0) for pid in members)
        if ours or reading.used_bytes is None or self.base_bytes is None:
            return ours
        return max(0, reading.used_bytes - self.base_bytes)


def base_bytes(gpu: Gpu | None) -> int | None:
    """Return the device memory in use; ask before the worker begins."""
    return None if gpu is None else gpu.read().used_bytes


def make_meters(pid: int, *, gpu: Gpu | None, base_bytes: int | None) -> Meters:
    """Return meters for a worker, those of plugins among them."""
    device = f"cuda:{gpu.index}" if gpu else "cpu"
    added: dict[str, Meter] = {}
    for name, hook in hooks("meters"):
        # A meter that cannot be made measures nothing; no one has asked for it by name.
        with suppress(Exception):
            if (meter := hook(pid=pid, device=device)) is not None:
                added[name] = meter
    return Meters(pid=pid, gpu=gpu, base_bytes=base_bytes, added=added)
