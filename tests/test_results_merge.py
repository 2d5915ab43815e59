"""Runs of several machines or days in one folder: nothing lost, nothing mixed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_runs import invoke, record_runs
from results_records import record

from benchharness import load_results
from benchharness.errors import FetchError, RunError, SuiteError
from benchharness.exit_codes import exit_code, explanation
from benchharness.report.summary import answers_in
from benchharness.results.cells import cells_of
from benchharness.results.comparisons import comparisons_of
from benchharness.results.merge import merge
from benchharness.results.run_folder import RunFolder, open_run

pytestmark = pytest.mark.slow

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two runs of one suite, made one after the other."""
    return record_runs(tmp_path_factory.mktemp("runs"), 2)


@pytest.fixture
def pair(runs: list[Path], tmp_path: Path) -> list[RunFolder]:
    """Return copies of both runs, to change."""
    copies = [tmp_path / run.name for run in runs]
    for run, copy in zip(runs, copies, strict=True):
        shutil.copytree(run, copy)
    return [RunFolder.open(copy) for copy in copies]


def edit_run(folder: RunFolder, edit: Edit) -> None:
    """Change what run.json says."""
    run = folder.read_run()
    edit(run)
    folder.write_run(run)


def refused(pair: list[RunFolder], output: Path, **options: Any) -> list[str]:
    """Return the lines with which a merge is refused."""
    with pytest.raises(SuiteError) as caught:
        merge(pair, output, **options)
    assert exit_code(caught.value) == 2
    return explanation(caught.value)


def test_trials_are_numbered_on_and_pairs_stay_pairs(pair, tmp_path):
    """Each trial keeps its neighbour, and none of the other run becomes one."""
    merged, _ = merge(pair, tmp_path / "merged")

    records, damages = merged.records()
    counts = {cell.label: [trial["trial"] for trial in cell.trials] for cell in cells_of(records)}
    assert not damages
    assert set(map(tuple, counts.values())) == {(1, 2, 3, 4)}
    for comparison in comparisons_of(cells_of(records)):
        assert len(comparison.couples) == 4
        assert all(ours["source"] == theirs["source"] for ours, theirs in comparison.couples)


def test_no_record_is_lost_or_changed(pair, tmp_path):
    """All but the place in the merged run is as it was recorded, and ids are distinct."""
    before = [record for folder in pair for record in folder.records()[0]]

    merged, _ = merge(pair, tmp_path / "merged")

    after = merged.records()[0]
    places = ("id", "trial", "log", "source", "max_trials")
    assert len({record["id"] for record in after}) == len(before)
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in new.items() if k not in places} == {
            k: v for k, v in old.items() if k not in places
        }


def test_a_trial_that_was_repeated_stays_superseded(pair, tmp_path):
    """The journal keeps both, and readers see the last."""
    again = {**pair[1].records()[0][0], "reason": "repeated"}
    pair[1].append(again)

    merged, _ = merge(pair, tmp_path / "merged")

    repeated = [r for r in merged.records()[0] if r["reason"] == "repeated"]
    assert len((merged.path / "records.jsonl").read_bytes().splitlines()) == 17
    assert len(merged.records()[0]) == 16
    assert [r["trial"] for r in repeated] == [again["trial"] + 2]


@pytest.mark.usefixtures("pages")
def test_every_command_reads_a_merged_run(runs, tmp_path, monkeypatch):
    """Report, comparison, pandas and history; --resume says why not."""
    results = tmp_path / "results"
    merged = results / "tiny/merged"

    done = invoke("merge", *runs, "--output", merged)

    assert done.return_value == 0, done.output
    assert done.output.count("16 trials") == 0 and done.output.count("8 trials") == 2
    assert (merged / "report.html").exists() and "(n=4)" in done.output
    assert invoke("report", merged, "--markdown").return_value == 0
    assert invoke("compare", f"run:{merged}@numpy", f"run:{merged}@single").return_value in (
        0,
        3,
        4,
    )
    assert len(load_results(merged)) == 16
    assert invoke("history", "tiny", "--results", results).return_value == 0
    monkeypatch.chdir(runs[0].parents[2])
    monkeypatch.setenv("BENCHHARNESS_CACHE", os.devnull)
    resumed = invoke("run", "tiny.toml", "--resume", merged, "--device", "cpu")
    assert "one merged from" in str(resumed.exception)


