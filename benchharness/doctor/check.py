"""Checks of a machine: each ok, worth a warning or missing something, with its remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benchharness.measure.gpu import GpuState
from benchharness.measure.machine import Machine
from benchharness.text import format_bytes

Severity = Literal["ok", "warn", "missing"]

_END_OTHERS = "end other programs before you time anything"
_UNLOCK_ENERGY = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        mark: ``missing`` for what the suite needs and lacks, ``warn`` for what is worth knowing.
        remedy: Empty where nothing is to be done.
    """

    mark: Severity
    subject: str
    text: str
    remedy: str = ""


def ok_or_warn(subject: str, text: str, remedy: str) -> Check:
    """Return a warning where there is a remedy, else a check that is ok."""
    return Check("warn" if remedy else "ok", subject, text, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Checks that belong together."""

    title: str
    findings: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks, for people and, with the facts as JSON-able values, for programs."""

    title: str
    sections: tuple[Section, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_able(self) -> bool:
        """Whether nothing is missing."""
        return not self.marked("missing")

    def marked(self, mark: Severity) -> list[Check]:
        """Return the checks with a mark."""
        checks = (check for section in self.sections for check in section.findings)
        return [check for check in checks if check.mark == mark]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "format": 1,
            "title": self.title,
            "is_able": self.is_able,
            "sections": [asdict(section) for section in self.sections],
            **self.facts,
        }


def machine_checks(machine: Machine) -> Iterator[Check]:
    """Yield the checks of processor, load, memory, GPUs, energy counters and Python."""
    text = f"{machine.cpu}, {machine.cores} core{'s' if machine.cores > 1 else ''} to use"
    remedy = ""
    if machine.quota is not None and machine.quota < machine.cores:
        text += f", but a control group gives the time of {machine.quota:g}"
        threads = max(1, math.floor(machine.quota))
        remedy = f"write threads = {threads} in the suite's defaults"
    yield ok_or_warn("processor", text, remedy)
    if machine.load is not None:
        text = f"CPU load from other processes: {machine.load:.1f} of {machine.cores} cores"
        yield ok_or_warn("load", text, _END_OTHERS if machine.is_busy else "")
    free = format_bytes(machine.free_bytes)
    yield Check("ok", "memory", f"{format_bytes(machine.memory_bytes)}, {free} of it free")
    if machine.gpu_trouble:
        yield Check("warn", "gpu", machine.gpu_trouble)
    elif not machine.gpus:
        yield Check("ok", "gpu", "no GPU detected; using the CPU")
    for state in machine.gpus:
        yield from _gpu_checks(state)
    if any(state.has_energy for state in machine.gpus):
        yield Check("ok", "energy", "counted by the GPU")
    elif machine.energy == "rapl":
        yield Check("ok", "energy", "counted by the processor (RAPL)")
    elif machine.energy == "locked":
        text = "counted by the processor (RAPL), readable by root only"
        yield Check("warn", "energy", text, _UNLOCK_ENERGY)
    else:
        yield Check("ok", "energy", "no counter; its column stays empty")
    where = ", in a container" if machine.is_contained else ""
    yield Check("ok", "python", f"{machine.python} on {machine.system}{where}")


def _gpu_checks(state: GpuState) -> Iterator[Check]:
    gpu, subject = state.accelerator, f"cuda:{state.accelerator.index}"
    words = [
        gpu.name,
        format_bytes(gpu.memory_bytes),
        "" if state.free_bytes is None else f"{format_bytes(state.free_bytes)} free",
        f"driver {gpu.driver}",
        f"CUDA {state.cuda}" if state.cuda else "",
        state.mode if state.mode != "shared" else "",
    ]
    remedy = "nvidia-smi --compute-mode=DEFAULT lets programs compute on it"
    is_prohibited = state.mode == "prohibited"
    yield ok_or_warn(subject, ", ".join(filter(None, words)), remedy if is_prohibited else "")
    for process in state.processes:
        held = f" with {format_bytes(process.bytes)}" if process.bytes else ""
        text = f"in use by {process.name or 'a process'} ({process.pid}){held}"
        yield Check("warn", subject, text, "end it before you time anything")
