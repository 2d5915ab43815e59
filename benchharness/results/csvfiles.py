"""trials.csv, epochs.csv and summary.csv: derived from the records, always replaced whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.results.derived import with_one_peak
from benchharness.results.record import Record
from benchharness.results.tables import Row, epoch_rows, summary_rows, trial_rows
from benchharness.files import atomic_write_text, unwritten

# The last four are = + - @ as East Asian keyboards have them, which spreadsheets take for the same.
_FORMULA_STARTS = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

TABLES = {"trials.csv": trial_rows, "epochs.csv": epoch_rows, "summary.csv": summary_rows}


def write_csv_files(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write the three tables of a run, numbers unrounded, unknown values empty.

    Returns:
        The files, in the order of ``TABLES``.

    Raises:
        RunError: The folder cannot be written.
    """
    paths, records = [], with_one_peak(records)
    for name, rows in TABLES.items():
        path = folder / name
        try:
            atomic_write_text(path, csv_text(rows(records)))
        except OSError as error:
            raise RunError(
                f"{path}: expected to be able to write here, found: {unwritten(error)}; "
                "the records are whole, and "
                "`benchharness report` makes this file from them"
            ) from error
        paths.append(path)
    return paths


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows that share their columns as CSV; empty when there are none."""
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return repr(value)
    # The writer quotes a line feed alone: readers would take a carriage return for another row.
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    # Spreadsheets run text that starts like a formula; an apostrophe makes them show it.
    return f"'{text}" if text.lstrip(" \xa0").startswith(_FORMULA_STARTS) else text
