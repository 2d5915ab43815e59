"""Recorded runs: all trials as a pandas table, and the facts of one run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import RunError
from benchharness.results.columns import CELL, METRICS, ORIGIN, TRIAL
from benchharness.results.record import Record, with_one_peak
from benchharness.results.run_folder import RECORDS, RunFolder, runs_of
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

    origins: list[Row] = []
    records: list[Record] = []
    for run in _runs(Path(path)):
        trials, problems = run.records()
        for problem in problems:
            warnings.warn(problem, stacklevel=2)
        origins += [{"suite": run.suite, "run": run.name}] * len(trials)
        records += with_one_peak(trials)
    rows = [origin | row for origin, row in zip(origins, trial_rows(records), strict=True)]
    kinds = {"suite": "text", "run": "text"}
    kinds |= {column.name: column.kind for column in (*CELL, *TRIAL, *METRICS, *ORIGIN)}
    # A run without finished trials has its columns too.
    frame = pd.DataFrame(rows, columns=list(rows[0] if rows else kinds))
    # A matrix may vary any setting, so pandas finds the type of those columns.
    guessed = {str(name): frame[name].convert_dtypes() for name in frame if name not in kinds}
    known = {name: DTYPES[kind] for name, kind in kinds.items() if name in frame}
    return frame.assign(**guessed).astype(known)


def load_run(folder: RunFolder, records: Sequence[Record]) -> tuple[dict[str, Any], list[str]]:
    """Return what run.json says, and warnings.

    Where it is lost or damaged, the records say what they know, named alike. Machine, data and
    weights are unknown then, and left out rather than guessed.
    """
    try:
        return folder.read_run(), []
    except RunError as error:
        run = {
            "suite": folder.suite,
            "backends": list(dict.fromkeys(record["backend"] for record in records)),
            "started": min((record["started"] for record in records), default=None),
        }
        return run, [f"{error}; the report is made from the records alone"]


def _runs(path: Path) -> list[RunFolder]:
    if (path / RECORDS).is_file():
        return [RunFolder.open(path)]
    if runs := runs_of(path):
        return runs[-1:]
    suites = sorted(path.iterdir()) if path.is_dir() else []
    if runs := [run for suite in suites for run in runs_of(suite)]:
        return runs
    raise RunError(
        f"{path}: expected a run's folder, a suite's folder or a results folder, "
        "found nothing recorded; `benchharness run SUITE` makes one"
    )
