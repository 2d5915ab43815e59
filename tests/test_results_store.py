"""The folder of a run: made, found again, and clear about what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from results_records import record

from benchharness.errors import RunError
from benchharness.results.run_folder import RunFolder, find_run

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a results folder that does not exist yet."""
    return tmp_path / "results"


def make(
    results: Path, suite: str = "smoke", *, minutes: int = 0, token: str = "3f9c"
) -> RunFolder:
    """Return a new run, some minutes after noon."""
    return RunFolder.create(results, suite, now=NOON + timedelta(minutes=minutes), token=token)


def test_a_run_is_named_by_utc_time_and_token(results):
    """Local time is turned into UTC; the folder has places for logs and weights."""
    berlin = datetime(2026, 11, 23, 15, 2, 10, tzinfo=timezone(timedelta(hours=1)))

    run = RunFolder.create(results, "cats_dogs", now=berlin, token="3f9c")

    assert run.path == results / "cats_dogs" / "2026-11-23T140210Z-3f9c"
    assert (run.suite, run.name) == ("cats_dogs", "2026-11-23T140210Z-3f9c")
    assert run.logs.is_dir()
    assert run.weights.is_dir()
    assert run.log_path("abc") == run.path / "logs" / "abc.log"


def test_latest_is_a_relative_link_to_the_newest_run(results):
    """The results folder can be moved, and latest still points at the newest run."""
    make(results)
    newest = make(results, minutes=1)
    moved = results.rename(results.with_name("moved"))

    link = moved / "smoke" / "latest"
    assert link.readlink() == Path(newest.path.name)
    assert (link / "records.jsonl").is_file()


def test_the_same_run_is_not_made_twice(results):
    """A second run of the same second and token is refused, the first left alone."""
    make(results).append(record())

    with pytest.raises(RunError, match="File exists"):
        make(results)

    assert len(find_run(Path("smoke"), results).records()[0]) == 1


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".."])
def test_a_suite_name_does_not_lead_out_of_the_results_folder(results, name):
    """A suite name that is a path is refused before anything is made."""
    with pytest.raises(RunError, match="suite name"):
        make(results, name)

    assert not results.exists()


def test_a_results_folder_that_cannot_be_made_is_said_with_a_remedy(tmp_path):
    """A file in the way of the results folder is named, and so is --results."""
    (tmp_path / "results").write_text("a file")

    with pytest.raises(RunError, match=r"results.*Not a directory.*--results"):
        make(tmp_path / "results")


def test_a_records_file_that_cannot_be_written_is_said_with_a_remedy(results):
    """A failing append is a RunError that names the file."""
    run = make(results)
    (run.path / "records.jsonl").unlink()
    (run.path / "records.jsonl").mkdir()

    with pytest.raises(RunError, match=r"records\.jsonl.*Is a directory.*move the folder away"):
        run.append(record())


def test_records_come_back_in_order_and_the_last_of_each_trial_counts(results):
    """What was appended is read, first to last; a trial that was run again counts once."""
    run = make(results)
    stored = [record(trial=trial) for trial in (1, 2, 3)]
    for one in [record(status="failed"), *stored]:
        run.append(one)

    assert RunFolder.open(run.path).records() == (stored, [])


def test_run_json_is_replaced_whole(results):
    """The second description replaces the first, and no temporary file stays."""
    run = make(results)
    run.write_run({"suite": "smoke", "title": "Größer"})
    run.write_run({"suite": "smoke", "loss": float("nan")})

    assert run.read_run() == {"suite": "smoke", "loss": None}
    assert {path.name for path in run.path.iterdir()} == {
        "logs", "weights", "records.jsonl", "run.json",
    }  # fmt: skip


def test_a_missing_or_damaged_run_json_is_a_run_error(results):
    """Both are said with the file's name."""
    run = make(results)

    with pytest.raises(RunError, match=r"run\.json.*No such file"):
        run.read_run()
    (run.path / "run.json").write_text("{torn")
    with pytest.raises(RunError, match=r"run\.json: expected JSON"):
        run.read_run()


@pytest.mark.parametrize("where", ["folder", "suite folder", "suite name", "latest", "below"])
def test_a_run_is_found_by_every_name_a_user_may_give(results, where):
    """A run's folder, its suite's folder, its suite's name and latest all lead to the run."""
    make(results)
    run = make(results, minutes=1)
    names = {
        "folder": run.path,
        "suite folder": results / "smoke",
        "suite name": Path("smoke"),
        "latest": results / "smoke" / "latest",
        "below": Path("smoke") / run.name,
    }

    found = find_run(names[where], results)

    assert found.name == run.name
    assert found.suite == "smoke"


def test_a_suite_whose_latest_run_was_removed_means_the_newest_that_is_left(results):
    """A dangling latest does not hide the other runs."""
    for minutes in (0, 1, 2):
        run = make(results, minutes=minutes)
    for path in sorted(run.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    run.path.rmdir()

    assert find_run(Path("smoke"), results).name == "2026-11-23T120100Z-3f9c"


def test_an_unknown_run_is_refused_with_the_suites_there_are(results):
    """The message lists what could have been meant, or how to make a run."""
    with pytest.raises(RunError, match="benchharness run SUITE"):
        find_run(Path("smoke"), results)
    make(results, "smoke")
    make(results, "cats_dogs")

    with pytest.raises(RunError, match=r"dogs: expected .* holds runs of: cats_dogs, smoke"):
        find_run(Path("dogs"), results)


def test_an_ordinary_folder_is_no_run(tmp_path):
    """Opening a folder without records is refused."""
    with pytest.raises(RunError, match=r"found no records\.jsonl"):
        RunFolder.open(tmp_path)
