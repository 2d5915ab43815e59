"""Comparisons of records: what is paired with what, in which measure, and how many there are."""

from __future__ import annotations

import math
from typing import Any

import pytest
from results_records import record

from benchharness.results.cells import cells_of
from benchharness.results.comparisons import (
    BackendPair,
    comparisons_of,
    family_size,
    work_speed,
)


def turns(*starts: tuple[str, str, int], wall_s: float = 50.0) -> BackendPair:
    """Return the comparison of trials that started at these times (backend, HH:MM:SS, index)."""
    records = [
        record(
            backend=backend,
            trial=trial,
            metrics={"train_images_per_s": 100.0, "wall_s": wall_s},
            started=f"2026-11-23T{time}Z",
        )
        for backend, time, trial in starts
    ]
    (comparison,) = comparisons_of(cells_of(records))
    return comparison


def test_trials_of_a_turn_are_neighbours():
    """A B, B A: within a turn nothing of another one ran."""
    comparison = turns(
        ("a", "10:00:00", 1), ("b", "10:01:00", 1), ("b", "10:02:00", 2), ("a", "10:03:00", 2)
    )

    assert [(one["trial"], other["trial"]) for one, other in comparison.couples] == [(1, 1), (2, 2)]
    assert not comparison.is_separate_run


def test_one_side_after_the_other_is_apart():
    """As after --only-failed: A A A, then B B B."""
    comparison = turns(
        *(("a", f"10:0{trial}:00", trial) for trial in (1, 2, 3)),
        *(("b", f"10:0{trial + 3}:00", trial) for trial in (1, 2, 3)),
    )

    assert comparison.couples == ()
    assert (comparison.apart, comparison.is_separate_run) == (3, True)


@pytest.mark.parametrize(("start", "is_separate_run"), [("10:01:49", False), ("10:01:51", True)])
def test_a_pause_of_more_than_a_minute_parts_a_turn(start, is_separate_run):
    """The first one ended at 10:00:50."""
    assert turns(("a", "10:00:00", 1), ("b", start, 1)).is_separate_run is is_separate_run


def test_unknown_times_are_taken_for_neighbours():
    """Records of other programs may lack them."""
    records = [record(backend=name, started=None) for name in ("a", "b")]

    (comparison,) = comparisons_of(cells_of(records))

    assert len(comparison.couples) == 1


@pytest.mark.parametrize(
    ("changes", "metric", "log"),
    [
        ({}, "train_images_per_s", math.log(2)),
        ({"strategy": "dataset"}, "feed_images_per_s", math.log(3)),
        ({"settings": {"target_top1": 0.9}}, "time_to_top1_s", math.log(4)),
    ],
)
def test_the_measure_follows_from_the_benchmark(changes, metric, log):
    """Half the seconds are twice the speed."""
    known = {
        "a": {"train_images_per_s": 2.0, "feed_images_per_s": 3.0, "time_to_top1_s": 1.0},
        "b": {"train_images_per_s": 1.0, "feed_images_per_s": 1.0, "time_to_top1_s": 4.0},
    }
    records = [record(backend=name, metrics=known[name], **changes) for name in known]

    (comparison,) = comparisons_of(cells_of(records))

    assert comparison.metric == metric
    assert comparison.logs() == pytest.approx((log,))


@pytest.mark.parametrize(
    ("extracted", "speed"),
    [
        ({"extract_reused": False, "extract_s": 3.0}, math.log(25.0)),
        ({"extract_reused": True, "extract_s": 3.0}, None),
        ({}, None),
    ],
)
def test_the_work_of_a_bottleneck_is_extraction_and_training(extracted, speed):
    """100 images/s for one second, after three seconds of extraction, are 25 images/s."""
    metrics: dict[str, Any] = {"train_images_per_s": 100.0, "train_s": 1.0} | extracted

    found = work_speed(record(strategy="bottleneck", metrics=metrics))

    assert found == (None if speed is None else pytest.approx(speed))


def test_a_family_is_every_pair_of_each_line_and_of_the_overall_answer():
    """Three backends: three pairs on each of four lines, and overall over two of them."""
    cells = cells_of(
        record(benchmark, backend, **changes)
        for backend in ("a", "b", "c")
        for benchmark, changes in (
            ("cnn", {}),
            ("tune", {}),
            ("feed", {"strategy": "dataset"}),
            ("cnn", {"track": "native"}),
        )
    )

    assert family_size(cells) == 3 * 4 + 3


def test_a_matrix_has_a_line_per_point_and_one_vote():
    """One benchmark of two points has no overall answer."""
    cells = cells_of(
        record(backend=backend, matrix={"size": size}) for backend in "ab" for size in (32, 64)
    )

    assert family_size(cells) == 2
