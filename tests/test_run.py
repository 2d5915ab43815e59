"""A whole run on the NumPy reference backend: real worker processes, real files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from in_process import workers_here
from suite_files import NUMPY_TWINS

from benchharness import load_results
from benchharness.measure.accuracy import Score
from benchharness.results.columns import PHASES
from benchharness.results.record import Record
from benchharness.results.run_folder import RunFolder
from benchharness.run.events import unobserved
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session, start_run

pytestmark = pytest.mark.slow

SUITE = (
    """
name = "four_ways"
seed = 3
trials = 2
"""
    + NUMPY_TWINS
    + """
[defaults]
image_size = 32
train_images = 10
test_images = 4
batch_size = 5
dense = 8

[[benchmark]]
name = "dataset"
strategy = "dataset"
augmentation = { flip_horizontal = true, rotation = 20 }

[[benchmark]]
name = "simple_cnn"
strategy = "simple_cnn"
filters = [2, 3]
epochs = 2
target_top1 = 0.0
matrix = { batch_size = [4, 8] }

[[benchmark]]
name = "bottleneck"
strategy = "bottleneck"
weights = "random"

[[benchmark]]
name = "fine_tune"
strategy = "fine_tune"
weights = "random"
head_from = "bottleneck"
reuse_frozen = true
"""
)


def run(folder: Path, text: str, **request: Any) -> tuple[RunFolder, list[Record]]:
    """Run a suite below a folder; return the run's folder and its records in running order."""
    suite = folder / "suite.toml"
    suite.write_text(text)
    session = open_session(
        RunOptions(suite=suite, results=folder / "results", device="cpu", **request),
        environment=dict(os.environ),
        cache=folder / "cache",
    )
    with start_run(session, unobserved) as runner:
        return runner.folder, runner.run(unobserved)


@pytest.fixture(scope="module")
def four_ways(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[Record]]:
    """The four strategies on two backends, two trials each."""
    return run(tmp_path_factory.mktemp("four_ways"), SUITE, proof="no")


def of(records: list[Record], benchmark: str) -> list[Record]:
    """Return the records of one benchmark."""
    return [record for record in records if record["benchmark"] == benchmark]


def test_every_trial_of_every_strategy_leaves_an_ok_record(four_ways):
    """Five cells (a matrix makes two of one benchmark), two backends, two trials."""
    _, records = four_ways

    assert len(records) == 5 * 2 * 2
    assert {(r["status"], r["reason"]) for r in records} == {("ok", "")}


def test_backends_take_turns_and_every_other_turn_is_reversed(four_ways):
    """A B, then B A: drift of the machine hits both alike."""
    _, records = four_ways

    turns = [(record["backend"], record["trial"]) for record in of(records, "dataset")]
    assert turns == [("numpy", 1), ("single", 1), ("single", 2), ("numpy", 2)]


def test_phases_of_a_trial_sum_to_its_wall_time(four_ways):
    """From spawning to the end of the process, with hardly 1 % that no phase claims."""
    _, records = four_ways
    unclaimed: dict[str, list[float]] = {}

    for record in records:
        metrics = record["metrics"]
        total = sum(metrics.get(phase) or 0.0 for phase in PHASES)
        if metrics.get("extract_reused"):
            # Then extract_s tells what the extraction took when it was done.
            total -= metrics["extract_s"]
        assert metrics["other_s"] >= 0
        rest_s = metrics["other_s"] - 0.01 * metrics["wall_s"]
        unclaimed.setdefault(record["benchmark"], []).append(rest_s)
        assert total == pytest.approx(metrics["wall_s"], rel=1e-3)
    # A busy machine may take the processor away between two phases, but not in every trial.
    assert max(map(min, unclaimed.values())) < 0.05


