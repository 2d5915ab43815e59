"""A run that goes on: exactly what is missing is done, and nothing is mixed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from in_process import workers_here

from benchharness.cli import cli
from benchharness.errors import RunError, SuiteError
from benchharness.results import journal
from benchharness.results.run_folder import RunFolder
from benchharness.run.resume import check_same_setup

pytestmark = pytest.mark.slow

SUITE = """
name = "tiny"
trials = 2
backends = ["numpy"]

[dataset]
source = "drawn"

[[benchmark]]
name = "small"
strategy = "dataset"
image_size = 16
train_images = 12
test_images = 4
batch_size = 5
"""

DESCRIBED = {
    "core": "code 0",
    "benchharness": "0.2.0",
    "machine": "a machine",
    "device": "a device",
    "dataset": {"name": "drawn", "digest": "1"},
    "weights": None,
    "code": {"numpy": "benchharness 0.2.0"},
    "variables": {"OMP_NUM_THREADS": "2"},
    "resolved": {"cells": []},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all tests of this file find prepared images."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a working folder with a suite of two trials."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(cache))
    (tmp_path / "tiny.toml").write_text(SUITE)
    with workers_here():
        yield tmp_path


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, list[str]]:
    """Return a folder with a complete run of the suite, and the ids of its two trials."""
    folder = tmp_path_factory.mktemp("complete")
    (folder / "tiny.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BENCHHARNESS_CACHE", str(cache))
        trials = started(run())
    assert len(trials) == 2
    return folder, trials


@pytest.fixture
def finished(place: Path, complete: tuple[Path, list[str]]) -> list[str]:
    """Copy the complete run into the working folder; return the ids of its trials."""
    folder, trials = complete
    shutil.copytree(folder / "results", place / "results", symlinks=True)
    return trials


def run(*options: str) -> Result:
    """Call ``benchharness run`` on the suite."""
    words = ["run", "tiny.toml", "--no-proof", "--json", *options]
    return CliRunner().invoke(cli, words, standalone_mode=False)


def started(result: Result) -> list[str]:
    """Return the trials that a call has begun."""
    events = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [event["trial_id"] for event in events if event["event"] == "trial_started"]


def records_file(place: Path) -> Path:
    """Return the records of the latest run."""
    return place / "results/tiny/latest/records.jsonl"


def rewrite(path: Path, change: Any) -> None:
    """Change the records of a file."""
    records, _ = journal.read(path)
    path.write_bytes(b"".join(journal.encode(record) for record in change(records)))


def test_resuming_does_what_is_missing_and_nothing_else(place: Path, finished: list[str]):
    """Of two trials one is lost: it runs again under its own id, the other is not touched."""
    kept = records_file(place).read_bytes().splitlines(keepends=True)[0]
    records_file(place).write_bytes(kept)

    again = run("--resume")

    assert again.return_value == 0
    assert started(again) == finished[1:]
    assert records_file(place).read_bytes().startswith(kept)
    assert len((records_file(place).parent / "trials.csv").read_text().splitlines()) == 3


def test_resuming_a_complete_run_does_nothing_and_is_well(place: Path, finished: list[str]):
    """Whoever resumes until all is done can do so in a loop."""
    again = run("--resume", str(records_file(place).parent.resolve()))

    assert started(again) == []
    assert again.return_value == 0
    assert len(list((place / "results/tiny").glob("2*"))) == 1


def test_resuming_where_nothing_was_run_begins(place: Path):
    """The same command begins a run and goes on with it; also with the suite behind the option."""
    words = ["run", "--no-proof", "--json", "--resume", "tiny.toml"]

    result = CliRunner().invoke(cli, words, standalone_mode=False)

    assert result.return_value == 0
    assert len(started(result)) == 2


def test_only_what_failed_is_repeated(place: Path, finished: list[str]):
    """--only-failed leaves alone what is well and what is missing; the last record counts."""
    first, second = finished
    rewrite(
        records_file(place), lambda found: [found[0] | {"status": "failed", "reason": "bad luck"}]
    )

    again = run("--only-failed")

    records, _ = journal.read(records_file(place))
    assert started(again) == [first]
    assert [(one["id"], one["status"]) for one in records] == [(first, "failed"), (first, "ok")]
    assert (records_file(place).parent / f"logs/{first}.1.log").exists()
    assert started(run("--resume")) == [second]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"machine": "another machine"}, "machine"),
        ({"device": "another device"}, "device"),
        ({"dataset": {"name": "cats", "digest": "0"}}, "data"),
        ({"weights": {"origin": "elsewhere", "digest": "0"}}, "weights"),
        ({"code": {"numpy": "benchharness 0.0.1"}}, "backend numpy"),
        ({"benchharness": "0.0.1"}, "benchharness"),
        ({"core": "code 1"}, "code of benchharness"),
        ({"variables": {"OMP_NUM_THREADS": "1"}}, "OMP_NUM_THREADS"),
    ],
)
def test_nothing_is_mixed_into_a_run(tmp_path: Path, change: dict[str, Any], where: str):
    """Another machine, device, dataset, weights, code or variable is refused by name."""
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    folder = RunFolder.create(tmp_path, "tiny", now=noon, token="3f9c", run=DESCRIBED)

    check_same_setup(folder, DESCRIBED, is_here=True)
    with pytest.raises(SuiteError) as refusal:
        check_same_setup(folder, DESCRIBED | change, is_here=True)

    assert [problem.where for problem in refusal.value.problems] == [where]
    if where == "machine":
        # Of a cluster it is the client's, on which nothing runs.
        check_same_setup(folder, DESCRIBED | change, is_here=False)


@pytest.mark.usefixtures("finished")
def test_what_decides_no_outcome_may_be_changed_before_resuming(place: Path):
    """A limit that was too short can be raised, as the message of a late trial advises."""
    (place / "tiny.toml").write_text(
        SUITE.replace("batch_size = 5", "batch_size = 5\ntime_limit_s = 900")
    )

    again = run("--resume")

    assert again.exception is None, again.output
    assert started(again) == []


def test_failed_trials_of_no_run_are_not_repeated_in_silence(place: Path):
    """A mistyped folder would look like a run in which all is well."""
    again = run("--only-failed", "--results", str(place / "elsewhere"))

    assert isinstance(again.exception, RunError)
    assert "expected a run whose failed trials to repeat, found none" in str(again.exception)


@pytest.mark.usefixtures("finished")
def test_a_changed_suite_is_another_run(place: Path):
    """The setting that was changed is named."""
    (place / "tiny.toml").write_text(SUITE.replace("batch_size = 5", "batch_size = 6"))

    again = run("--resume")

    assert isinstance(again.exception, SuiteError)
    assert "suite.cells[0].settings.batch_size: expected 5, as in the run, found 6" in str(
        again.exception
    )


def test_options_of_the_run_are_taken_over_and_others_refused(place: Path):
    """What was asked when the run began holds; to ask for something else is a mistake."""
    assert len(started(run("--trials", "1"))) == 1

    assert started(run("--resume")) == []
    assert started(run("--resume", "--trials", "1")) == []
    other = run("--resume", "--trials", "3")
    assert isinstance(other.exception, SuiteError)
    assert "--trials: expected 1, as when the run began, found 3" in str(other.exception)


@pytest.mark.usefixtures("finished")
def test_a_run_is_carried_out_by_one_process_at_a_time(place: Path):
    """Who resumes what another process is carrying out is told who that is."""
    script = (
        "import sys, pathlib; from benchharness.run.locks import lock_run\n"
        "from benchharness.results.run_folder import RunFolder\n"
        "claim = lock_run(RunFolder(path=pathlib.Path(sys.argv[1])))\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(records_file(place).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        while_held = run("--resume")
        other.stdin.close()
    afterwards = run("--resume")

    assert isinstance(while_held.exception, RunError)
    assert f"executed by process {other.pid} (" in str(while_held.exception)
    assert afterwards.return_value == 0


def test_two_runs_in_one_results_folder_do_not_meet(place: Path):
    """Each has a folder of its own, and the latest is one of the two, whole."""
    command = [sys.executable, "-m", "benchharness", "run", "tiny.toml", "--no-proof", "-q"]
    both = [subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(timeout=900) for process in both] == [0, 0]
    runs = sorted((place / "results/tiny").glob("2*"))
    assert [len(journal.read(one / "records.jsonl")[0]) for one in runs] == [2, 2]
    assert (place / "results/tiny/latest").resolve() in runs


@pytest.mark.usefixtures("finished", "pages")
def test_a_report_needs_nothing_but_the_records(place: Path):
    """All that is derived is lost, and run.json too: report makes the tables again and says so."""
    folder = records_file(place).parent
    table = (folder / "trials.csv").read_bytes()
    for name in ("run.json", "trials.csv", "epochs.csv", "summary.csv", "report.html"):
        (folder / name).unlink(missing_ok=True)

    result = CliRunner().invoke(cli, ["report", str(folder)], standalone_mode=False)

    assert result.exception is None
    assert (folder / "trials.csv").read_bytes() == table
    assert "the report is made from the records alone" in result.stderr
    assert (folder / "report.html").is_file()
    assert "small" in result.stdout


@pytest.mark.usefixtures("finished")
def test_what_is_missing_is_said_over_the_table(place: Path):
    """A table of half a run is never taken for one of the whole."""
    rewrite(records_file(place), lambda found: found[:1])

    words = ["report", "tiny", "--markdown"]
    result = CliRunner().invoke(cli, words, standalone_mode=False)

    assert "NOT COMPLETE: 1 of 2 trials" in result.stdout.replace("\\", "")
