"""Notes under the table of a run that ran out of time."""

from __future__ import annotations

from typing import Any

import pytest
from report_runs import RUN, trial

from benchharness.report.notes import out_of_time
from benchharness.report.rows import Row, rows_of
from benchharness.report.table import missing_trials

LOOK = {
    "benchmark": "cnn",
    "matrix": {},
    "track": "equal",
    "stop": "time",
    "max_trials": 10,
    "more_trials": 3,
    "more_s": 200.5,
}


def rows(*tracks: str) -> list[Row]:
    """Return the rows of a run with a trial of each of these tracks."""
    return rows_of([trial("cnn", "torch", 1, 30.0, track=track) for track in tracks], ["torch"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {},
            "cnn (equal): 3 more trials of each, 4 minutes, would probably decide it: --resume",
        ),
        (
            {"more_trials": 1, "more_s": 41.2, "matrix": {"batch_size": 8}, "track": "native"},
            "cnn [batch_size=8] (native): 1 more trial of each, 42 s, would probably decide it: "
            "--resume",
        ),
        (
            {"more_trials": None, "more_s": None},
            "cnn (equal): even 10 trials of each would probably not decide it",
        ),
    ],
)
def test_a_note_says_what_time_would_have_decided(change: dict[str, Any], text: str):
    """Trials and time, where so many would do."""
    (note,) = out_of_time({"looks": [LOOK | change]}, rows("equal", "native"))

    assert (note.label, note.text) == ("out of time", text)


@pytest.mark.parametrize("track", ["equal", "native"])
def test_a_note_names_a_row_as_the_table_does(track: str):
    """The only track of a run goes without saying, whichever it is."""
    (note,) = out_of_time({"looks": [LOOK | {"track": track}]}, rows(track))

    assert note.text.startswith("cnn: 3 more trials")


@pytest.mark.parametrize("stop", ["decided", "max_trials", "failed"])
def test_what_time_did_not_end_has_no_note(stop: str):
    """The answers say the rest."""
    assert list(out_of_time({"looks": [LOOK | {"stop": stop}]}, rows("equal"))) == []
    assert list(out_of_time(RUN, rows("equal"))) == []


def test_a_run_without_its_last_look_is_not_complete():
    """All first trials are there, but something ended it before a look found them enough."""
    cells = [{"trials": 3, "max_trials": 10}, {"trials": 3, "max_trials": None}]
    run: dict[str, Any] = {"asked": {}, "resolved": {"file": "pets.toml", "cells": cells}}
    records: list[dict[str, Any]] = [{}] * 6

    assert missing_trials(run, records[:5]).startswith("NOT COMPLETE: 5 of 6 trials;")
    assert missing_trials(run, records) == (
        "NOT COMPLETE: 6 trials, ended before a look found them enough; "
        "benchharness run pets.toml --resume does the rest"
    )
    assert missing_trials(run | {"looks": []}, records) == ""
