"""Rows and CSV files: identity first, nothing rounded, unknown never 0."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from results_records import record

from benchharness.errors import RunError
from benchharness.results.columns import CELL, METRICS, SPREAD
from benchharness.results.record import Record, with_one_peak
from benchharness.results.tables import epoch_rows, summary_rows, trial_rows, write_csv_files


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_identity_stands_before_numbers():
    """Names, the matrix, trial, seed, status, reason, proof and flags lead every row."""
    ledger = {"verdict": "as planned", "epochs": 2, "steps": 8, "digest": "1f"}
    one = record(matrix={"batch_size": 10}, flags=["a", "b"], proof="proven", ledger=ledger)
    row = trial_rows([one])[0]

    assert list(row)[:12] == [
        "benchmark", "strategy", "backend", "track", "batch_size",
        "trial", "seed", "status", "reason", "proof", "ledger", "flags",
    ]  # fmt: skip
    assert row["batch_size"] == 10
    assert (row["proof"], row["ledger"]) == ("proven", "as planned")
    assert row["flags"] == "a; b"


def test_unknown_metrics_are_none_and_never_zero():
    """A metric that the record lacks is None in its row."""
    row = trial_rows([record(metrics={"wall_s": 1.5})])[0]

    known = ("wall_s", "total_s")
    assert (row["wall_s"], row["total_s"]) == (1.5, 1.5)
    assert all(row[column.name] is None for column in METRICS if column.name not in known)


def test_the_total_is_without_our_own_checks():
    """Of 20 s, 1 + 0.5 + 0.25 s checked clock, step and batches; in the medians as well."""
    phases = {"calibrate_s": 1.0, "replay_s": 0.5, "ledger_s": 0.25, "test_s": 3.0}
    trials = [record(metrics={"wall_s": 20.0, **phases})]

    (row,), (medians,) = trial_rows(trials), summary_rows(trials)

    assert (row["checks_s"], row["total_s"]) == (1.75, 18.25)
    assert (medians["checks_s"], medians["total_s"]) == (1.75, 18.25)


def test_all_trials_of_a_run_are_held_against_its_best_matrix_product():
    """80 and 200 GFLOP/s of one machine are 200; another precision or thread count has its own."""
    run = [
        trial(80e9),
        trial(200e9, backend="jax"),
        trial(100e9, precision="tf32"),
        trial(50e9, source="numpy", threads=1),
    ]

    held = with_one_peak(run)

    found = [record["metrics"] for record in held]
    assert [metrics["peak_flops_per_s"] for metrics in found] == [200e9, 200e9, 100e9, 50e9]
    assert [metrics["fraction_of_peak"] for metrics in found] == [0.2, 0.2, 0.4, 0.8]
    # On a GPU by the name of the backend.
    assert [metrics["peak_source"] for metrics in found] == ["jax", "jax", "keras", "numpy"]
    assert with_one_peak(held) == held
    assert run[0]["metrics"]["fraction_of_peak"] == 0.5
    assert with_one_peak([record(metrics={})])[0]["metrics"] == {}


def test_a_trial_without_a_product_is_held_against_that_of_the_others():
    """Its device was too full to measure one, which changes nothing about the device."""
    run = [trial(None), trial(160e9, backend="torch")]

    metrics = with_one_peak(run)[0]["metrics"]

    assert (metrics["fraction_of_peak"], metrics["peak_source"]) == (0.25, "torch")


def trial(
    peak: float | None, *, backend: str = "keras", source: str = "backend", **settings: object
) -> Record:
    """Return the record of a trial that trains at 40 GFLOP/s; None for no known peak."""
    metrics = {"train_images_per_s": 10.0, "train_flops_per_image": 4e9}
    if peak is not None:
        shares = {"peak_flops_per_s": peak, "fraction_of_peak": 4e10 / peak}
        metrics |= {"peak_source": source, **shares}
    settings = {"precision": "float32"} | settings
    return record(backend=backend, metrics=metrics, settings=settings)


def test_all_rows_share_their_columns():
    """Benchmarks with and without a matrix stand in one table."""
    rows = trial_rows([record("a", matrix={"lr": 0.1}), record("b"), record("c", matrix={"k": 2})])

    assert [list(row) for row in rows] == [list(rows[0])] * 3
    assert [(row["lr"], row["k"]) for row in rows] == [(0.1, None), (None, None), (None, 2)]


def test_a_matrix_setting_does_not_hide_a_column_of_its_name():
    """A setting called like another column gets a prefix."""
    row = trial_rows([record(matrix={"seed": 7, "run": 1})])[0]

    assert (row["seed"], row["matrix.seed"], row["matrix.run"]) == (42, 7, 1)


def test_epochs_follow_their_trial():
    """There is one row per epoch, from 1."""
    rows = epoch_rows([record(epochs=2), record(trial=2, epochs=1)])

    assert [(row["trial"], row["epoch"], row["train_loss"]) for row in rows] == [
        (1, 1, 0.5),
        (1, 2, 0.25),
        (2, 1, 0.5),
    ]
    assert rows[0]["validation_top1"] is None


def test_a_summary_is_the_median_of_the_trials_that_are_ok():
    """Worked by hand: of 10, 30 and 40 the median is 30; the failed trial's 999 does not count."""
    rates = [(1, 40.0), (2, 10.0), (3, 30.0)]
    published = {"top1": 0.9187, "epoch_s": 51.0, "note": "after 50 epochs"}
    trials = [
        record(trial=trial, metrics={"train_images_per_s": rate}, published=published)
        for trial, rate in rates
    ]
    failed = record(
        trial=4,
        status="failed",
        reason="signal 9",
        metrics={"train_images_per_s": 999.0},
        published=published,
    )

    (row,) = summary_rows([*trials, failed])

    assert row["train_images_per_s"] == 30.0
    assert (row["train_images_per_s_min"], row["train_images_per_s_max"]) == (10.0, 40.0)
    assert (row["trials"], row["trials_ok"], row["reasons"]) == (4, 3, "signal 9")
    assert {name: row[f"published_{name}"] for name in published} == published


