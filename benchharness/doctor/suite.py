"""Checks of a suite: profile, data, weights, disk, memory, time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from benchharness.data.sources import info
from benchharness.doctor.backends import BackendStatus
from benchharness.doctor.check import Check, Section, ok_or_warn
from benchharness.doctor.data import Resource, weights_checks
from benchharness.download.registry import REGISTRY, weights_home
from benchharness.errors import BenchError, WeightsError
from benchharness.measure.machine import Machine
from benchharness.run.dry_run import check_weights
from benchharness.run.estimate import (
    RUN_BYTES,
    AvailableMemory,
    ResourceEstimate,
    cache_bytes,
    duration_text,
    heads_bytes,
    memory_problems,
    memory_text,
    shared_memory,
)
from benchharness.run.session import Session
from benchharness.suite.resolve import OFFLINE
from benchharness.suite.settings import TransferSettings
from benchharness.text import format_bytes

# A drawn JPEG.
_DRAWN_BYTES = 30_000
_FILES_COUNTED = 50_000


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
    profile, is_requested = session.plan.profile, session.options.profile is not None
    if profile is None:
        return
    remedy = (
        "pretrained weights are not here; with a network, a run downloads them and takes another "
        "profile"
    )
    text = f"{profile}, {'as requested' if is_requested else 'chosen for this machine'}"
    is_substitute = profile == OFFLINE and not is_requested
    yield ok_or_warn("profile", text, remedy if is_substitute else "")


def _weights(session: Session, resources: Sequence[Resource]) -> list[Check]:
    """Return whether the pretrained weights are here and complete."""
    checks = list(weights_checks(session.plan, resources))
    try:
        check_weights(session.plan, places=session.places)
    except WeightsError as error:
        if all(check.mark != "missing" for check in checks):
            checks.append(Check("missing", "weights", str(error)))
    return checks


def folder_checks(
    estimate: ResourceEstimate, *, results: Path, cache: Path, resources: Sequence[Resource]
) -> Iterator[Check]:
    """Yield whether what a run writes has a place."""
    previews = estimate.previews()
    needed = cache_bytes(previews) + _fetched_bytes(estimate, resources)
    if not estimate.facts.is_real:
        needed += _DRAWN_BYTES * max((preview.images for preview in previews), default=0)
    yield folder_check("cache", cache, needed_bytes=needed, held_bytes=_held_bytes(cache))
    yield folder_check("results", results, needed_bytes=RUN_BYTES + heads_bytes(previews))


def folder_check(subject: str, path: Path, *, needed_bytes: int, held_bytes: int = 0) -> Check:
    """Return whether a folder, which may not be there yet, can be written and has room."""
    # Unlike Path.exists, no error where a folder above may not be looked into.
    there = next(p for p in (path, *path.absolute().parents) if os.access(p, os.F_OK))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = f"no permission to write in {there}" if there.is_dir() else f"{there} is no folder"
        remedy = "name another folder, or make this one writable"
        return Check("missing", subject, f"{path}: cannot be written: {reason}", remedy)
    free_bytes = shutil.disk_usage(there).free
    held = f", {format_bytes(held_bytes)} in it" if held_bytes else ""
    text = (
        f"{path}: {format_bytes(free_bytes)} free{held}, "
        f"the suite may need {format_bytes(needed_bytes)}"
    )
    if free_bytes < needed_bytes:
        return Check("missing", subject, text, "free some space, or name a folder on another disk")
    return Check("ok", subject, text)


def _fetched_bytes(estimate: ResourceEstimate, resources: Sequence[Resource]) -> int:
    """Return what must fit on the disk of all that a run would fetch."""
    wanted = {estimate.facts.title}
    for cell in estimate.plan.cells:
        if isinstance(cell.settings, TransferSettings):
            wanted |= {f"{cell.settings.backbone} {name}" for name in cell.settings.releases}
    return sum(
        REGISTRY[weights_home(*name.split(" ")) if " " in name else name].needed_bytes
        for resource in resources
        if (name := resource.name) in wanted and not resource.place and resource.download_bytes
    )


def _held_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; of very many, those of the first."""
    held = 0
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    for file in islice(files, _FILES_COUNTED):
        # It may be gone meanwhile.
        with suppress(OSError):
            held += file.lstat().st_size
    return held


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
        yield ok_or_warn("shared memory", *shared)


def time_check(seconds: float | None, *, is_busy: bool) -> Check:
    """Return the check of the time that a run takes."""
    if seconds is None:
        return Check("ok", "time", "unknown before a first run")
    remedy = "the machine is busy; this may take several times longer"
    text = f"about {duration_text(seconds)}, by the last run"
    return ok_or_warn("time", text, remedy if is_busy else "")
