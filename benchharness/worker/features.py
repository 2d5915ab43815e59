"""Features: the outputs of a frozen network for every image, stored by content."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchharness.errors import DatasetError
from benchharness.files import ANOTHER_CACHE, file_digest, unwritten
from benchharness.model.network import Shape
from benchharness.model.work import Batches, Extraction
from benchharness.worker.progress import ProgressReporter

_FEATURES, _META = "features.npy", "meta.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Outputs of a frozen network.

    Attributes:
        values: float32 memory map, one row per image of the dataset, channels last.
        seconds: What computing them took, whenever that was.
        is_reused: Whether an earlier trial computed them.
    """

    values: NDArray[np.float32]
    seconds: float
    is_reused: bool


def content_key(facts: Mapping[str, Any]) -> str:
    """Return a digest of everything that decides the features."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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

    Args:
        batches: All images of the dataset in the order of their ids, not augmented.
        shape: Of one image's features.
        now: Monotonic clock in seconds.
        progress: Reports how far it has come; the time that takes does not count.

    Raises:
        DatasetError: The disk has no room for them, or cannot be written.
    """
    extraction_into = folder / f".{key}-{uuid.uuid4().hex[:8]}"
    try:
        count = sum(len(batch) for batch in batches)
        file = extraction_into / _FEATURES
        values = _room_for((count, *shape), file)
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
        meta = {"seconds": seconds, "sha256": file_digest(file)}
        (extraction_into / _META).write_text(json.dumps(meta), encoding="utf-8")
        _publish(extraction_into, folder / key)
    finally:
        shutil.rmtree(extraction_into, ignore_errors=True)
    stored = np.load(folder / key / _FEATURES, mmap_mode="r", allow_pickle=False)
    return Features(values=stored, seconds=seconds, is_reused=False)


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


def _publish(source: Path, target: Path) -> None:
    """Move a finished folder to its place; one that is there, perhaps damaged, is removed."""
    if target.exists():
        retired = target.with_name(f".old-{uuid.uuid4().hex[:8]}")
        target.replace(retired)
        shutil.rmtree(retired, ignore_errors=True)
    source.replace(target)
