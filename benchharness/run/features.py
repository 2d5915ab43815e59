"""What a frozen network gives for every image, computed once and stored by content."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchharness.model.network import Shape
from benchharness.model.work import Batches, Extraction
from benchharness.run.advance import Advance


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
    try:
        seconds = json.loads((folder / key / "meta.json").read_text(encoding="utf-8"))["seconds"]
        values = np.load(folder / key / "features.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError):
        return None
    return Features(values=values, seconds=seconds, is_reused=True)


def compute_features(
    folder: Path,
    key: str,
    *,
    extraction: Extraction,
    batches: Batches,
    shape: Shape,
    now: Callable[[], float],
    advance: Advance,
) -> Features:
    """Run every batch through the extraction and store the outputs.

    Args:
        batches: All images of the dataset in the order of their ids, not augmented.
        shape: Of one image's features.
        now: Monotonic clock in seconds.
        advance: Told how far it has come; the time that takes does not count.
    """
    extraction_into = folder / f".{key}-{uuid.uuid4().hex[:8]}"
    extraction_into.mkdir(parents=True)
    try:
        count = sum(len(batch) for batch in batches)
        file = extraction_into / "features.npy"
        values = open_memmap(file, mode="w+", dtype=np.float32, shape=(count, *shape))
        started_s = now()
        row = 0
        for outputs in extraction.extract(batches):
            values[row : row + len(outputs)] = outputs
            row += len(outputs)
            if advance.is_due():
                paused_s = now()
                advance.tell(done=row, timed_s=paused_s - started_s)
                started_s += now() - paused_s
        extraction.synchronize()
        seconds = now() - started_s
        values.flush()
        (extraction_into / "meta.json").write_text(json.dumps({"seconds": seconds}))
        _publish(extraction_into, folder / key)
    finally:
        shutil.rmtree(extraction_into, ignore_errors=True)
    stored = np.load(folder / key / "features.npy", mmap_mode="r")
    return Features(values=stored, seconds=seconds, is_reused=False)


def _publish(source: Path, target: Path) -> None:
    """Move a finished folder to its place; whoever came first or was damaged gives way."""
    if target.exists():
        retired = target.with_name(f".old-{uuid.uuid4().hex[:8]}")
        target.replace(retired)
        shutil.rmtree(retired, ignore_errors=True)
    source.replace(target)