def test_what_only_a_trainings_clock_can_tell_is_in_its_record_and_in_no_other(four_ways):
    """Speed against the device's best, waiting for input: of a training, not of feeding."""
    _, records = four_ways

    learnt, fed = of(records, "simple_cnn")[0]["metrics"], of(records, "dataset")[0]["metrics"]
    speed = learnt["train_images_per_s"] * learnt["train_flops_per_image"]
    assert learnt["fraction_of_peak"] == pytest.approx(speed / learnt["peak_flops_per_s"])
    assert 0 < learnt["fraction_of_peak"] < 1
    assert learnt["peak_source"] == "numpy"
    assert 0 < learnt["input_wait_fraction"] < 1
    assert not {"fraction_of_peak", "peak_flops_per_s", "input_wait_fraction"} & set(fed)
    assert fed["feed_images_per_s"] > 0
    assert fed["step_ms_p50"] > 0 < learnt["step_ms_p99"]


def test_which_test_images_are_right_is_in_the_record(four_ways):
    """A bit for each, as many set as are right; the classes' images are there to judge them by."""
    _, records = four_ways

    for record in of(records, "simple_cnn"):
        score, metrics = Score.of_record(record, "test"), record["metrics"]
        assert score.hits().sum() == score.right == metrics["test_right"]
        assert metrics["test_top1"] == metrics["test_right"] / record["test_count"]
        assert metrics["test_s"] > 0
        for epoch in record["epochs"]:
            share = epoch["validation_right"] / record["validation_count"]
            assert epoch["validation_top1"] == share
        for split in ("train", "validation", "test"):
            assert sum(record["class_counts"][split]) == record[f"{split}_count"]
    assert all(record["test_bits"] is None for record in of(records, "dataset"))


