"""The report says after how many steps compiling pays, and where that cannot be told."""

from __future__ import annotations

from typing import Any

import pytest
from results_records import record

from benchharness.report.notes import notes_of
from benchharness.report.rows import backends_of, groups_of, rows_of

SETTINGS = {"batch_size": 20, "compile": False}


def variant(
    backend: str,
    *,
    is_compiled: bool,
    epoch_s: float,
    compile_s: float,
    engine: str = "torch",
    **changes: Any,
) -> dict[str, Any]:
    """Return a trial over 110 images in steps of 20: six steps an epoch."""
    metrics = {
        "train_images_per_s": 110 / epoch_s,
        "epoch_s": epoch_s,
        "compile_s": compile_s,
    }
    known = {
        "metrics": metrics,
        "settings": SETTINGS | {"compile": is_compiled},
        "effective": {"engine": engine, "compile": is_compiled},
        "versions": {engine: "1.2.3"},
        "train_count": 110,
    }
    return record(backend=backend, **known | changes)


PLAIN = variant("torch", is_compiled=False, epoch_s=1.2, compile_s=0.5)
COMPILED = variant("torch-compiled", is_compiled=True, epoch_s=0.6, compile_s=20.55)


def notes(*records: dict[str, Any]) -> list[str]:
    """Return what is said of compiling."""
    lines = rows_of(records, backends_of({}, records))
    return [note.text for note in notes_of({}, lines) if note.label == "compiled"]


def test_compiling_pays_when_the_saved_time_has_made_it_good():
    """20.05 s more at first, 0.1 s less a step: 201 steps, by sums done by hand."""
    (said,) = notes(PLAIN, COMPILED)

    assert said == (
        "simple_cnn (torch-compiled): a step takes 100 ms instead of 200, the first steps with "
        "compiling 20.6 s instead of 0.5: compiling pays after 201 steps (33.5 epochs, 20.1 s of "
        "training); not sure: 2.00x as fast (one trial)"
    )


def test_a_matrix_of_compiling_is_compared_across_its_lines():
    """The same backend, compiled and not, stands on two lines."""
    off, on = ({"compile": value} for value in (False, True))
    plain = PLAIN | {"matrix": off}
    compiled = COMPILED | {"matrix": on, "backend": "torch"}

    (said,) = notes(plain, compiled)

    assert said.startswith("simple_cnn [compile=True] (torch): a step takes 100 ms")


@pytest.mark.parametrize(
    ("epoch_s", "compile_s", "said"),
    [(1.5, 20.0, "compiling never pays"), (0.6, 0.4, "compiling pays after 0 steps")],
)
def test_nothing_is_promised_or_waited_for_in_vain(epoch_s: float, compile_s: float, said: str):
    """A slower step never pays; compiling that takes no longer pays at once."""
    compiled = variant("compiled", is_compiled=True, epoch_s=epoch_s, compile_s=compile_s)

    (note,) = notes(PLAIN, compiled)

    assert said in note


@pytest.mark.parametrize(
    "other",
    [
        variant("jax", is_compiled=True, engine="jax", epoch_s=0.6, compile_s=2.0),
        COMPILED | {"settings": SETTINGS | {"compile": True, "batch_size": 40}},
        COMPILED | {"status": "failed", "metrics": {}},
    ],
    ids=["another framework", "another batch size", "failed"],
)
def test_only_what_differs_in_compiling_alone_is_compared(other: dict[str, Any]):
    """All else must be alike."""
    assert notes(PLAIN, other) == []


def test_compile_seconds_are_a_column_where_compiling_is_asked_for():
    """Elsewhere the total holds them, and no column is spent."""
    asked, unasked = ([PLAIN, COMPILED], [PLAIN])

    titles = [
        [group.title for group in groups_of(rows_of(records, names), names)]
        for records in (asked, unasked)
        for names in [backends_of({}, records)]
    ]

    assert ["compile s" in found for found in titles] == [True, False]


def test_a_gain_that_trials_agree_on_is_sure_unless_they_were_disturbed():
    """However far the speeds are from each other."""
    records = [one | {"trial": number} for one in (PLAIN, COMPILED) for number in (1, 2, 3)]
    (quiet,) = notes(*records)
    records[3] = records[3] | {"metrics": records[3]["metrics"] | {"foreign_cores": 1.2}}

    (busy,) = notes(*records)

    assert quiet.endswith("s of training)")
    assert "; not sure: 2.00x as fast (machine busy: unreliable; 95 % CI" in busy
