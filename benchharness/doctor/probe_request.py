"""What is asked of a gauge: to look at one backend, and to measure it, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeRequest:
    """One backend to look at.

    Attributes:
        plugin: Its entry point.
        options: As a suite states them.
        spawned_s: Monotonic seconds at which the process was started.
    """

    program: ClassVar[str] = "benchharness.doctor.probe"

    plugin: str
    options: Mapping[str, Any]
    device: Literal["cpu", "gpu"]
    threads: int
    spawned_s: float = 0.0

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> GaugeRequest:
        """Return the request that ``write`` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
