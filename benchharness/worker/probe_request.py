"""What the certifier asks of a prober: the cells of one backend, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from benchharness.worker.request import TrialRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """Cells of one backend to probe, one after the other.

    Attributes:
        cells: As for their trials.
        files: Where each cell's probe goes.
        is_reference: Whether this is the slow backend, which leaves out what takes too long.
        spawned_s: Monotonic seconds at which the prober was started.
    """

    program: ClassVar[str] = "benchharness.worker.prober"

    cells: tuple[TrialRequest, ...]
    files: tuple[str, ...]
    is_reference: bool
    spawned_s: float = 0.0

    def write(self, path: Path) -> None:
        """Write the request as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> ProbeRequest:
        """Return the request that ``write`` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        cells = tuple(TrialRequest(**cell) for cell in data.pop("cells"))
        return cls(cells=cells, files=tuple(data.pop("files")), **data)
