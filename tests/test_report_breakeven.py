"""The report says after how many steps compiling pays, and where that cannot be told."""

from __future__ import annotations

from typing import Any

from results_records import record

from benchharness.report.metric_columns import groups_of
from benchharness.report.notes import notes_of
from benchharness.report.rows import backends_of, rows_of

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


def test_compiling_that_slows_down_never_pays():
    """Nothing is promised where a step takes longer."""
    slow = variant("torch-compiled", is_compiled=True, epoch_s=1.5, compile_s=20.0)

    (said,) = notes(PLAIN, slow)

    assert "compiling never pays" in said


def test_compiling_that_takes_no_longer_pays_at_once():
    """No step has to be waited for."""
    quick = variant("torch-compiled", is_compiled=True, epoch_s=0.6, compile_s=0.4)

    (said,) = notes(PLAIN, quick)

    assert "compiling pays after 0 steps" in said


def test_a_gain_that_trials_agree_on_is_sure():
    """Three pairs of one ratio leave no doubt to be told."""
    trials = [one | {"trial": number} for one in (PLAIN, COMPILED) for number in (1, 2, 3)]

    (said,) = notes(*trials)

    assert said.endswith("s of training)")


def test_only_what_differs_in_compiling_alone_is_compared():
    """Another framework, another batch size, or one that compiles unasked is no uncompiled twin."""
    other = variant("jax", is_compiled=True, engine="jax", epoch_s=0.6, compile_s=2.0)
    larger = COMPILED | {"settings": SETTINGS | {"compile": True, "batch_size": 40}}

    assert notes(PLAIN, other) == []
    assert notes(PLAIN, larger) == []
    assert notes(PLAIN, COMPILED | {"status": "failed", "metrics": {}}) == []


def test_compile_seconds_are_a_column_where_compiling_is_asked_for():
    """Elsewhere the total holds them, and no column is spent."""
    asked, unasked = ([PLAIN, COMPILED], [PLAIN])

    titles = [
        [group.title for group in groups_of(rows_of(records, names), names)]
        for records in (asked, unasked)
        for names in [backends_of({}, records)]
    ]

    assert ["compile s" in found for found in titles] == [True, False]


def test_disturbed_trials_make_a_payback_unsure():
    """However far the speeds are from each other."""
    plain = [PLAIN | {"trial": trial} for trial in (1, 2, 3)]
    compiled = [COMPILED | {"trial": trial} for trial in (1, 2, 3)]
    compiled[0] = compiled[0] | {"metrics": compiled[0]["metrics"] | {"foreign_cores": 1.2}}

    (quiet,) = notes(*plain, *[COMPILED | {"trial": trial} for trial in (1, 2, 3)])
    (busy,) = notes(*plain, *compiled)

    assert "not sure" not in quiet
    assert "; not sure: 2.00x as fast (machine busy: unreliable; 95 % CI" in busy
