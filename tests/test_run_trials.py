"""Trials until decided, seen from outside, of backends of known speed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import slow_backends
from click.testing import CliRunner, Result
from in_process import workers_here

from benchharness import plugins
from benchharness.cli import cli
from benchharness.errors import SuiteError
from benchharness.measure.sequential import InterimLook
from benchharness.results import journal
from benchharness.run import stopping

pytestmark = pytest.mark.slow

# A step of the NumPy backend takes 0.4 ms here: what it scatters is nothing beside the laggard's.
SUITE = """
name = "until"
seed = 5
backends = {backends}

[backend.slow]
plugin = "laggard"
options = {{ step_s = 0.05 }}

[backend.same]
plugin = "numpy"

[backend.broken]
plugin = "laggard"
options = {{ fault = "broken" }}

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 20
test_images = 8
batch_size = 4
dense = 4

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
epochs = 2
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all tests of this file find prepared images."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a working folder in which the laggard is installed."""
    slow_backends.install(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BENCHHARNESS_CACHE", str(cache))
    # Whatever ran in this process before has already looked for plugins, and remembers.
    plugins.installed.cache_clear()
    with workers_here():
        yield tmp_path
    plugins.installed.cache_clear()


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what has every look with fewer trials than it is given find nothing."""

    def until(trials: int) -> None:
        def looks(family: Any, **limits: Any) -> list[InterimLook]:
            found = LOOKS(family, **limits)
            return [
                replace(one, verdict="open", more=trials - one.trials)
                if one.trials < trials
                else replace(one, verdict="equal", more=None)
                for one in found
            ]

        monkeypatch.setattr(stopping, "looks", looks)

    return until


LOOKS = stopping.looks


def run(folder: Path, *options: str, backends: tuple[str, ...] = ("numpy", "same")) -> Result:
    """Call ``benchharness run`` on the suite, with events for programs."""
    if not (folder / "until.toml").exists():
        (folder / "until.toml").write_text(SUITE.format(backends=list(backends)))
    return CliRunner().invoke(
        cli, ["run", "until.toml", "--no-proof", *options], standalone_mode=False
    )


def events(result: Result, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind, as ``--json`` printed them."""
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == kind]


def turns(result: Result) -> list[tuple[str, int]]:
    """Return backend and number of each trial that was begun, in order."""
    return [(one["backend"], one["trial"]) for one in events(result, "trial_started")]


def latest(folder: Path) -> Path:
    """Return the folder of the latest run."""
    return folder / "results/until/latest"


