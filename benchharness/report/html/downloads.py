"""Files that the page carries inside, to be saved from it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from benchharness.results.csvfiles import TABLES, csv_text
from benchharness.results.record import Record

MEANINGS = {
    "trials.csv": "a row per trial, all metrics",
    "epochs.csv": "a row per epoch of every trial",
    "summary.csv": "a row per cell, medians over its trials",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One file.

    Attributes:
        href: Its bytes as a ``data:`` address; no script is needed to save it.
        size: In bytes.
    """

    name: str
    meaning: str
    href: str
    size: int


def downloads_of(records: Sequence[Record]) -> list[Download]:
    """Return the CSV files of a run, byte for byte as they lie in its folder."""
    return [_download(name, csv_text(rows(records)).encode()) for name, rows in TABLES.items()]


def _download(name: str, content: bytes) -> Download:
    code = base64.b64encode(content).decode("ascii")
    return Download(
        name=name,
        meaning=MEANINGS[name],
        href=f"data:text/csv;charset=utf-8;base64,{code}",
        size=len(content),
    )
