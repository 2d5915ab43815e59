"""Checks of the disk space that a suite needs, by folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from benchharness.doctor.check import Check
from benchharness.doctor.data import Resource
from benchharness.download.registry import REGISTRY, weights_home
from benchharness.run.estimate import RUN_BYTES, ResourceEstimate, cache_bytes, heads_bytes
from benchharness.suite.settings import TransferSettings
from benchharness.text import format_bytes

# A drawn JPEG.
_DRAWN_BYTES = 30_000
_FILES_COUNTED = 50_000


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
    text = f"{path}: {format_bytes(free_bytes)} free"
    if held_bytes:
        text += f", {format_bytes(held_bytes)} in it"
    text += f", the suite may need {format_bytes(needed_bytes)}"
    if free_bytes < needed_bytes:
        return Check("missing", subject, text, "free some space, or name a folder on another disk")
    return Check("ok", subject, text)


def _fetched_bytes(estimate: ResourceEstimate, resources: Sequence[Resource]) -> int:
    """Return what must fit on the disk of all that a run would fetch."""
    wanted = {estimate.facts.title}
    for cell in estimate.plan.cells:
        if isinstance(cell.settings, TransferSettings):
            wanted |= {f"{cell.settings.backbone} {name}" for name in cell.settings.releases}
    names = [
        resource.name
        for resource in resources
        if resource.name in wanted and not resource.place and resource.download_bytes
    ]
    return sum(
        REGISTRY[weights_home(*name.split(" ")) if " " in name else name].needed_bytes
        for name in names
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
