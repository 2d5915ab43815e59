"""What a machine has to compute with, as findings."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchharness.doctor.check import Finding, size
from benchharness.measure.gpu import GpuState
from benchharness.measure.machine import Machine


def machine_findings(machine: Machine) -> Iterator[Finding]:
    """Yield what there is to compute with."""
    yield _processor(machine)
    if machine.load is not None:
        yield Finding(
            mark="warn" if machine.is_busy else "ok",
            subject="load",
            text=f"{machine.load:.1f} of {machine.cores} cores at work for others",
            remedy="end other programs before you time anything" if machine.is_busy else "",
        )
    yield Finding(
        mark="ok",
        subject="memory",
        text=f"{size(machine.memory_bytes)}, {size(machine.free_bytes)} of it free",
    )
    if machine.gpu_trouble:
        yield Finding(mark="warn", subject="gpu", text=machine.gpu_trouble)
    elif not machine.gpus:
        yield Finding(mark="ok", subject="gpu", text="none; the CPU computes")
    for state in machine.gpus:
        yield from _gpu(state)
    yield _energy(machine)
    where = ", in a container" if machine.is_contained else ""
    yield Finding(mark="ok", subject="python", text=f"{machine.python} on {machine.system}{where}")


def _processor(machine: Machine) -> Finding:
    text = f"{machine.cpu}, {machine.cores} core{'s' if machine.cores > 1 else ''} to use"
    if machine.quota is None or machine.quota >= machine.cores:
        return Finding(mark="ok", subject="processor", text=text)
    return Finding(
        mark="warn",
        subject="processor",
        text=f"{text}, but a control group gives the time of {machine.quota:g}",
        remedy=f"write threads = {max(1, math.floor(machine.quota))} in the suite's defaults",
    )


def _gpu(state: GpuState) -> Iterator[Finding]:
    gpu = state.accelerator
    subject = f"cuda:{gpu.index}"
    words = [gpu.name, size(gpu.memory_bytes)]
    if state.free_bytes is not None:
        words.append(f"{size(state.free_bytes)} free")
    words.append(f"driver {gpu.driver}")
    words += [f"CUDA {state.cuda}"] if state.cuda else []
    words += [state.mode] if state.mode not in ("", "shared") else []
    is_barred = state.mode == "prohibited"
    yield Finding(
        mark="warn" if is_barred else "ok",
        subject=subject,
        text=", ".join(words),
        remedy="nvidia-smi --compute-mode=DEFAULT lets programs compute on it" if is_barred else "",
    )
    for process in state.processes:
        held = f" with {size(process.bytes)}" if process.bytes else ""
        yield Finding(
            mark="warn",
            subject=subject,
            text=f"in use by {process.name or 'a process'} ({process.pid}){held}",
            remedy="end it before you time anything",
        )


def _energy(machine: Machine) -> Finding:
    if any(state.has_energy for state in machine.gpus):
        return Finding(mark="ok", subject="energy", text="counted by the GPU")
    if machine.energy == "rapl":
        return Finding(mark="ok", subject="energy", text="counted by the processor (RAPL)")
    if machine.energy == "locked":
        return Finding(
            mark="warn",
            subject="energy",
            text="counted by the processor (RAPL), for root alone to read",
            remedy="sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
        )
    return Finding(mark="ok", subject="energy", text="not counted here; its column stays empty")
