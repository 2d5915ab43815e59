"""Result tables: rows as dictionaries, numbers unrounded, and the CSV files made of them.

A setting of the matrix is a column of its own name, or ``matrix.<name>`` where another column
has that name. Where a benchmark's matrix lacks a setting, its rows hold None there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.files import atomic_write_text, unwritten
from benchharness.results.cells import cells_of
from benchharness.results.columns import (
    CELL,
    EPOCH,
    METRICS,
    ORIGIN,
    SPREAD,
    TRIAL,
    Column,
    matrix_column,
)
from benchharness.results.record import Record, failed_in, measured, with_one_peak

Row = dict[str, Any]
# The last four are = + - @ as East Asian keyboards have them, which spreadsheets take for the same.
_FORMULA_STARTS = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def trial_rows(records: Sequence[Record]) -> list[Row]:
    """Return one row per trial; last are the metrics that meters of plugins added, METER.NAME."""
    settings = _matrix_settings(records)
    added = sorted({name for record in records for name in record["metrics"] if "." in name})
    return [
        _identity(record, settings)
        | _pick(record, TRIAL)
        | {
            "ledger": (record.get("ledger") or {}).get("verdict"),
            "flags": _join(record.get("flags", ())),
            "failed_in": failed_in(record),
            "attempts": len(record.get("attempts", ())) + 1,
        }
        | {column.name: measured(record["metrics"], column.name) for column in METRICS}
        | _pick(record, ORIGIN)
        | {name: record["metrics"].get(name) for name in added}
        for record in records
    ]


def epoch_rows(records: Sequence[Record]) -> list[Row]:
    """Return one row per epoch of every trial."""
    settings = _matrix_settings(records)
    return [
        _identity(record, settings)
        | {"trial": record["trial"], "seed": record["seed"]}
        | _pick(epoch, EPOCH)
        for record in records
        for epoch in record["epochs"]
    ]


def summary_rows(records: Sequence[Record]) -> list[Row]:
    """Return one row per cell: medians over its ok trials, and the spread of the main ones."""
    settings = _matrix_settings(records)
    rows = []
    for cell in cells_of(records):
        row = _identity(cell.trials[0], settings) | {
            "machine": cell.machine,
            "trials": len(cell.trials),
            "trials_ok": len(cell.ok),
            "reasons": _join(reason for _, reason in cell.failures),
            "proof": cell.proof,
            "target_top1": cell.target_top1,
            "target_misses": cell.target_misses,
            "flags": _join(flag for trial in cell.trials for flag in trial.get("flags", ())),
        }
        for column in METRICS:
            if column.is_number:
                row[column.name] = cell.median(column.name)
            if column.name in SPREAD:
                values = cell.values(column.name)
                row[f"{column.name}_min"] = min(values, default=None)
                row[f"{column.name}_max"] = max(values, default=None)
        row |= {f"published_{name}": cell.published(name) for name in ("top1", "epoch_s", "note")}
        rows.append(row)
    return rows


def _matrix_settings(records: Iterable[Record]) -> list[str]:
    """Return every setting that some matrix varies, in the order of first occurrence."""
    return list(dict.fromkeys(setting for record in records for setting in record["matrix"]))


def _join(parts: Iterable[str]) -> str:
    """Return several texts as one cell, each once."""
    return "; ".join(dict.fromkeys(parts))


def _identity(record: Record, settings: Iterable[str]) -> Row:
    matrix = {matrix_column(setting): record["matrix"].get(setting) for setting in settings}
    return _pick(record, CELL) | matrix


def _pick(source: Mapping[str, Any], columns: Iterable[Column]) -> Row:
    return {column.name: source.get(column.name) for column in columns}


TABLES = {"trials.csv": trial_rows, "epochs.csv": epoch_rows, "summary.csv": summary_rows}


def write_csv_files(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Write ``TABLES`` of a run, numbers unrounded, unknown values empty; return the files.

    Raises:
        RunError: The folder cannot be written.
    """
    records = with_one_peak(records)
    for name, rows in TABLES.items():
        path = folder / name
        try:
            atomic_write_text(path, csv_text(rows(records)))
        except OSError as error:
            raise RunError(
                f"{path}: expected to be able to write here, found: {unwritten(error)}; "
                "the records are whole, and `benchharness report` makes this file from them"
            ) from error
    return [folder / name for name in TABLES]


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
