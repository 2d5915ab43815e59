"""Disk space that a suite needs, by folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from benchharness.doctor.check import Check
from benchharness.doctor.data import Resource
from benchharness.download.registry import REGISTRY, weights_home
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate import FLOAT_BYTES, ResourceEstimate
from benchharness.run.inputs import Subset
from benchharness.suite.settings import FineTuneSettings, TransferSettings
from benchharness.text import format_bytes

# What a run writes besides what other benchmarks start from; a drawn JPEG.
RUN_BYTES = 50_000_000
_DRAWN_BYTES = 30_000
_FILES_COUNTED = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A place that a run writes to.

    Attributes:
        free_bytes: On its disk.
        needed_bytes: That a suite may write there.
        held_bytes: What is in it already.
        obstacle: Why nothing can be written there; empty where it can.
    """

    path: Path
    free_bytes: int
    needed_bytes: int = 0
    held_bytes: int = 0
    obstacle: str = ""


def folders(
    estimate: ResourceEstimate, *, results: Path, cache: Path, resources: Sequence[Resource]
) -> dict[str, Folder]:
    """Return the places that a run writes to, with what it may write there."""
    previews, cache = estimate.previews(), cache
    needed = prepared_bytes(previews) + features_bytes(previews)
    if not estimate.facts.is_real:
        needed += _DRAWN_BYTES * max((preview.images for preview in previews), default=0)
    needed += sum(_fetched_bytes(estimate, resources))
    return {
        "cache": _folder(cache, needed_bytes=needed, has_size=True),
        "results": _folder(results, needed_bytes=RUN_BYTES + heads_bytes(previews)),
    }


def folder_checks(folders: Mapping[str, Folder]) -> Iterator[Check]:
    """Yield whether what a run writes has a place."""
    for subject, folder in folders.items():
        text = f"{folder.path}: {format_bytes(folder.free_bytes)} free"
        if folder.held_bytes:
            text += f", {format_bytes(folder.held_bytes)} in it"
        if folder.needed_bytes:
            text += f", the suite may need {format_bytes(folder.needed_bytes)}"
        if folder.obstacle:
            yield Check(
                mark="missing",
                subject=subject,
                text=f"{folder.path}: cannot be written: {folder.obstacle}",
                remedy="name another folder, or make this one writable",
            )
        elif folder.free_bytes < folder.needed_bytes:
            yield Check(
                mark="missing",
                subject=subject,
                text=text,
                remedy="free some space, or name a folder on another disk",
            )
        else:
            yield Check(mark="ok", subject=subject, text=text)


def prepared_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return what decoded images take on disk, each picture of a size once."""
    sizes = {}
    for preview in previews:
        part = Subset.of(preview.trial.cell)
        image = part.image_size**2 * preview.channels
        sizes[part.image_size, part.train_images, part.test_images] = preview.images * image
    return sum(sizes.values())


def features_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return what stored features take on disk: one set for each backend, front and slice."""
    sizes = {}
    for preview in previews:
        cell, front = preview.trial.cell, preview.workload.front
        if front is None or not isinstance(cell.settings, TransferSettings):
            continue
        part = Subset.of(cell)
        seed = preview.trial.seed if cell.settings.weights == "random" else 0
        key = (cell.backend, part.image_size, part.train_images, part.test_images, front, seed)
        sizes[(*key, cell.settings.preprocessing)] = (
            preview.images * prod(front.output_shape) * FLOAT_BYTES
        )
    return sum(sizes.values())


def heads_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return what may be kept of trained heads, from which other benchmarks start."""
    settings = [preview.trial.cell.settings for preview in previews]
    wanted = {
        preview.head_from for preview in settings if isinstance(preview, FineTuneSettings)
    } - {None}
    return sum(
        FLOAT_BYTES
        * preview.workload.learner.count()
        * preview.trial.cell.most
        // preview.trial.cell.trials
        for preview in previews
        if preview.trial.cell.benchmark in wanted
    )


def _fetched_bytes(estimate: ResourceEstimate, resources: Sequence[Resource]) -> Iterator[int]:
    """Yield what must fit on the disk of each thing that a run would fetch."""
    wanted = {estimate.facts.title}
    for cell in estimate.plan.cells:
        if isinstance(cell.settings, TransferSettings):
            wanted |= {f"{cell.settings.backbone} {name}" for name in cell.settings.releases}
    for resource in resources:
        if resource.name in wanted and not resource.is_here and resource.download_bytes:
            home = (
                REGISTRY[weights_home(*resource.name.split(" "))] if " " in resource.name else None
            )
            yield (home or REGISTRY[resource.name]).needed_bytes


def _folder(path: Path, *, needed_bytes: int, has_size: bool = False) -> Folder:
    """Return what can be said of a folder that may not be there yet."""
    # Unlike Path.exists, no error where a folder above may not be looked into.
    there = next(p for p in (path, *path.absolute().parents) if os.access(p, os.F_OK))
    obstacle = ""
    if not there.is_dir():
        obstacle = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        obstacle = f"no permission to write in {there}"
    return Folder(
        path=path,
        free_bytes=shutil.disk_usage(there).free,
        needed_bytes=needed_bytes,
        held_bytes=_held_bytes(path) if has_size else 0,
        obstacle=obstacle,
    )


def _held_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files; of very many, those of the first."""
    held, count, waiting = 0, 0, [folder]
    while waiting and count < _FILES_COUNTED:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        held += entry.stat(follow_symlinks=False).st_size
        except OSError:
            # Gone meanwhile, or not ours to read.
            continue
    return held
