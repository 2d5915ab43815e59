"""Identity of a cell: benchmark, point of its matrix, track and backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CellKey = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellName:
    """Names of a cell of a plan or of a run.

    Attributes:
        matrix: The settings that the benchmark varies, as written; empty when none.
    """

    benchmark: str
    strategy: str
    backend: str
    track: str
    matrix: Mapping[str, Any]

    @property
    def key(self) -> CellKey:
        """Its key, unique within a plan."""
        return cell_key(self.benchmark, self.matrix, self.track, self.backend)

    @property
    def group_key(self) -> CellKey:
        """The key of its group: the same for all cells that it is compared with."""
        return cell_key(self.benchmark, self.matrix, self.track)

    @property
    def label(self) -> str:
        """Its name for people."""
        return cell_label(self.benchmark, self.matrix, self.track, self.backend)


def cell_key(benchmark: str, matrix: Mapping[str, Any], track: str, backend: str = "") -> CellKey:
    """Return what two records, cells or plans of one cell have in common.

    Args:
        benchmark: Its name.
        matrix: Settings that vary, in any order.
        track: Its track.
        backend: Its name; empty where cells of several backends are one.
    """
    # repr: a value may be a list, and 1 and True are two points.
    return benchmark, repr(sorted(matrix.items())), track, backend


def cell_label(benchmark: str, matrix: Mapping[str, Any], track: str, backend: str = "") -> str:
    """Return ``bottleneck batch_size=64 torch (native)``: the equal track goes without saying."""
    point = (f"{key}={value}" for key, value in matrix.items())
    named_track = "" if track == "equal" else f"({track})"
    return " ".join(filter(None, [benchmark, *point, backend, named_track]))
