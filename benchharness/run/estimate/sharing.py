"""Shared memory that loaders of image files need, against what there is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchharness.doctor.check import Finding, size
from benchharness.run.dry_run import TrialPreview
from benchharness.run.inputs import Subset

SHARED = Path("/dev/shm")
REMEDY = (
    f"give {SHARED} more room (docker run --shm-size=1g, or mount -o remount,size=1g {SHARED}), or "
    "set a smaller batch_size or threads"
)
# Batches that each process of a loader makes ahead.
_AHEAD = 2


def shared_bytes(one: TrialPreview, *, cores: int) -> int:
    """Return what a loader with a process for each thread shares at its fullest: uint8 images.

    0 where the trial loads no files.
    """
    settings = one.trial.cell.settings
    if settings.input != "files":
        return 0
    image = Subset.of(one.trial.cell).image_size ** 2 * one.channels
    return (settings.threads or cores) * _AHEAD * settings.batch_size * image


def sharing_findings(
    forecasts: Sequence[TrialPreview], *, cores: int, shared: Path = SHARED
) -> Iterator[Finding]:
    """Yield what loading files needs of shared memory; nothing where no files are loaded."""
    needed = max((shared_bytes(one, cores=cores) for one in forecasts), default=0)
    if not needed or not shared.is_dir():
        return
    free = shutil.disk_usage(shared).free
    yield Finding(
        mark="warn" if free < needed else "ok",
        subject="shared memory",
        text=f"{shared}: {size(free)} free; loading files in processes may need {size(needed)}",
        remedy=REMEDY if free < needed else "",
    )
