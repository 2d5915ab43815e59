"""Time outside the framework's computation is in the table, under it, and beside the ratio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from report_runs import RUN
from results_records import record

from benchharness.report.markdown import markdown
from benchharness.report.notes import notes_of
from benchharness.report.rows import backends_of, groups_of, rows_of
from benchharness.report.summary import answers_of
from benchharness.report.table import plain_text


def trials(
    outside: Sequence[float | None] = (0.75, 0.05),
    compute_ms: Sequence[Sequence[float]] = ((2.0, 2.04, 2.06), (2.0, 2.0, 2.0)),
    *,
    benchmark: str = "simple_cnn",
    rates: Sequence[float] = (1000.0, 4000.0),
    **changes: Any,
) -> list[dict[str, Any]]:
    """Return three trials of keras and torch; without a share there was no replay."""
    records = []
    for place, (backend, other) in enumerate((("keras", "torch"), ("torch", "keras"))):
        for number in (1, 2, 3):
            metrics = {
                "train_images_per_s": rates[place] + number,
                "step_ms_p50": 8.0,
                "step_ms_p90": 9.0,
                "input_wait_fraction": 0.01,
            }
            if outside[place] is not None:
                metrics |= {
                    "outside_fraction": outside[place],
                    "compute_ms": compute_ms[place][number - 1],
                }
            known = {"proof": "proven", "proofs": {other: "proven"}} | changes
            records.append(record(benchmark, backend, trial=number, metrics=metrics, **known))
    return records


def answer(records: list[dict[str, Any]]) -> str:
    """Return the only answer line of some records."""
    (only,) = answers_of(rows_of(records, backends_of({}, records)))
    return only


def notes(records: list[dict[str, Any]]) -> dict[str, str]:
    """Return the notes under a table, text by label."""
    return {note.label: note.text for note in notes_of({}, rows_of(records, ["keras", "torch"]))}


def test_the_share_is_a_column_in_per_cent():
    """0.75 of a step is 75 %, beside the waiting for input; trials are no surer than that."""
    text = plain_text(RUN, trials((0.75, -0.004)), width=200)

    heading = next(line for line in text.splitlines() if "outside %" in line)
    assert re.search(r"input wait % +│ +outside %", heading)
    assert re.search(r"│ +75 +0( |$)", text, flags=re.MULTILINE)
    assert "outside %" in markdown(RUN, trials())


@pytest.mark.parametrize("is_detailed", [False, True])
def test_the_page_has_room_for_the_milliseconds_of_computation(is_detailed):
    """The terminal has not: they follow from the step and the share."""
    groups = groups_of(rows_of(trials(), ["keras"]), ["keras"], is_detailed=is_detailed)

    assert ("compute ms" in [group.title for group in groups]) == is_detailed


def test_a_large_share_is_a_note_with_all_its_places():
    """More than 15 % is noted; all benchmarks and backends are in one note."""
    records = [
        *trials(),
        *trials((0.91, 0.2), benchmark="bottleneck"),
        *trials((0.15, 0.1), benchmark="fine_tune"),
    ]

    note = notes(records)["outside computation"]

    assert note == (
        "simple_cnn (keras 75 %); bottleneck (keras 91 %, torch 20 %): share of a training step "
        "outside the framework's computation (feeding, copying, the adapter), which the speed "
        "ratio measures too"
    )


def test_the_median_of_the_trials_decides():
    """A single slow trial is no property of a backend."""
    records = trials((0.1, 0.1))
    records[0]["metrics"]["outside_fraction"] = 0.9

    assert "outside computation" not in notes(records)


@pytest.mark.parametrize(
    ("benchmarks", "named"),
    [
        (((None, 0.0), (None, 0.0)), "keras: no"),
        (((None, None), (None, None)), "keras, torch: no"),
        (((None, 0.0), (0.1, 0.0)), "keras in first: no"),
    ],
)
def test_a_backend_without_a_replay_is_named(benchmarks, named):
    """Once, with the benchmarks where it is not all of them."""
    records = [
        one
        for name, outside in zip(("first", "second"), benchmarks, strict=True)
        for one in trials(outside, benchmark=name)
    ]

    assert notes(records)["computation unknown"].startswith(named)


@pytest.mark.parametrize("change", [{"track": "native"}, {"status": "failed"}])
def test_only_trainings_of_the_equal_track_are_said_to_lack_a_replay(change):
    """Neither the native track nor what has failed is compared by its computation."""
    assert "computation unknown" not in notes(trials((None, None), **change))


def test_feeding_lacks_no_replay():
    """It has steps, and no computation to repeat."""
    metrics = {"feed_images_per_s": 1000.0, "step_ms_p50": 8.0, "step_ms_p90": 9.0}

    assert "computation unknown" not in notes([record(strategy="dataset", metrics=metrics)])


EQUAL_MS = ((4.0, 4.0, 4.0), (2.0, 2.0, 2.0))
SLOWER_MS = ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("records", "fragments", "never"),
    [
        pytest.param(
            trials(),
            ["torch trains 3.99x faster than keras", "3 trials)",
             "; keras: 75 % of a step is outside its computation; computation alone 1.02"],
            "torch: 5 %",
            id="the share, and that torch computes a step no more than 1.02x as fast",
        ),
        pytest.param(
            trials((0.75, 0.2)),
            ["; torch: 20 %, keras: 75 % of a step is outside their computation; "],
            "its computation",
            id="two large shares are one clause, the faster backend first as in the ratio",
        ),
        pytest.param(
            trials(compute_ms=SLOWER_MS),
            ["torch trains", "computation alone 0.50x"],
            "2.00x",
            id="the ratio of the computation has the answer's order of backends",
        ),
        pytest.param(
            trials((0.02, 0.03), EQUAL_MS, rates=(1000.0, 2000.0)),
            ["torch trains 2.00x"],
            "computation",
            id="a ratio of computation that adds nothing is not printed",
        ),
        pytest.param(
            trials((0.02, 0.03), EQUAL_MS, rates=(1000.0, 2200.0)),
            ["computation alone 2.00x"],
            "outside its computation",
            id="one that differs from the ratio of speeds is",
        ),
        pytest.param(
            trials(track="native", proof="", proofs={}),
            ["keras: 75 % of a step"],
            "computation alone",
            id="backends of the native track do not compute the same",
        ),
        pytest.param(
            trials((0.75, None)),
            ["keras: 75 % of a step"],
            "computation alone",
            id="without a replay on either side there is no ratio",
        ),
        pytest.param(
            [one for one in trials() if one["trial"] == 1],
            ["computation alone 1.00x (one trial)"],
            "95 % CI",
            id="one trial has no interval",
        ),
    ],
)  # fmt: skip
def test_the_answer_names_the_share_and_the_ratio_of_the_computation(records, fragments, never):
    """Beside the ratio of speeds, where they add something."""
    said = answer(records)

    assert all(fragment in said for fragment in fragments), said
    assert never not in said


def test_markdown_has_the_clauses_too():
    """A pull request shows the same answers."""
    text = markdown(RUN, trials())

    assert "keras: 75 % of a step is outside its computation; computation alone 1.02" in text
    assert "- outside computation: simple\\_cnn (keras 75 %)" in text


def test_disturbed_trials_say_so_beside_the_computation_alone():
    """It is a ratio like any other."""
    records = trials()
    records[0]["metrics"]["foreign_cores"] = 1.2

    assert re.search(
        r"computation alone [\d.]+x \(machine busy: unreliable; 95 % CI", answer(records)
    )
