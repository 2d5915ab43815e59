"""Checks of a suite: profile, data, weights, disk, memory, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchharness.data.sources import info
from benchharness.doctor.backends import BackendStatus
from benchharness.doctor.check import Check, Section
from benchharness.doctor.data import Resource, weights_checks
from benchharness.doctor.disk import folder_checks, folders
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
        found = (Check(mark="missing", subject="suite", text=line) for line in error.lines())
        return Section(title="the suite", findings=tuple(found)), {"name": plan.suite.name}
    seconds = estimate.seconds(results)
    places = folders(estimate, results=results, cache=cache, resources=resources)
    checks = [
        *_profile(session),
        _data(estimate),
        *(Check(mark="warn", subject="data", text=note) for note in facts.notes),
        *_weights(session, resources),
        *folder_checks(places),
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


def _data(estimate: ResourceEstimate) -> Check:
    """Return the images, with a warning where drawn ones replace others."""
    is_substitute = not estimate.facts.is_real and estimate.plan.dataset.source != "drawn"
    return Check(
        mark="warn" if is_substitute else "ok",
        subject="data",
        text=estimate.facts.description,
        remedy=info(estimate.plan.dataset.source).remedy if is_substitute else "",
    )


def _weights(session: Session, resources: Sequence[Resource]) -> list[Check]:
    """Return whether the pretrained weights are here and complete."""
    checks = list(weights_checks(session.plan, resources))
    try:
        check_weights(session.plan, places=session.places)
    except WeightsError as error:
        if all(check.mark != "missing" for check in checks):
            checks.append(Check(mark="missing", subject="weights", text=str(error)))
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
        text = memory_text(cell, memory)
        yield Check(mark=mark, subject=cell.cell.benchmark, text=text, remedy=remedy)
    if shared := shared_memory(estimate.previews(), cores=machine.cores):
        text, remedy = shared
        yield Check(
            mark="warn" if remedy else "ok", subject="shared memory", text=text, remedy=remedy
        )


def time_check(seconds: float | None, *, is_busy: bool) -> Check:
    """Return the check of the time that a run takes."""
    if seconds is None:
        return Check(mark="ok", subject="time", text="unknown before a first run")
    return Check(
        mark="warn" if is_busy else "ok",
        subject="time",
        text=f"about {duration_text(seconds)}, by the last run",
        remedy="the machine is busy; this may take several times longer" if is_busy else "",
    )


def _profile(session: Session) -> Iterator[Check]:
    """Yield the profile, with a warning where it was chosen because weights are missing."""
    profile = session.plan.profile
    if profile is None:
        return
    is_substitute = profile == OFFLINE and session.options.profile is None
    yield Check(
        mark="warn" if is_substitute else "ok",
        subject="profile",
        text=f"{profile}, "
        + ("as requested" if session.options.profile else "chosen for this machine"),
        remedy="pretrained weights are not here; with a network, a run downloads them and takes "
        "another profile"
        if is_substitute
        else "",
    )