def test_what_may_differ_is_named(pair, tmp_path):
    """Machine, date, commit and packages of each source, in run.json and in the notes."""

    def elsewhere(run: dict[str, Any]) -> None:
        run["machine"] = "another machine"
        run["environment"]["packages"]["numpy"] = "1.0"

    edit_run(pair[1], elsewhere)

    merged, notes = merge(pair, tmp_path / "merged")

    first, second = merged.read_run()["merged"]
    assert [first["name"], second["name"]] == [folder.name for folder in pair]
    assert second["machine"] == "another machine" in merged.read_run()["machine"]
    assert any("another machine" in note and second["started"] in note for note in notes)
    assert any(note.startswith("numpy differs: ") and "1.0" in note for note in notes)


def test_certificates_and_logs_of_each_run_are_kept(pair, tmp_path):
    """Each with the name of its run."""
    (pair[1].logs / "some.log").write_text("words")
    merged, _ = merge(pair, tmp_path / "merged")

    proofs = json.loads((merged.path / "certificate.json").read_text())["certificates"]
    assert [proof["source"] for proof in proofs] == [f.name for f in pair for _ in range(2)]
    assert (merged.logs / pair[1].name / "some.log").read_text() == "words"


def test_merged_runs_merge(pair, tmp_path):
    """A third day is added to two: sources and trials go on."""
    merged, _ = merge(pair, tmp_path / "merged")
    third = tmp_path / "third"
    shutil.copytree(pair[0].path, third)
    (third / "records.jsonl").unlink()
    for old in pair[0].records()[0]:
        RunFolder(path=third).append({**old, "started": "2027-01-01T00:00:00+00:00"})

    both, _ = merge([merged, RunFolder.open(third)], tmp_path / "both")

    again = Path(shutil.copytree(third, tmp_path / "again" / pair[1].name))
    assert f"{pair[1].name} twice" in refused([merged, RunFolder.open(again)], tmp_path / "x")[0]
    logs = [both.path / r["log"] for r in both.records()[0] if r["log"]]
    assert [log for log in logs if not log.exists()] == []
    names = [source["name"] for source in both.read_run()["merged"]]
    assert names == [pair[0].name, pair[1].name, "third"]
    assert {r["source"] for r in both.records()[0]} == set(names)
    assert max(r["trial"] for r in both.records()[0]) == 6


def test_older_records_get_machine_and_a_host_of_their_own(tmp_path):
    """So that no trials of two such runs are taken for neighbours."""
    folders = []
    for day in ("01", "02"):
        folder = RunFolder(path=tmp_path / day)
        folder.path.mkdir()
        cell = {"benchmark": "simple_cnn", "matrix": {}, "track": "equal", "backend": "keras"}
        plan = {"cells": [{**cell, "settings": {}, "trials": 1}]}
        folder.write_run({"resolved": plan, "machine": f"machine {day}"})
        folder.append(record(started=f"2026-11-{day}T00:00:00Z"))
        folders.append(folder)

    merged, _ = merge(folders, tmp_path / "merged")

    found = [(r["host"], r["machine"], r["log"]) for r in merged.records()[0]]
    assert found == [("01", "machine 01", "logs/01/x.log"), ("02", "machine 02", "logs/02/x.log")]


def test_heads_and_looks_follow_the_numbers(tmp_path):
    """A trial names the head that it started from by its new number; looks may go on as long."""
    folders = []
    for day in ("01", "02"):
        folder = RunFolder(path=tmp_path / day)
        folder.path.mkdir()
        cell = {"benchmark": "simple_cnn", "matrix": {}, "track": "equal", "backend": "keras"}
        plan = {"cells": [{**cell, "settings": {}, "trials": 3, "max_trials": 10}]}
        folder.write_run({"resolved": plan, "looks": [day]})
        for trial in (1, 2):
            head = {"head_from": f"simple_cnn keras {trial}", "day": day}
            folder.append(record(trial=trial, metrics=head, max_trials=10))
        folders.append(folder)

    merged, _ = merge(folders, tmp_path / "merged")

    records = merged.records()[0]
    assert [r["metrics"]["head_from"] for r in records] == [
        f"simple_cnn keras {trial}" for trial in (1, 2, 3, 4)
    ]
    assert {r["max_trials"] for r in records} == {20}
    assert [source["looks"] for source in merged.read_run()["merged"]] == [["01"], ["02"]]
    assert "looks" not in merged.read_run()