def looks_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the latest run keeps of its last look."""
    return json.loads((latest(folder) / "run.json").read_text())["looks"]


def test_backends_of_clearly_different_speed_are_told_apart(place: Path):
    """No number is stated: it ends before the tenth trial, and the run tells why."""
    result = run(place, "--json", backends=("numpy", "slow"))

    (kept,) = looks_of(place)
    assert result.return_value == 0
    assert kept["stop"] == "decided"
    assert 3 <= kept["trials"] < 10
    assert kept["pairs"][0]["verdict"] == "faster"
    assert len(turns(result)) == 2 * kept["trials"]
    records, _ = journal.read(latest(place) / "records.jsonl")
    assert {one["max_trials"] for one in records} == {10}
    assert [one["trials"] for one in events(result, "look")] == [2] * (kept["trials"] - 3) + [0]


def test_rounds_go_on_in_turn_until_a_look_finds_enough(place: Path, undecided):
    """Three trials of each in ABBA turns, a look, a turn, a look; the totals grow with them."""
    undecided(5)

    result = run(place, "--json")

    started = events(result, "trial_started")
    numbers = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert turns(result) == list(zip(["numpy", "same", "same", "numpy"] * 3, numbers))  # noqa: B905
    assert [one["count"] for one in started] == [6] * 6 + [8] * 2 + [10] * 2
    assert [one["trials"] for one in started] == [3] * 6 + [4] * 2 + [5] * 2
    assert {one["max_trials"] for one in started} == {10}
    assert [one["lines"][0]["stop"] for one in events(result, "look")] == [None, None, "decided"]


def test_a_run_out_of_time_says_what_would_decide_it_and_goes_on(place: Path, undecided):
    """The first trials are complete all the same; --resume looks again, with minutes of its own."""
    undecided(5)

    first = run(place, "--max-minutes", "0.0001")
    (kept,) = looks_of(place)
    again = run(place, "--resume", "--json")

    assert (kept["trials"], kept["stop"], kept["more_trials"]) == (3, "time", 2)
    assert "out of time" in first.stdout
    assert "small: 2 more trials of each" in " ".join(first.stdout.split())
    assert "time limit reached; to resume: benchharness run until.toml --resume" in first.stderr
    assert "NOT COMPLETE" not in first.stdout
    assert turns(again) == [("same", 4), ("numpy", 4), ("numpy", 5), ("same", 5)]
    assert looks_of(place)[0]["stop"] == "decided"


def test_nothing_is_lost_of_a_run_that_was_ended_between_two_trials_of_a_round(
    place: Path, undecided
):
    """The round that had begun is completed, then looks follow; what is done is not repeated."""
    undecided(5)
    whole = run(place, "--json")
    file = latest(place) / "records.jsonl"
    # As a kill in the fourth round leaves it: no last look, and one trial of the round.
    described = json.loads((latest(place) / "run.json").read_text())
    del described["looks"]
    (latest(place) / "run.json").write_text(json.dumps(described))
    kept = file.read_bytes().splitlines(keepends=True)[:7]
    file.write_bytes(b"".join(kept))
    table = CliRunner().invoke(cli, ["report", "until", "--markdown"], standalone_mode=False)

    again = run(place, "--resume", "--json")

    assert "NOT COMPLETE: 7 trials, ended before a look found them enough" in table.stdout.replace(
        "\\", ""
    )
    assert turns(again) == turns(whole)[7:]
    assert file.read_bytes().startswith(b"".join(kept))
    assert looks_of(place)[0]["trials"] == 5


def test_a_backend_that_fails_in_all_first_trials_gets_no_more(place: Path, undecided):
    """The two others go on by themselves."""
    undecided(4)

    result = run(place, "--json", backends=("numpy", "broken", "same"))

    (kept,) = looks_of(place)
    assert result.return_value == 1
    assert turns(result)[9:] == [("same", 4), ("numpy", 4)]
    assert (kept["backends"], kept["stop"]) == (["numpy", "same"], "decided")


def test_repeating_what_failed_begins_no_round(place: Path, undecided):
    """--only-failed does what it says, also in a later round; --resume does the rest."""
    undecided(5)
    run(place, "--max-trials", "4", "--json")
    file = latest(place) / "records.jsonl"
    records, _ = journal.read(file)
    records[-1] |= {"status": "failed", "reason": "bad luck"}
    file.write_bytes(b"".join(map(journal.encode, records)))

    again = run(place, "--only-failed", "--json")

    assert turns(again) == [(records[-1]["backend"], 4)]
    assert looks_of(place)[0]["stop"] == "max_trials"


def test_one_backend_has_nothing_to_decide(place: Path):
    """Three trials for an interval, and no look."""
    result = run(place, "--json", "--backend", "numpy")

    assert turns(result) == [("numpy", 1), ("numpy", 2), ("numpy", 3)]
    assert events(result, "look") == []
    assert "looks" not in json.loads((latest(place) / "run.json").read_text())


def test_a_number_of_trials_is_kept(place: Path):
    """--trials 2 runs two trials of each, and looks at nothing."""
    result = run(place, "--json", "--trials", "2")

    assert len(turns(result)) == 4
    assert events(result, "look") == []


def test_more_looks_cannot_be_asked_for_later(place: Path, undecided):
    """Their level depends on how many there may be, so the number holds for the whole run."""
    undecided(3)
    run(place, "--max-trials", "4", "--json")

    again = run(place, "--resume", "--max-trials", "8")

    assert isinstance(again.exception, SuiteError)
    assert "--max-trials: expected 4, as when the run began, found 8" in str(again.exception)


def test_a_preview_says_how_many_trials_there_may_be(place: Path):
    """Each first trial has its line; the rest depends on what they show."""
    result = run(place, "--dry-run", "--max-trials", "5", "--max-minutes", "2")

    assert "6 trials, up to 10 where looks ask for more; none was run" in result.stdout
    assert (
        "3 to 5 trials of each cell, until the backends of a benchmark differ or are "
        "equal with confidence, at most 2 minutes" in result.stderr
    )


def test_progress_in_lines_says_how_far_a_cell_may_go(place: Path, undecided):
    """Trial 2 of 3 to 4; the last look leaves nothing open."""
    undecided(4)

    result = run(place, "--max-trials", "4")

    assert "[3/6] small on same, trial 2 of up to 4" in result.stderr
    assert "[8/8] small on numpy, trial 4 of 4\n" in result.stderr
