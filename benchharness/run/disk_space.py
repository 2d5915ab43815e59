"""Disk space that a run takes: decoded images, features, trained heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate import FLOAT_BYTES
from benchharness.run.inputs import Subset
from benchharness.suite.settings import FineTuneSettings, TransferSettings

# What a run writes besides what other benchmarks start from.
RUN_BYTES = 50_000_000


def prepared_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return the disk space of decoded images, each picture of a size once."""
    sizes = {}
    for preview in previews:
        part = Subset.of(preview.trial.cell)
        image = part.image_size**2 * preview.channels
        sizes[part.image_size, part.train_images, part.test_images] = preview.images * image
    return sum(sizes.values())


def features_bytes(previews: Sequence[TrialPreview]) -> int:
    """Return the disk space of stored features: one set for each backend, front and slice."""
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
    cells = [preview.trial.cell for preview in previews]
    wanted = {
        cell.settings.head_from for cell in cells if isinstance(cell.settings, FineTuneSettings)
    } - {None}
    return sum(
        FLOAT_BYTES * preview.workload.learner.count() * cell.most // cell.trials
        for preview, cell in zip(previews, cells, strict=True)
        if cell.benchmark in wanted
    )