def test_the_blocks_of_a_record_add_up_to_its_work(four_ways):
    """Every timed second and every step of each epoch, raw."""
    _, records = four_ways

    for record in of(records, "simple_cnn"):
        steps = -(-record["train_count"] // record["matrix"]["batch_size"])
        for row in record["epochs"]:
            own = [block for block in record["blocks"] if block[0] == row["epoch"]]
            assert sum(block[1] for block in own) == steps
            assert sum(block[2] for block in own) == pytest.approx(row["train_s"])


def test_host_memory_is_the_most_that_worker_and_children_held(four_ways):
    """Every worker has at least an interpreter with NumPy; none of these needs a gigabyte."""
    _, records = four_ways

    assert all(20e6 < record["metrics"]["peak_host_bytes"] < 1e9 for record in records)


def test_both_backends_start_fine_tuning_from_the_same_head(four_ways):
    """The head of the first backend's bottleneck trial with the same number serves all."""
    _, records = four_ways

    heads = {(r["trial"], r["metrics"]["head_from"]) for r in of(records, "fine_tune")}
    assert heads == {(1, "bottleneck numpy 1"), (2, "bottleneck numpy 2")}


def test_the_same_seed_starts_both_backends_from_the_same_loss(four_ways):
    """Initial weights, batches and their order are the core's; dropout alone differs."""
    _, records = four_ways

    by_backend = {r["backend"]: r["metrics"] for r in of(records, "bottleneck") if r["trial"] == 1}
    assert by_backend["numpy"]["train_loss"] == pytest.approx(
        by_backend["single"]["train_loss"], rel=1e-4
    )


def test_features_are_extracted_once_and_reused_by_content(tmp_path: Path):
    """A second run reads the stored features, unless told not to, or they are damaged."""
    text = SUITE.replace("trials = 2", "trials = 1")
    fresh = text.replace('"bottleneck"\nw', '"bottleneck"\nreuse_features = false\nw')
    with workers_here():
        found = [
            run(tmp_path, suite, benchmarks=("bottleneck",), backends=("numpy",))[1][0]
            for suite in (text, text, fresh)
        ]
        (file,) = (tmp_path / "cache/features").glob("*/features.npy")
        file.write_bytes(file.read_bytes()[:100])
        found += run(tmp_path, text, benchmarks=("bottleneck",), backends=("numpy",))[1]

    assert {record["status"] for record in found} == {"ok"}
    metrics = [record["metrics"] for record in found]
    assert [each["extract_reused"] for each in metrics] == [False, True, False, False]
    assert metrics[1]["extract_s"] == metrics[0]["extract_s"]
    assert metrics[0]["train_loss"] == metrics[1]["train_loss"] == metrics[3]["train_loss"]


def test_asking_for_fine_tuning_alone_brings_its_bottleneck_along(tmp_path: Path):
    """A head has to come from somewhere; what was added is announced."""
    suite = tmp_path / "suite.toml"
    suite.write_text(SUITE)
    session = open_session(RunOptions(suite=suite, benchmarks=("fine_tune",), device="cpu"))

    assert session.plan.added == ("bottleneck",)
    assert any("bottleneck" in line for line in session.plan_messages())


def test_reusing_frozen_blocks_is_recorded_as_another_workload(four_ways):
    """The record says how fine-tuning was done, and how much of the network learnt."""
    _, records = four_ways

    record = of(records, "fine_tune")[0]
    assert record["settings"]["reuse_frozen"] is True
    assert record["metrics"]["trainable_params"] < record["metrics"]["params"]
    assert record["metrics"]["extract_s"] > 0


def test_run_json_names_suite_machine_data_and_weights(four_ways):
    """A stranger can judge the result: what was run, where, on which data."""
    folder, _ = four_ways

    described = folder.read_run()
    assert described["suite"] == "four_ways"
    assert described["dataset"]["is_real"] is False
    assert {part["image_size"] for part in described["dataset"]["slices"]} == {32}
    assert all(len(part["digest"]) == 64 for part in described["dataset"]["slices"])
    assert described["weights"]["is_random"] is True
    assert described["environment"]["packages"]["benchharness"]
    assert described["resolved"]["cells"][0]["settings"]["image_size"] == 32


def test_latest_points_at_the_newest_run(four_ways):
    """The user need not copy a time stamp."""
    folder, _ = four_ways

    assert (folder.path.parent / "latest").resolve() == folder.path.resolve()


def test_the_csv_files_begin_with_what_a_row_is_about(four_ways):
    """Identity first: benchmark, strategy, backend, track, matrix settings, trial, seed, status."""
    folder, records = four_ways

    header, *rows = (folder.path / "trials.csv").read_text().splitlines()
    identity = "benchmark,strategy,backend,track,batch_size,trial,seed,status,reason"
    assert header.startswith(identity)
    assert len(rows) == len(records)
    assert len((folder.path / "summary.csv").read_text().splitlines()) == 1 + 10
    assert (folder.path / "epochs.csv").read_text().count("\n") > 10


def test_load_results_gives_a_data_frame_with_a_row_per_trial(four_ways):
    """What pandas reads is what was recorded."""
    folder, records = four_ways

    frame = load_results(folder.path)
    assert len(frame) == len(records)
    losses = frame.loc[frame["benchmark"] == "simple_cnn", "train_loss"]
    assert losses.notna().all()
    assert frame.loc[frame["benchmark"] == "dataset", "train_loss"].isna().all()


def test_time_to_accuracy_is_the_training_time_until_validation_reached_the_target(four_ways):
    """A target of 0 is reached by the first epoch."""
    _, records = four_ways

    for record in of(records, "simple_cnn"):
        first = record["epochs"][0]["train_s"]
        assert record["metrics"]["time_to_top1_s"] == pytest.approx(first)


def test_each_record_survives_as_one_checked_line(four_ways):
    """records.jsonl holds every trial as a checksum and a JSON object."""
    folder, records = four_ways

    lines = (folder.path / "records.jsonl").read_text().splitlines()
    read = [json.loads(line)["id"] for line in lines]
    assert read == [record["id"] for record in records]
    assert len(set(read)) == len(read)
