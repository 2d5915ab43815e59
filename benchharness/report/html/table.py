"""The main table for the page: the terminal's measures, with headings that belong to columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchharness.report.column_groups import Group
from benchharness.report.html.proofs import Proof, anchor_of
from benchharness.report.metric_columns import STATUS_WORDS, groups_of
from benchharness.report.rows import Line

VERDICTS = {"proven": "good", "partial": "bad", "not comparable": "bad"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        mood: ``good``, ``bad``, ``warn`` or empty.
        anchor: What it links to within the page; empty for nothing.
        is_first: Whether it begins a group of columns.
    """

    text: str
    mood: str
    anchor: str
    is_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The table.

    Attributes:
        groups: Its measures, from left to right.
        rows: A name and the cells behind it.
    """

    groups: tuple[Group, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def table_of(lines: Sequence[Line], backends: Sequence[str], proofs: Sequence[Proof]) -> Table:
    """Return the table of a run; without lines it is empty."""
    groups = groups_of(lines, backends, is_detailed=True) if lines else []
    rows = (
        (
            line.label,
            tuple(
                _cells(
                    groups,
                    index,
                    anchor_of(line, proofs),
                    is_native=line.recorded[0].track == "native",
                )
            ),
        )
        for index, line in enumerate(lines)
    )
    return Table(groups=tuple(groups), rows=tuple(rows))


def _cells(groups: Sequence[Group], index: int, anchor: str, *, is_native: bool) -> list[Cell]:
    # Nobody expects native rows to do the same work, so that their verdict is no bad news.
    return [
        Cell(
            text=text.strip(),
            mood="" if is_native and text in VERDICTS else _mood(text.strip()),
            anchor=anchor if group.title == "same work" and text in VERDICTS else "",
            is_first=position == 0,
        )
        for group in groups
        for position, text in enumerate(group.rows[index])
    ]


def _mood(text: str) -> str:
    if text in STATUS_WORDS.values() or text == "missed":
        return "bad"
    if text.endswith("!") or text == "differ":
        return "warn"
    return VERDICTS.get(text, "")
