"""Recorded trials in pandas."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from results_records import record

from benchharness import load_results
from benchharness.errors import RunError
from benchharness.results.run_folder import RunFolder

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a results folder: two runs of smoke (one trial, then two), one of cats_dogs."""
    for suite, minutes, trials in (("smoke", 0, 1), ("smoke", 1, 2), ("cats_dogs", 0, 3)):
        run = RunFolder.create(tmp_path, suite, now=NOON + timedelta(minutes=minutes), token="3f9c")
        for trial in range(1, trials + 1):
            run.append(record(trial=trial, matrix={"batch_size": 10 * trial}))
    return tmp_path


@pytest.mark.parametrize(
    ("below", "rows"),
    [("smoke/2026-11-23T120000Z-3f9c", 1), ("smoke", 2), ("smoke/latest", 2), (".", 6)],
)
def test_a_path_gives_the_trials_it_means(results, below, rows):
    """A run gives its trials, a suite those of its latest run, a results folder all."""
    frame = load_results(results / below)

    assert len(frame) == rows


def test_each_row_tells_its_suite_and_run(results):
    """Runs stay apart when all are loaded."""
    frame = load_results(str(results))

    sizes = frame.groupby(["suite", "run"]).size().to_dict()
    assert sizes == {
        ("cats_dogs", "2026-11-23T120000Z-3f9c"): 3,
        ("smoke", "2026-11-23T120000Z-3f9c"): 1,
        ("smoke", "2026-11-23T120100Z-3f9c"): 2,
    }


def test_columns_have_types_that_know_missing_values(tmp_path):
    """Integers stay integers beside a missing one, and unknown is NA rather than 0 or NaN."""
    run = RunFolder.create(tmp_path, "smoke", now=NOON, token="3f9c")
    run.append(record(metrics={"params": 10, "test_top1": 1, "extract_reused": True}))
    run.append(record(trial=2, metrics={}, matrix={"lr": 0.1}))

    frame = load_results(run.path)

    dtypes = frame.dtypes.astype(str)
    assert dtypes["params"] == "Int64"
    assert dtypes["test_top1"] == "Float64"
    assert dtypes["extract_reused"] == "boolean"
    assert dtypes["lr"] == "Float64"
    assert dtypes["benchmark"].startswith("string")
    assert frame["params"].tolist() == [10, pd.NA]


def test_a_run_without_trials_is_an_empty_table_with_columns(tmp_path):
    """Code that selects columns works before the first trial has finished."""
    run = RunFolder.create(tmp_path, "smoke", now=NOON, token="3f9c")

    frame = load_results(run.path)

    assert frame.empty
    assert frame["train_images_per_s"].median() is pd.NA


def test_damage_is_a_warning_and_the_rest_is_read(results):
    """A damaged line is named in a warning; the other trials are there."""
    path = results / "cats_dogs" / "latest" / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"trial":2', b'"trial":9'))

    with pytest.warns(UserWarning, match=r"records\.jsonl:2: "):
        frame = load_results(results / "cats_dogs")

    assert frame["trial"].tolist() == [1, 3]


def test_a_folder_without_runs_is_refused(tmp_path):
    """The message says what was expected and how to get it."""
    with pytest.raises(RunError, match="found nothing recorded; `benchharness run SUITE`"):
        load_results(tmp_path / "nowhere")


def test_only_loading_imports_pandas():
    """Storing results and printing tables start without pandas."""
    code = (
        "import sys, benchharness.report.table, benchharness.results.run_folder, "
        "benchharness.results.tables, benchharness.results.load\n"
        "print([name for name in ('pandas', 'numpy') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
