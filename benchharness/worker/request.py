"""What the runner asks of a worker: one trial, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Everything a worker needs; it looks nowhere else.

    Attributes:
        plugin: Entry point of the backend.
        options: The suite's options for it.
        settings: A benchmark's settings, as ``settings_from_dict`` reads them.
        prepared: The dataset, as ``Prepared.from_dict`` reads it.
        pretrained: Backbone weights, as ``Pretrained.from_dict`` reads them; None for none.
        head_file: Safetensors file of a trained head to start from; None for fresh weights.
        weights_file: Where to write what was learnt, for another benchmark; None to keep nothing.
        features_folder: Cache of extracted features.
        files: Image files for the backend's own loader, as ``FileSource`` takes them; None where
            training reads prepared images.
        native: What the suite states of the optimizer, in the native track; None in the equal one.
        resident_bytes: Most that all inputs may have to stay on the device; 0 on a CPU, where
            they are in its memory already.
        spawned_s: Monotonic seconds at which the runner started the worker.
    """

    program: ClassVar[str] = "benchharness.worker.main"

    plugin: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    prepared: Mapping[str, Any]
    pretrained: Mapping[str, Any] | None
    head_file: str | None
    weights_file: str | None
    features_folder: str
    device: Literal["cpu", "gpu"]
    threads: int
    seed: int
    spawned_s: float
    files: Mapping[str, Any] | None = None
    native: Mapping[str, str | float] | None = None
    resident_bytes: int = 0

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> TrialRequest:
        """Return the request that ``write`` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
