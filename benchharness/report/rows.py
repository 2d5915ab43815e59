"""Rows of the results table, and text and numbers as reports write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.measure.sanity import flags
from benchharness.results.cells import Cell, Number, cells_of
from benchharness.results.record import Record, with_disturbance, with_one_peak

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
UNKNOWN = "-"
MAX_DECIMALS = 3
# Above this share of a step, a ratio of speeds compares feeding and adapters as much as frameworks.
NOTABLE_ABOVE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table.

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

    def by_backend(self) -> list[Row]:
        """Return one row per backend, for terminals too narrow to set them side by side."""
        return [
            Row(name=f"{self.name}, {printable(cell.backend)}", cells=(cell,))
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


def rows_of(
    records: Sequence[Record], backends: Sequence[str], *, cores: int | None = None
) -> list[Row]:
    """Return the rows of a table in the order in which their first trials were recorded.

    Args:
        records: The last of each trial.
        backends: In the order of the table.
        cores: Of the machine; decides which trials were disturbed.
    """
    cells = cells_of(with_disturbance(with_one_peak(records), cores))
    shows_track = len({cell.track for cell in cells}) > 1
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(_name(cell, shows_track=shows_track), {})[cell.backend] = cell
    return [
        Row(name=name, cells=tuple(by_backend.get(backend) for backend in backends))
        for name, by_backend in rows.items()
    ]


def raised_flags(cell: Cell) -> list[str]:
    """Return what looks wrong with any trial of a cell, each flag once."""
    return list(dict.fromkeys(flag for trial in cell.trials for flag in flags(trial)))


def notable_outside_share(cell: Cell) -> float | None:
    """Return the share of a step outside the framework's computation; None where it is small."""
    share = cell.median("outside_fraction")
    return share if share is not None and share > NOTABLE_ABOVE else None


def cell_label(row: Row, cell: Cell) -> str:
    """Return how notes name a cell."""
    return f"{row.name} ({printable(cell.backend)})"


def printable(text: object) -> str:
    """Return text on one line without control characters, which a log may bring along."""
    plain = COLOUR_CODE.sub("", str(text))
    visible = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(visible.split())


def alike(values: Sequence[float | None], *, digits: int = 3) -> list[str]:
    """Return numbers with the same count of decimals, enough for the smallest of them.

    Args:
        values: None where unknown.
        digits: Significant digits of the smallest, within ``MAX_DECIMALS``.
    """
    sizes = [abs(value) for value in values if value]
    leading = math.floor(math.log10(min(sizes))) if sizes else digits
    decimals = min(MAX_DECIMALS, max(0, digits - 1 - leading))
    return [UNKNOWN if value is None else f"{value:,.{decimals}f}" for value in values]


def share(value: float | None) -> str:
    """Return a share of 0-1 with four decimals, as accuracies are published."""
    return UNKNOWN if value is None else f"{value:.4f}"


def aligned(texts: Sequence[str]) -> list[str]:
    """Return texts of one width, right-aligned."""
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def _name(cell: Cell, *, shows_track: bool) -> str:
    point = ", ".join(f"{setting}={value}" for setting, value in cell.matrix)
    track = f" ({cell.track})" if shows_track else ""
    return printable(cell.benchmark + (f" [{point}]" if point else "") + track)
