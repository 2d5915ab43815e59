"""Recorded trials as a pandas table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.errors import RunError
from benchharness.results.columns import CELL, METRICS, ORIGIN, TRIAL
from benchharness.results.derived import with_one_peak
from benchharness.results.record import Record
from benchharness.results.store import RECORDS, RunFolder, runs_of
from benchharness.results.tables import Row, trial_rows

if TYPE_CHECKING:
    import pandas as pd

DTYPES = {"text": "string", "int": "Int64", "float": "Float64", "bool": "boolean"}


def load_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return one row per trial, unknown values as ``pandas.NA``.

    Columns are ``suite`` and ``run``, then those of trials.csv. A damaged line of records.jsonl
    is a warning, and the rest is read.

    Args:
        path: A run's folder; a suite's folder, for its latest run; or a results folder, for all
            runs of all suites.

    Raises:
        RunError: Nothing was recorded there.
    """
    import pandas as pd

    rows = _rows(_runs(Path(path)))
    columns = _columns(rows)
    frame = pd.DataFrame(rows, columns=columns)
    kinds = {column.name: column.kind for column in (*CELL, *TRIAL, *METRICS, *ORIGIN)}
    kinds |= {"suite": "text", "run": "text"}
    known = {name: DTYPES[kind] for name, kind in kinds.items() if name in columns}
    # A matrix may vary any setting, so pandas finds the type of those columns.
    guessed = {name: frame[name].convert_dtypes() for name in columns if name not in kinds}
    return frame.assign(**guessed).astype(known)


def _runs(path: Path) -> list[RunFolder]:
    if (path / RECORDS).is_file():
        return [RunFolder.open(path)]
    if runs := runs_of(path):
        return runs[-1:]
    suites = sorted(path.iterdir()) if path.is_dir() else []
    found = [run for suite in suites for run in runs_of(suite)]
    if not found:
        raise RunError(
            f"{path}: expected a run's folder, a suite's folder or a results folder, "
            "found nothing recorded; `benchharness run SUITE` makes one"
        )
    return found


def _rows(runs: Iterable[RunFolder]) -> list[Row]:
    origins: list[Row] = []
    records: list[Record] = []
    for run in runs:
        found, problems = run.records()
        for problem in problems:
            warnings.warn(problem, stacklevel=3)
        origins += [{"suite": run.suite, "run": run.name} for _ in found]
        records += with_one_peak(found)
    rows = trial_rows(records)
    return [origin | row for origin, row in zip(origins, rows, strict=True)]


def _columns(rows: list[Row]) -> list[str]:
    """Return the columns, which a run without finished trials has as well."""
    if rows:
        return list(rows[0])
    names = [column.name for column in (*CELL, *TRIAL, *METRICS, *ORIGIN)]
    return ["suite", "run", *names]
