"""Features: the outputs of a frozen network for every image, stored by content."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, file_digest, json_digest, remove_dir, unwritten
from benchharness.measure.clock import now_s
from benchharness.measure.machine import machine_kind, recorded_variables
from benchharness.model.network import Network, Shape
from benchharness.model.task import Task
from benchharness.model.work import Batches, Extraction
from benchharness.plugins import code_digest, find, package_digest
from benchharness.suite.settings import BottleneckSettings
from benchharness.worker.context import TrialContext, Weights
from benchharness.worker.progress import ProgressReporter
from benchharness.worker.training_loop import warmup_batches

_FEATURES, _META = "features.npy", "meta.json"
# No extraction takes longer.
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Outputs of a frozen network, a memory map of a row per image of the dataset.

    ``seconds`` is what computing them took, perhaps in an earlier trial.
    """

    values: NDArray[np.float32]
    seconds: float
    is_reused: bool


def front_features(context: TrialContext, front: Network, weights: Weights) -> Features:
    """Return the front's outputs for every image, computed now or read from the cache."""
    task = context.image_task(front, weights=weights, trainable=())
    folder, settings = Path(context.request.features_folder), context.settings
    may_reuse = not isinstance(settings, BottleneckSettings) or settings.reuse_features
    with context.clock.phase("data"):
        key = _content_key(context, task)
        features = load_features(folder, key) if may_reuse else None
    if features is None:
        images = context.prepared.images
        everything = context.batches(images, np.arange(len(images)))
        with context.clock.phase("build"):
            extraction = context.backend.extract(task)
        with context.clock.phase("compile"):

            def extract() -> None:
                for _ in extraction.extract(warmup_batches(everything)):
                    extraction.synchronize()

            extract()
            context.warm_device(extract)
        with context.clock.phase("extract"):
            features = compute_features(
                folder,
                key,
                extraction=extraction,
                batches=everything,
                shape=task.network.output_shape,
                now=now_s,
                progress=context.reporter("extract", len(images)),
            )
        context.clock.keep("extract", features.seconds, rest="store")
    context.metrics.update(
        extract_s=features.seconds,
        extract_reused=features.is_reused,
        extract_images_per_s=len(features.values) / features.seconds,
    )
    return features


def _content_key(context: TrialContext, task: Task) -> str:
    """Return a digest of everything that decides the features."""
    # Weights that are drawn depend on the seed, learnt ones do not.
    digest = (context.request.pretrained or {}).get("digest", "random")
    facts = {
        "data": context.prepared.digest,
        "layers": [repr(layer) for layer in task.network.layers],
        "weights": digest if digest != "random" else f"random {context.request.seed}",
        "preprocessing": context.settings.preprocessing,
        "fitted": repr(context.preprocessing),
        "execution": asdict(task.execution),
        "backend": [context.request.plugin, dict(context.request.options)],
        "code": [package_digest("benchharness"), code_digest(find(context.request.plugin))],
        # Folders may be shared by machines, whose seconds are stored as well.
        "machine": machine_kind(os.environ),
        "versions": dict(context.backend.versions()),
        "variables": recorded_variables(os.environ),
    }
    return json_digest(facts)


def load_features(folder: Path, key: str) -> Features | None:
    """Return the stored features, or None where there are none that are whole."""
    file = folder / key / _FEATURES
    try:
        meta = json.loads((folder / key / _META).read_text(encoding="utf-8"))
        seconds, digest = meta["seconds"], meta["sha256"]
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        # After a power cut a file may be of the right length and hold something else.
        is_whole = file_digest(file) == digest
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Features(values=values, seconds=seconds, is_reused=True) if is_whole else None


def compute_features(
    folder: Path,
    key: str,
    *,
    extraction: Extraction,
    batches: Batches,
    shape: Shape,
    now: Callable[[], float],
    progress: ProgressReporter,
) -> Features:
    """Run every batch through the extraction and store the outputs.

    The batches are all images in the order of their ids, not augmented; ``shape`` is that of one
    image's features. Reporting progress does not count.

    Raises:
        DatasetError: The disk has no room for them, or cannot be written.
    """
    _remove_abandoned(folder)
    partial, target = folder / f".{key}-{uuid.uuid4().hex[:8]}", folder / key
    try:
        count = sum(len(batch) for batch in batches)
        values = _room_for((count, *shape), partial / _FEATURES)
        started_s = now()
        row = 0
        for outputs in extraction.extract(batches):
            values[row : row + len(outputs)] = outputs
            row += len(outputs)
            if progress.is_due():
                paused_s = now()
                progress.report(done=row, timed_s=paused_s - started_s)
                started_s += now() - paused_s
        extraction.synchronize()
        seconds = now() - started_s
        values.flush()
        meta = {"seconds": seconds, "sha256": file_digest(partial / _FEATURES)}
        (partial / _META).write_text(json.dumps(meta), encoding="utf-8")
        # Damaged, or of another trial.
        remove_dir(target)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    stored = np.load(target / _FEATURES, mmap_mode="r", allow_pickle=False)
    return Features(values=stored, seconds=seconds, is_reused=False)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed extractions have left a day ago or earlier: it has its full size."""
    for left in folder.glob(".*-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _room_for(shape: tuple[int, ...], file: Path) -> np.memmap[Any, np.dtype[np.float32]]:
    """Return a new memory map, all of whose bytes have their place on the disk.

    A map that outgrows the disk would end the process without a word.
    """
    try:
        file.parent.mkdir(parents=True)
        values = open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except OSError as error:
        needed = np.dtype(np.float32).itemsize * math.prod(shape)
        raise DatasetError(
            f"{file.parent.parent}: cannot write {needed / 1e6:,.1f} MB of features: "
            f"{unwritten(error, elsewhere=ANOTHER_CACHE)}"
        ) from error
    return values