def test_a_cell_without_ok_trials_has_no_numbers():
    """A summary of failures is empty where numbers would stand, and says why once."""
    trials = [record(trial=trial, status="oom", reason="killed") for trial in (1, 2)]

    (row,) = summary_rows(trials)

    assert (row["trials_ok"], row["reasons"]) == (0, "killed")
    assert row["train_images_per_s"] is None
    assert all(row[f"{name}_max"] is None for name in SPREAD)


def test_a_summary_holds_the_worst_verdict_of_its_trials():
    """One partial trial makes the cell partial, one that nobody asked for makes it unknown."""
    proofs = {
        "a": ["proven", "proven"],
        "b": ["partial: logits (1)", "proven"],
        "c": ["proven", ""],
    }
    trials = [
        record(name, trial=trial, proof=proof)
        for name, two in proofs.items()
        for trial, proof in enumerate(two, start=1)
    ]

    rows = summary_rows(trials)

    assert [row["proof"] for row in rows] == ["proven", "partial: logits (1)", ""]


def test_a_missed_target_is_counted_and_does_not_count_as_a_time():
    """Of three trials one never gets there: the median is over two, the misses are one."""
    times = (3.0, None, 5.0)
    trials = [
        record(trial=trial, metrics={"time_to_top1_s": time_s}, settings={"target_top1": 0.95})
        for trial, time_s in enumerate(times, start=1)
    ]

    (row,) = summary_rows(trials)

    assert (row["target_top1"], row["target_misses"], row["time_to_top1_s"]) == (0.95, 1, 4.0)
    assert summary_rows([record()])[0]["target_misses"] is None


def test_cells_differ_by_backend_and_matrix():
    """Each backend at each point of the matrix has a summary of its own; seeds do not matter."""
    records = [
        record(backend=backend, trial=trial, matrix={"batch_size": size})
        for trial in (1, 2)
        for backend in ("keras", "torch")
        for size in (10, 100)
    ]

    rows = summary_rows(records)

    assert [(row["backend"], row["batch_size"], row["trials"]) for row in rows] == [
        ("keras", 10, 2),
        ("keras", 100, 2),
        ("torch", 10, 2),
        ("torch", 100, 2),
    ]


def test_csv_numbers_are_unrounded_and_unknown_ones_empty(tmp_path):
    """A float read back from the file is the same float; booleans and integers are plain."""
    third = 1 / 3
    metrics = {"test_top1": third, "params": 14714688, "extract_reused": False}

    write_csv_files(tmp_path, [record(metrics=metrics)])

    (row,) = read(tmp_path / "trials.csv")
    assert float(row["test_top1"]) == third
    assert (row["params"], row["extract_reused"]) == ("14714688", "False")
    assert (row["epoch_s"], row["reason"]) == ("", "")


def test_text_that_looks_like_a_formula_is_defused(tmp_path):
    """Text gets an apostrophe, whatever column it is in; a negative number stays a number."""
    dangerous = record(
        "@SUM(A1)",
        matrix={"shift": -2, "name": "-x"},
        status="failed",
        reason='=HYPERLINK("evil","x,\ny")',
        metrics={"train_loss": -0.5},
    )

    write_csv_files(tmp_path, [dangerous])

    (row,) = read(tmp_path / "trials.csv")
    assert row["benchmark"] == "'@SUM(A1)"
    assert row["reason"] == '\'=HYPERLINK("evil","x,\ny")'
    assert (row["shift"], row["name"], row["train_loss"]) == ("-2", "'-x", "-0.5")


def test_all_three_files_are_written(tmp_path):
    """trials, epochs and summary have a header with the identity and their rows."""
    paths = write_csv_files(tmp_path, [record(), record(trial=2)])

    assert [path.name for path in paths] == ["trials.csv", "epochs.csv", "summary.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [len(read(path)) for path in paths] == [2, 4, 1]
    for path in paths:
        assert list(read(path)[0])[:4] == [column.name for column in CELL]
    # Nothing stale stays where there are no trials.
    write_csv_files(tmp_path, [])
    assert all(path.read_text() == "" for path in paths)


def test_a_csv_file_that_cannot_be_replaced_is_a_run_error(tmp_path):
    """The message names the file, and no temporary file stays."""
    (tmp_path / "trials.csv").mkdir()

    with pytest.raises(RunError, match=r"trials\.csv.*Is a directory"):
        write_csv_files(tmp_path, [record()])

    assert [path.name for path in tmp_path.iterdir()] == ["trials.csv"]
