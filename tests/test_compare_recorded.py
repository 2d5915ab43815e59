"""Recorded runs held against each other, and what may not differ between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import RUN, trial
from results_records import record

from benchharness.compare.recorded import compare_recorded
from benchharness.compare.targets import RecordedRun, recorded_run
from benchharness.compare.verdict import ran_in_turn, sessions_of
from benchharness.errors import RunError, SuiteError
from benchharness.results.journal import append
from benchharness.results.run_folder import RunFolder

MACHINE = {"cpu": "a processor", "cores": 2, "machine": "x86_64", "packages": {"torch": "2.11.0"}}
SOUND: dict[str, Any] = {
    **RUN,
    "environment": MACHINE,
    "dataset": {"name": "drawn", "digest": "aaaa"},
    "weights": {"origin": "a file", "digest": "bbbb"},
}


def recorded(folder: Path, name: str, records: list[dict[str, Any]], **changes: Any) -> RunFolder:
    """Write a run and return its folder."""
    path = folder / "pets" / name
    path.mkdir(parents=True)
    (path / "records.jsonl").touch()
    for one in records:
        append(path / "records.jsonl", one)
    run = RunFolder.open(path)
    run.write_run(SOUND | changes)
    return run


def of(backend: str, *rates: float, benchmark: str = "cnn", **changes: Any) -> list[dict[str, Any]]:
    """Return trials of a backend with these training rates."""
    return [
        trial(
            benchmark, backend, number, rate, **{"id": f"{benchmark}-{backend}-{number}"} | changes
        )
        for number, rate in enumerate(rates, start=1)
    ]


def compare(one: RunFolder, other: RunFolder, **question: Any):
    """Compare two runs by their training."""
    asked = {"columns": ("train_images_per_s",)} | question
    return compare_recorded(
        RecordedRun(label="one", run=one),
        RecordedRun(label="other", run=other),
        **asked,
    )


STEADY, SLOWER = (100.0, 101.0, 99.0, 100.5), (80.0, 81.0, 79.0, 80.0)


def test_equal_runs_are_the_same_within_twice_the_drift(tmp_path: Path):
    """Ten per cent for no reason: a limit that nobody states is twice that, and a note says so."""
    one = recorded(tmp_path, "one", of("torch", *STEADY))
    other = recorded(tmp_path, "other", of("torch", *STEADY))

    found = compare(one, other)

    assert found.exit_code == 0
    assert found.how == "recorded"
    assert "recorded at different times: speeds of equal code may differ by 10%" in found.notes[0]
    assert "an unstated limit is 20%" in found.notes[0]
    (verdict,) = found.cells[0].verdicts
    assert verdict.low == pytest.approx(99.0 / 100.5 / 1.1)
    assert verdict.threshold == pytest.approx(0.2)
    assert not verdict.is_paired


def test_a_side_recorded_beside_other_programs_decides_no_speed(tmp_path: Path):
    """Equal code took half as long again; memory is decided as ever, and a quiet run too."""
    slow = of("torch", 66.0, 67.0, 65.0, 66.5)
    beside = [
        trial_of | {"metrics": trial_of["metrics"] | {"foreign_cores": 1.2}} for trial_of in slow
    ]
    quiet = recorded(tmp_path, "quiet", of("torch", *STEADY))
    busy = recorded(tmp_path, "busy", beside)
    slower = recorded(tmp_path, "slower", slow)
    both = {"columns": ("train_images_per_s", "peak_host_bytes")}

    undecided, worse = compare(quiet, busy, **both), compare(quiet, slower, **both)

    assert [verdict.word for verdict in undecided.cells[0].verdicts] == ["undecidable", "same"]
    assert (undecided.exit_code, undecided.disturbed) == (4, 4)
    assert [verdict.word for verdict in worse.cells[0].verdicts] == ["slower", "same"]
    assert worse.exit_code == 3


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_limit_below_the_drift_is_refused(tmp_path: Path, is_asked: bool):
    """On the command line or in the suite; the line says what to do. Memory does not drift."""
    stated = {"cnn": {"train_images_per_s": 0.1, "peak_host_bytes": 0.01}}
    suite = {} if is_asked else {"resolved": {"regression": {"thresholds": stated}}}
    asked = stated["cnn"] if is_asked else {}
    one = recorded(tmp_path, "one", of("torch", *STEADY), **suite)
    other = recorded(tmp_path, "other", of("torch", *STEADY), **suite)
    columns = ("train_images_per_s", "peak_host_bytes")

    with pytest.raises(SuiteError) as refused:
        compare(one, other, thresholds=asked, columns=columns)
    wider = compare(one, other, thresholds={"train_images_per_s": 0.15})

    (line,) = refused.value.lines()
    assert "threshold of train_images_per_s: expected more than the 10%" in line
    assert "--threshold 20%; or run both sides" in line
    assert wider.exit_code == 0


def hours(*speeds: float, day: int) -> list[dict[str, Any]]:
    """Return three trials of each of some hours."""
    rates = [speed + step for speed in speeds for step in (-0.5, 0.0, 0.5)]
    records = of("torch", *rates)
    for place, one in enumerate(records):
        one["started"] = f"2026-11-{day:02}T{place // 3:02}:00:{place % 3:02}+00:00"
    return records


def test_sides_of_several_hours_show_how_far_these_differ(tmp_path: Path):
    """Trials of an hour count as one: no drift is added, and no limit refused."""
    one = recorded(tmp_path, "one", hours(100, 103, 98, 101, 99, day=1))
    other = recorded(tmp_path, "other", hours(101, 99, 102, 100, 98, day=2))
    slower = recorded(tmp_path, "slower", hours(80, 82, 79, 81, 78, day=3))

    same = compare(one, other, thresholds={"train_images_per_s": 0.05})
    worse = compare(one, slower, thresholds={"train_images_per_s": 0.05})

    assert (same.exit_code, worse.exit_code) == (0, 3)
    assert same.notes == (
        "recorded at 5 different times of A and 5 of B: speeds are compared by the median of "
        "each time",
    )
    assert same.cells[0].verdicts[0].pairs == 5


def test_trials_of_one_run_that_did_not_run_in_turn_are_no_pairs(tmp_path: Path):
    """As after --only-failed: B ran in another hour, with another drift."""
    ours = of("keras", *[100.0, 99.0, 101.0, 100.0, 100.5])
    theirs = of("torch", *[92.0, 91.0, 93.0, 92.0, 92.5])
    for one in theirs:
        one["started"] = one["started"].replace("T14", "T17")
    run = recorded(tmp_path, "one", [*ours, *theirs])

    found = compare_recorded(
        recorded_run(f"{run.path}@keras", results=tmp_path),
        recorded_run(f"{run.path}@torch", results=tmp_path),
        columns=("train_images_per_s",),
    )

    (verdict,) = found.cells[0].verdicts
    assert not verdict.is_paired
    assert verdict.word == "undecidable"
    assert "recorded at different times" in found.notes[0]


STILL = {"resolved": {"regression": {"drift": 0.0}}}


@pytest.mark.parametrize(
    ("ours", "theirs", "suite", "code", "word"),
    [
        # Their interval is the drift and nothing else.
        ([100.0] * 100, [100.0] * 100, {}, 0, "same"),
        # Half as fast is no weather.
        (STEADY, (50.0, 51.0, 49.0, 50.0), {}, 3, "slower"),
        # Where the suite says that nothing drifts.
        (STEADY, STEADY, STILL, 0, "same"),
        (STEADY, SLOWER, STILL, 3, "slower"),
        (SLOWER, STEADY, STILL, 0, "faster"),
        # Six ways to lie among each other cannot be surer than one in six; of three there are 20.
        (STEADY[:3], (10.0, 10.0, 10.0), {}, 3, "slower"),
        (STEADY[:3], (10.0, 10.0), {}, 4, "undecidable"),
    ],
)
def test_what_is_beyond_the_drift_of_a_machine_is_decided(
    tmp_path: Path, ours: tuple[float, ...], theirs: tuple[float, ...], suite, code: int, word: str
):
    """By enough trials, of which two on each side are never enough."""
    one = recorded(tmp_path, "one", of("torch", *ours), **suite)
    other = recorded(tmp_path, "other", of("torch", *theirs), **suite)

    found = compare(one, other)

    (verdict,) = found.cells[0].verdicts
    assert (found.exit_code, verdict.word) == (code, word)
    if len(ours) == 100:
        assert (verdict.low, verdict.high) == (pytest.approx(1 / 1.1), pytest.approx(1.1))
    if theirs[0] == 50:
        assert verdict.change == pytest.approx(2.0, rel=0.02)
    assert (verdict.low is None) == (len(theirs) == 2)


def test_backends_of_one_run_are_paired_by_trial(tmp_path: Path):
    """They ran in turn: what drifted hit both, and cancels."""
    drifting = (100.0, 80.0, 120.0, 60.0, 110.0, 90.0)
    run = recorded(
        tmp_path,
        "one",
        [*of("keras", *drifting), *of("torch", *(0.8 * rate for rate in drifting))],
    )

    found = compare_recorded(
        recorded_run(f"{run.path}@keras", results=tmp_path),
        recorded_run(f"{run.path}@torch", results=tmp_path),
        columns=("train_images_per_s",),
    )

    assert found.how == "same run"
    (cell,) = found.cells
    assert cell.label == "cnn"
    assert cell.proof == "proven"
    assert cell.verdicts[0].change == pytest.approx(1.25)
    assert cell.verdicts[0].low == pytest.approx(1.25)
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"environment": MACHINE | {"cores": 4}}, "machine", "a processor, 4"),
        ({"device": "another"}, "machine", "another"),
        ({"dataset": {"name": "drawn", "digest": "cccc"}}, "data", "A drawn aaaa, B drawn cccc"),
        ({"weights": {"origin": "a file", "digest": "d"}}, "weights", "A a file bbbb, B a file d"),
        ({"weights": None}, "weights", "B none"),
    ],
)
def test_what_decides_how_long_work_takes_must_be_the_same(
    tmp_path: Path, changes: dict[str, Any], kind: str, told: str
):
    """Refused with a line that names both; allowed on request, and then said."""
    if kind == "machine" and "device" in changes:
        changes = {**changes, "machine": "another machine"}
    first = {"machine": "this machine"} if "machine" in changes else {}
    one = recorded(tmp_path, "one", of("torch", *STEADY), **first)
    other = recorded(tmp_path, "other", of("torch", *STEADY), **changes)

    with pytest.raises(SuiteError) as caught:
        compare(one, other)
    allowed = compare(one, other, ignore=(kind,))

    (line,) = caught.value.lines()
    assert f"{kind}: expected the same {kind} on both sides, found A" in line
    assert told in line
    assert f"--ignore {kind}" in line
    assert any(note.startswith(f"differs, as allowed: {kind}") for note in allowed.notes)


def test_settings_must_be_the_same(tmp_path: Path):
    """Another batch size is another work."""
    one = recorded(tmp_path, "one", of("torch", *STEADY, settings={"batch_size": 50}))
    other = recorded(tmp_path, "other", of("torch", *STEADY, settings={"batch_size": 32}))

    with pytest.raises(SuiteError, match="cnn torch: batch_size: expected the same settings"):
        compare(one, other)


def test_a_renamed_cell_fails_and_is_not_forgotten(tmp_path: Path):
    """A gate that passes because there is nothing left to compare guards nothing."""
    one = recorded(tmp_path, "one", of("torch", *STEADY, benchmark="small_cnn"))
    other = recorded(tmp_path, "other", of("torch", *STEADY, benchmark="small_cnn2"))

    found = compare(one, other)

    assert found.exit_code == 1
    assert found.cells[0].failure == "not in B (did you rename it to small_cnn2 torch?)"
    assert "only in B: small_cnn2 torch" in found.notes


def test_a_failed_trial_fails_its_cell(tmp_path: Path):
    """Its reason is told."""
    one = recorded(tmp_path, "one", of("torch", *STEADY))
    other = recorded(tmp_path, "other", of("torch", 1.0, status="oom", reason="no memory left"))

    found = compare(one, other)

    assert found.exit_code == 1
    assert found.cells[0].failure == "B, trial 1: oom: no memory left"


def test_other_versions_are_told(tmp_path: Path):
    """Often they are what is compared."""
    one = recorded(tmp_path, "one", of("torch", *STEADY))
    other = recorded(
        tmp_path,
        "other",
        of("torch", *STEADY),
        environment=MACHINE | {"packages": {"torch": "2.12.0", "keras": "3.12"}},
    )

    notes = compare(one, other).notes

    assert "torch: A 2.11.0, B 2.12.0" in notes
    assert "keras: A absent, B 3.12" in notes


def test_what_was_not_recorded_is_refused(tmp_path: Path):
    """With what there is."""
    run = recorded(tmp_path, "one", of("torch", *STEADY))

    with pytest.raises(RunError, match=r"expected a backend of .* \(torch\), found 'keras'"):
        recorded_run("pets@keras", results=tmp_path)
    with pytest.raises(SuiteError, match="expected trials of other, found cnn on torch"):
        compare(run, run, benchmarks=("other",))


def test_a_comparison_is_json(tmp_path: Path):
    """Every number finite or null."""
    one = recorded(tmp_path, "one", of("torch", *STEADY[:3]))

    text = json.dumps(compare(one, one).as_dict(), allow_nan=False)

    assert json.loads(text)["cells"][0]["verdicts"][0]["column"] == "train_images_per_s"


# --- Sessions, and trials that ran in turn -------------------------------------------------------


def timed(number: int, time: str, *, backend: str = "keras", wall_s: float = 60.0):
    """Return a trial that began at a time of one day."""
    started = f"2026-11-24T{time}+00:00"
    return record("cnn", backend, trial=number, metrics={"wall_s": wall_s}, started=started)


def test_a_break_of_more_than_ten_minutes_begins_another_session():
    """From the end of one trial to the beginning of the next; order of time, not of the file."""
    trials = [
        timed(3, "09:00:00"),
        timed(1, "08:00:00"),
        timed(2, "08:10:30"),
        timed(4, "10:01:00", wall_s=3600.0),
        timed(5, "11:05:00"),
    ]

    found = [[one["trial"] for one in session] for session in sessions_of(trials)]

    assert found == [[1, 2], [3], [4, 5]]
    assert sessions_of([]) == []


def test_a_time_without_a_zone_is_of_utc():
    """As older records have it."""
    naive = record("cnn", "keras", started="2026-11-24T08:01:00")

    assert len(sessions_of([timed(1, "08:00:00"), naive])) == 1


def test_backends_that_took_turns_ran_next_to_each_other():
    """A B, B A; also with a third between them in each turn."""
    ours = [timed(1, "08:00:00"), timed(2, "08:05:00")]
    theirs = [timed(1, "08:02:00", backend="torch"), timed(2, "08:03:00", backend="torch")]
    third = [timed(1, "08:01:00", backend="jax"), timed(2, "08:04:00", backend="jax")]

    assert ran_in_turn(ours, theirs, run=[*ours, *theirs, *third])


def test_trials_that_were_repeated_later_did_not():
    """An hour later; or at once, when the others were through."""
    ours = [timed(number, f"08:0{number}:00") for number in (1, 2, 3)]
    later = [timed(number, f"09:0{number}:00", backend="torch") for number in (1, 2, 3)]
    after = [timed(number, f"08:0{number + 3}:00", backend="torch") for number in (1, 2, 3)]

    assert not ran_in_turn(ours, later, run=[*ours, *later])
    assert not ran_in_turn(ours, after, run=[*ours, *after])
