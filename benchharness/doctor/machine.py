"""Checks of the machine: processor, load, memory, GPUs, energy counters, Python."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchharness.doctor.check import Check
from benchharness.measure.gpu import GpuState
from benchharness.measure.machine import Machine
from benchharness.text import format_bytes


def machine_checks(machine: Machine) -> Iterator[Check]:
    """Yield the checks of the machine."""
    yield _processor(machine)
    if machine.load is not None:
        yield Check(
            mark="warn" if machine.is_busy else "ok",
            subject="load",
            text=f"CPU load from other processes: {machine.load:.1f} of {machine.cores} cores",
            remedy="end other programs before you time anything" if machine.is_busy else "",
        )
    yield Check(
        mark="ok",
        subject="memory",
        text=f"{format_bytes(machine.memory_bytes)}, {format_bytes(machine.free_bytes)} of it free",
    )
    if machine.gpu_trouble:
        yield Check(mark="warn", subject="gpu", text=machine.gpu_trouble)
    elif not machine.gpus:
        yield Check(mark="ok", subject="gpu", text="no GPU detected; using the CPU")
    for state in machine.gpus:
        yield from _gpu(state)
    yield _energy(machine)
    where = ", in a container" if machine.is_contained else ""
    yield Check(mark="ok", subject="python", text=f"{machine.python} on {machine.system}{where}")


def _processor(machine: Machine) -> Check:
    text = f"{machine.cpu}, {machine.cores} core{'s' if machine.cores > 1 else ''} to use"
    if machine.quota is None or machine.quota >= machine.cores:
        return Check(mark="ok", subject="processor", text=text)
    return Check(
        mark="warn",
        subject="processor",
        text=f"{text}, but a control group gives the time of {machine.quota:g}",
        remedy=f"write threads = {max(1, math.floor(machine.quota))} in the suite's defaults",
    )


def _gpu(state: GpuState) -> Iterator[Check]:
    gpu = state.accelerator
    subject = f"cuda:{gpu.index}"
    words = [gpu.name, format_bytes(gpu.memory_bytes)]
    if state.free_bytes is not None:
        words.append(f"{format_bytes(state.free_bytes)} free")
    words.append(f"driver {gpu.driver}")
    words += [f"CUDA {state.cuda}"] if state.cuda else []
    words += [state.mode] if state.mode not in ("", "shared") else []
    is_prohibited = state.mode == "prohibited"
    yield Check(
        mark="warn" if is_prohibited else "ok",
        subject=subject,
        text=", ".join(words),
        remedy="nvidia-smi --compute-mode=DEFAULT lets programs compute on it"
        if is_prohibited
        else "",
    )
    for process in state.processes:
        held = f" with {format_bytes(process.bytes)}" if process.bytes else ""
        yield Check(
            mark="warn",
            subject=subject,
            text=f"in use by {process.name or 'a process'} ({process.pid}){held}",
            remedy="end it before you time anything",
        )


def _energy(machine: Machine) -> Check:
    if any(state.has_energy for state in machine.gpus):
        return Check(mark="ok", subject="energy", text="counted by the GPU")
    if machine.energy == "rapl":
        return Check(mark="ok", subject="energy", text="counted by the processor (RAPL)")
    if machine.energy == "locked":
        return Check(
            mark="warn",
            subject="energy",
            text="counted by the processor (RAPL), readable by root only",
            remedy="sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
        )
    return Check(mark="ok", subject="energy", text="no counter; its column stays empty")