def _other_batch(run: dict[str, Any]) -> None:
    run["resolved"]["cells"][2]["settings"]["batch_size"] = 7


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda run: run["resolved"].update(name="other"), "suite: name: expected tiny, as in"),
        (lambda run: run["resolved"].update(seed=99), "suite: seed: expected"),
        (lambda run: run["resolved"]["cells"].pop(), "cnn single: expected planned"),
        (_other_batch, "cnn numpy: batch_size: expected 5"),
        (lambda run: run["dataset"].update(digest="feed"), "found drawn (feed) in"),
        (lambda run: run.update(weights={"digest": "beef"}), "found none (beef) in"),
        (lambda run: run.update(benchharness="9"), "benchharness: expected 0.1.0, as in"),
        (lambda run: run["code"].update(numpy="other"), "backend numpy: expected"),
        (lambda run: run.update(device="cuda:0"), "as in "),
        (
            lambda run: run["resolved"]["backend"]["single"].update(plugin="other"),
            "backend single: plugin: expected numpy, as in",
        ),
    ],
)
def test_another_suite_data_weights_or_code_is_refused(pair, tmp_path, edit, words):
    """One line for each difference, with both values and the remedy."""
    edit_run(pair[1], edit)

    lines = refused(pair, tmp_path / "merged")

    assert len(lines) == 1
    assert words in lines[0] and lines[0].endswith(")")
    assert not (tmp_path / "merged").exists()


def test_other_code_is_merged_on_request(pair, tmp_path):
    """And named."""
    edit_run(pair[1], lambda run: run["code"].update(numpy="other"))

    _, notes = merge(pair, tmp_path / "merged", ignore=("code",))

    assert any("differs, as allowed: backend numpy" in note for note in notes)


def test_the_same_trials_twice_are_refused(pair, tmp_path):
    """Also under another name."""
    copy = tmp_path / "copy"
    shutil.copytree(pair[0].path, copy)

    assert "found 8 of" in refused([pair[0], RunFolder.open(copy)], tmp_path / "a")[0]
    assert f"{pair[0].name} twice" in refused([pair[0], pair[0]], tmp_path / "b")[0]


def test_an_existing_folder_and_a_comparison_are_refused(pair, tmp_path):
    """Nothing is replaced, and no verdict is merged."""
    pair[1].write_comparison({})

    lines = refused(pair, tmp_path)

    assert "--output: expected a new folder" in lines[0]
    assert "found a comparison" in lines[1]


def test_a_damaged_certificate_is_named_and_nothing_is_left(pair, tmp_path):
    """No half of a merged run."""
    (pair[1].path / "certificate.json").write_text("{")

    with pytest.raises(RunError, match=r"certificate\.json: expected JSON.*; remove the file"):
        merge(pair, tmp_path / "below/merged")

    assert list((tmp_path / "below").iterdir()) == []


def test_a_zip_of_a_run_is_read_as_its_folder(pair, tmp_path):
    """Whether the folder is in it or only what the folder holds."""
    whole = shutil.make_archive(str(tmp_path / "sent"), "zip", pair[0].path.parent, pair[0].name)
    inside = shutil.make_archive(str(tmp_path / "inside"), "zip", pair[0].path)

    with open_run(Path(whole), tmp_path) as one, open_run(Path(inside), tmp_path) as other:
        assert (one.name, other.name) == (pair[0].name, "inside")
        assert one.records() == other.records() == pair[0].records()


def test_a_zip_without_a_run_or_damaged_is_refused(pair, tmp_path):
    """With what was expected."""
    empty = shutil.make_archive(str(tmp_path / "logs"), "zip", pair[0].path, "run.json")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK\x03\x04")

    with pytest.raises(RunError, match="the folder of one run"), open_run(Path(empty), tmp_path):
        pass
    with pytest.raises(FetchError, match="an archive that can be read"):
        open_run(damaged, tmp_path).__enter__()


def test_answers_use_the_trials_of_both_runs(pair, tmp_path):
    """Four trials of each, where each run has two."""
    merged, _ = merge(pair, tmp_path / "merged")

    answers = answers_in(merged.read_run(), merged.records()[0])
    assert any("4 trials" in answer for answer in answers)
