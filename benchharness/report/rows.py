"""Lines of the results table: one per benchmark and matrix point, with a cell per backend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.measure.sanity import flags
from benchharness.results.cells import Cell, Number, cells_of
from benchharness.results.derived import with_disturbance, with_one_peak
from benchharness.results.record import Record

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        name: The benchmark, ``[setting=value]`` for its matrix point, ``(track)`` where a run has
            several.
        cells: One per backend, in the order of the table; None where nothing is recorded.
    """

    name: str
    cells: tuple[Cell | None, ...]

    @property
    def recorded(self) -> tuple[Cell, ...]:
        """The cells that have trials."""
        return tuple(cell for cell in self.cells if cell is not None)

    @property
    def label(self) -> str:
        """Name and number of trials behind each median, where any has several."""
        counts = [len(cell.ok) for cell in self.recorded]
        if max(counts, default=0) < 2:
            return self.name
        shown = dict.fromkeys(counts) if len(set(counts)) == 1 else counts
        return f"{self.name} (n={'/'.join(map(str, shown))})"

    def distinct(self, metric: str) -> set[Number]:
        """Return the medians of a metric that its backends report; one where they agree."""
        values = (cell.median(metric) for cell in self.recorded)
        return {value for value in values if value is not None}

    def by_backend(self) -> list[Line]:
        """Return one line per backend, for terminals too narrow to set them side by side."""
        return [
            Line(name=f"{self.name}, {printable(cell.backend)}", cells=(cell,))
            for cell in self.recorded
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A remark below the table: what kind, and the sentence."""

    label: str
    text: str


def backends_of(run: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the backends that have records, in the order in which the run names them."""
    seen = list(dict.fromkeys(record["backend"] for record in records))
    named = [backend for backend in run.get("backends") or () if backend in seen]
    return list(dict.fromkeys([*named, *seen]))


def cores_of(run: Mapping[str, Any]) -> int | None:
    """Return the number of cores of a run's machine; None where unknown."""
    cores: int | None = (run.get("environment") or {}).get("cores")
    return cores


def lines_of(
    records: Sequence[Record], backends: Sequence[str], *, cores: int | None = None
) -> list[Line]:
    """Return the lines of a table in the order in which their first trials were recorded.

    Args:
        records: The last of each trial.
        backends: In the order of the table.
        cores: Of the machine; decides which trials were disturbed.
    """
    cells = cells_of(with_disturbance(with_one_peak(records), cores))
    shows_track = len({cell.track for cell in cells}) > 1
    lines: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        lines.setdefault(_name(cell, shows_track=shows_track), {})[cell.backend] = cell
    return [
        Line(name=name, cells=tuple(by_backend.get(backend) for backend in backends))
        for name, by_backend in lines.items()
    ]


def raised_flags(cell: Cell) -> list[str]:
    """Return what looks wrong with any trial of a cell, each flag once."""
    return list(dict.fromkeys(flag for trial in cell.trials for flag in flags(trial)))


def where(line: Line, cell: Cell) -> str:
    """Return how remarks name a cell."""
    return f"{line.name} ({printable(cell.backend)})"


def printable(text: object) -> str:
    """Return text on one line without control characters, which a log may bring along."""
    plain = COLOUR_CODE.sub("", str(text))
    visible = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(visible.split())


def _name(cell: Cell, *, shows_track: bool) -> str:
    point = ", ".join(f"{setting}={value}" for setting, value in cell.matrix)
    track = f" ({cell.track})" if shows_track else ""
    return printable(cell.benchmark + (f" [{point}]" if point else "") + track)
