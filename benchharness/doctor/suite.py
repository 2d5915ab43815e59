"""Checks of a suite: profile, data, weights, disk, memory, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchharness.data.sources import info
from benchharness.doctor.backends import BackendStatus
from benchharness.doctor.check import Check, Section
from benchharness.doctor.data import Resource, weights_checks
from benchharness.doctor.disk import folder_checks
from benchharness.errors import BenchError, WeightsError
from benchharness.measure.machine import Machine
from benchharness.run.dry_run import check_weights
from benchharness.run.estimate import (
    AvailableMemory,
    ResourceEstimate,
    duration_text,
    memory_problems,
    memory_text,
    shared_memory,
)
from benchharness.run.session import Session
from benchharness.suite.resolve import OFFLINE


def check_suite(
    session: Session,
    machine: Machine,
    *,
    statuses: Sequence[BackendStatus],
    resources: Sequence[Resource],
) -> tuple[Section, dict[str, Any]]:
    """Return the checks of a suite, and the same in numbers."""
    plan, results, cache = session.plan, session.options.results, session.places.cache
    measured = {
        status.backend: status.framework_bytes
        for status in statuses
        if status.framework_bytes is not None
    }
    try:
        facts = session.dataset_info()
        estimate = replace(session.estimate_resources(facts), framework_bytes=measured)
        cells = estimate.cells()
    except BenchError as error:
        missing = tuple(Check("missing", "suite", line) for line in error.lines())
        return Section(title="the suite", findings=missing), {"name": plan.suite.name}
    seconds = estimate.seconds(results)
    # A warning where drawn images replace others.
    is_drawn = not facts.is_real and plan.dataset.source != "drawn"
    remedy = info(plan.dataset.source).remedy if is_drawn else ""
    checks = [
        *_profile(session),
        Check("warn" if is_drawn else "ok", "data", facts.description, remedy),
        *(Check("warn", "data", note) for note in facts.notes),
        *_weights(session, resources),
        *folder_checks(estimate, results=results, cache=cache, resources=resources),
        *_memory(estimate, machine),
        time_check(seconds, is_busy=machine.is_busy),
    ]
    return Section(title="the suite", findings=tuple(checks)), {
        "name": plan.suite.name,
        "profile": plan.profile,
        "trials": len(plan.trials()),
        "max_trials": plan.most,
        "data": facts.description,
        "notes": list(facts.notes),
        "cache": str(cache),
        "memory": [cell.as_dict() for cell in cells],
        "last_run_s": seconds,
    }


def _profile(session: Session) -> Iterator[Check]:
    """Yield the profile, with a warning where it was chosen because weights are missing."""
    profile = session.plan.profile
    if profile is None:
        return
    if session.options.profile is not None:
        yield Check("ok", "profile", f"{profile}, as requested")
    elif profile != OFFLINE:
        yield Check("ok", "profile", f"{profile}, chosen for this machine")
    else:
        remedy = (
            "pretrained weights are not here; with a network, a run downloads them and takes "
            "another profile"
        )
        yield Check("warn", "profile", f"{profile}, chosen for this machine", remedy)


def _weights(session: Session, resources: Sequence[Resource]) -> list[Check]:
    """Return whether the pretrained weights are here and complete."""
    checks = list(weights_checks(session.plan, resources))
    try:
        check_weights(session.plan, places=session.places)
    except WeightsError as error:
        if all(check.mark != "missing" for check in checks):
            checks.append(Check("missing", "weights", str(error)))
    return checks


def _memory(estimate: ResourceEstimate, machine: Machine) -> Iterator[Check]:
    """Yield the memory of each benchmark's largest cell, and the shared memory of loaders."""
    gpus = (gpu for gpu in machine.gpus if gpu.accelerator.index == estimate.device.index)
    gpu = next(gpus, None)
    memory = AvailableMemory(
        host_bytes=machine.memory_bytes,
        free_bytes=machine.free_bytes,
        gpu_bytes=gpu.accelerator.memory_bytes if gpu else None,
        gpu_free_bytes=gpu.free_bytes if gpu else None,
    )
    for cell, mark, remedy in memory_problems(estimate.cells(), memory):
        yield Check(mark, cell.cell.benchmark, memory_text(cell, memory), remedy)
    if shared := shared_memory(estimate.previews(), cores=machine.cores):
        text, remedy = shared
        yield Check("warn" if remedy else "ok", "shared memory", text, remedy)


def time_check(seconds: float | None, *, is_busy: bool) -> Check:
    """Return the check of the time that a run takes."""
    if seconds is None:
        return Check("ok", "time", "unknown before a first run")
    text = f"about {duration_text(seconds)}, by the last run"
    if not is_busy:
        return Check("ok", "time", text)
    return Check("warn", "time", text, "the machine is busy; this may take several times longer")
