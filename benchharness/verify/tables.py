"""Verification of the CSV files, cell by cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchharness.results.cells import worst_proof
from benchharness.results.columns import METRICS
from benchharness.results.record import Record, with_one_peak
from benchharness.results.tables import TABLES, epoch_rows, trial_rows
from benchharness.verify.findings import Findings, is_same
from benchharness.verify.trials import is_older

Row = Mapping[str, Any]
_TRIALS, _EPOCHS, _SUMMARY = TABLES
_PEAK = ("peak_flops_per_s", "peak_source", "fraction_of_peak")


def check_tables(
    texts: Mapping[str, str], records: Sequence[Record], findings: Findings, *, within: str = ""
) -> None:
    """Compare the CSV files, by name, with the records, and summary.csv with trials.csv.

    ``within`` is the file that they are part of; empty where they are files themselves.
    """
    tables = {name: list(csv.DictReader(io.StringIO(text))) for name, text in texts.items()}
    trials, compared = tables.get(_TRIALS, []), with_one_peak(records)
    of_epochs = [record for record in records for _ in record["epochs"]]
    # Of what trials.csv holds, for medians are not to be taken by what took them.
    of_cells = list(_summary(trials, records)) if len(trials) == len(records) else []
    expected: dict[str, list[tuple[Row, Record]]] = {
        _TRIALS: list(zip(trial_rows(compared), records, strict=True)),
        _EPOCHS: list(zip(epoch_rows(records), of_epochs, strict=True)),
        _SUMMARY: [(row, {}) for row in of_cells],
    }
    for name, rows in expected.items():
        where = f"{within}: {name}" if within else name
        if name not in tables:
            findings.skip(f"{where}, which is not there")
            continue
        findings.compare(f"{where}: rows", len(rows), len(tables[name]))
        header = list(tables[name][0]) if rows and tables[name] else []
        known = TABLES[name](compared)[0] if header else {}
        if lacking := [column for column in known if column not in header]:
            findings.skip(f"{where}: {', '.join(lacking)}, which it lacks")
        if unknown := [str(column) for column in header if column not in rows[0][0]]:
            findings.skip(f"{where}: {', '.join(unknown)}, which no record has")
        for number, ((row, record), row_texts) in enumerate(zip(rows, tables[name], strict=False)):
            _check_row(f"{where}: line {number + 2}", row, row_texts, record, findings)


def _check_row(
    where: str, row: Row, texts: Mapping[str, str], record: Record, findings: Findings
) -> None:
    """Compare a row with that of a record; of no record where it is one of several trials."""
    numbers = (f", {name} {texts[name]}" for name in ("trial", "epoch") if name in texts)
    where = f"{where} ({texts.get('benchmark')} {texts.get('backend')}{''.join(numbers)})"
    for column in (column for column in row if column in texts):
        text, measured = texts[column] or "", record.get("metrics", {}).get(column)
        if column in _PEAK and not _is(row[column], text) and _is(measured, text):
            findings.skip(f"{column} of each trial, which older versions did not hold against one")
            continue
        # A mean in float32.
        is_single = bool(record) and is_older(record) and column.endswith("_top1")
        findings.figures += 1
        if not _is(row[column], text, within=1e-6 if is_single else 1e-12):
            findings.add(f"{where}, {column}", row[column], text)


def _summary(trials: Sequence[Row], records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """Yield the rows of summary.csv by those of trials.csv, the records' in the same order."""
    header = list(trials[0]) if trials else ["trial"]
    identity = header[: header.index("trial")]
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for place, row in enumerate(trials):
        key = (*(row[name] for name in identity), row.get("machine"))
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        rows, last = [trials[place] for place in places], records[places[-1]]
        ok = [row for row in rows if row["status"] == "ok"]
        failed = [row["reason"] or row["status"] for row in rows if row["status"] != "ok"]
        flags = [flag for row in rows for flag in row["flags"].split("; ") if flag]
        target = last["settings"].get("target_top1")
        missed = sum(not row["time_to_top1_s"] for row in ok)
        summary: dict[str, Any] = {
            **{name: rows[0][name] for name in identity},
            "machine": rows[0].get("machine"),
            "trials": len(rows),
            "trials_ok": len(ok),
            "reasons": "; ".join(dict.fromkeys(failed)),
            "proof": worst_proof(row["proof"] for row in ok or rows),
            "target_top1": target,
            "target_misses": None if target is None else missed,
            "flags": "; ".join(dict.fromkeys(flags)),
        }
        for name in ("top1", "epoch_s", "note"):
            summary[f"published_{name}"] = (last.get("published") or {}).get(name)
        for name in (column.name for column in METRICS if column.is_number):
            if name in header:
                values = [float(row[name]) for row in ok if row[name]]
                summary[name] = median(values) if values else None
                summary[f"{name}_min"] = min(values, default=None)
                summary[f"{name}_max"] = max(values, default=None)
        yield summary


def _is(expected: Any, text: str, *, within: float = 1e-12) -> bool:
    """Return whether a cell holds a value."""
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        try:
            return is_same(expected, float(text), within=within)
        except ValueError:
            return False
    words = "" if expected is None else str(expected).replace("\r\n", "\n").replace("\r", "\n")
    # An apostrophe keeps spreadsheets from running a text.
    return text in (words, f"'{words}")
