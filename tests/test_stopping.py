"""Stopping rule: when a line has enough trials, and what a look asks for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from results_records import record
from suite_files import suite_of

from benchharness.run.stopping import LineLook, look_at, next_round, started_trials
from benchharness.suite.plan import Plan, Trial
from benchharness.suite.resolve import resolve

HEAD = 'name = "pets"\nseed = 7\nbackends = ["keras", "torch"]\n[dataset]\nsource = "drawn"\n'
CNN = '[[benchmark]]\nname = "{}"\nstrategy = "simple_cnn"\n'
STEADY, RESTLESS = (100.0, 100.1, 99.9), (100.0, 130.0, 80.0)
WALL_S = 2.0


def plan_of(folder: Path, *names: str, more: str = "", **request: Any) -> Plan:
    """Return the plan of a suite with these benchmarks, on two backends unless more says so."""
    text = HEAD + "".join(map(CNN.format, names or ("cnn",))) + more
    return resolve(suite_of(folder, text), profile=None, **request)


def recorded(
    plan: Plan, rates: dict[str, Sequence[float]], *, benchmark: str = "cnn", wall_s: float = WALL_S
) -> list[dict[str, Any]]:
    """Return records of a benchmark, turn by turn: images per second of each backend's trials.

    A rate of 0 stands for a trial that failed.
    """
    began = datetime(2026, 11, 30, 12, tzinfo=UTC)
    records = []
    for index, turn in enumerate(zip(*rates.values(), strict=True), start=1):
        for backend, rate in zip(rates, turn, strict=True):
            metrics = {"train_images_per_s": rate, "wall_s": wall_s} if rate else {}
            started = began + timedelta(seconds=wall_s * len(records))
            status = "ok" if rate else "failed"
            records.append(
                record(
                    benchmark,
                    backend,
                    trial=index,
                    metrics=metrics,
                    status=status,
                    started=started.isoformat(),
                )
            )
    return records


def named(trials: Sequence[Trial]) -> list[tuple[str, str, int]]:
    """Return benchmark, backend and number of each trial."""
    return [(trial.cell.benchmark, trial.cell.backend, trial.index) for trial in trials]


def only(looks: list[LineLook]) -> LineLook:
    """Return the one look there is."""
    (found,) = looks
    return found


@pytest.mark.parametrize(
    ("theirs", "verdict"), [((200.0, 201.0, 199.0), "slower"), ((100.2, 99.9, 100.0), "equal")]
)
def test_a_line_ends_when_its_backends_are_told_apart_or_equal(
    tmp_path: Path, theirs: tuple[float, ...], verdict: str
):
    """Twice the speed, or less than the margin apart: three trials tell either."""
    plan = plan_of(tmp_path)
    records = recorded(plan, {"keras": STEADY, "torch": theirs})

    found = only(look_at(plan, records, spent_s=0))

    assert (found.stop, found.trials, found.more) == ("decided", 3, None)
    assert found.as_dict()["pairs"][0]["verdict"] == verdict
    assert next_round(plan, [found]) == []


def test_an_open_line_gets_one_more_trial_of_each_backend_in_turn(tmp_path: Path):
    """The fourth turn is reversed, B A, as every other one, and both have one seed."""
    plan = plan_of(tmp_path, "cnn", "steady")
    records = recorded(plan, {"keras": STEADY, "torch": RESTLESS})
    records += recorded(plan, {"keras": STEADY, "torch": STEADY}, benchmark="steady")

    trials = next_round(plan, look_at(plan, records, spent_s=0))

    assert named(trials) == [("cnn", "torch", 4), ("cnn", "keras", 4)]
    assert {trial.seed for trial in trials} == {10}


def test_a_line_ends_with_as_many_trials_as_it_may_have(tmp_path: Path):
    """Undecided after the last look, it stays so."""
    plan = plan_of(tmp_path, max_trials=4)
    rates = {"keras": (*STEADY, 100.0), "torch": (*RESTLESS, 120.0)}

    found = only(look_at(plan, recorded(plan, rates), spent_s=0))

    assert (found.stop, found.trials) == ("max_trials", 4)
    assert found.undecided
    assert next_round(plan, [found]) == []


@pytest.mark.parametrize(
    ("spent_s", "expected"),
    [(0, [None, None]), (41, [None, "time"]), (51, ["time", None]), (57, ["time", "time"])],
)
def test_a_round_that_would_not_end_in_time_is_not_begun(
    tmp_path: Path, spent_s: float, expected: list[str | None]
):
    """Of one minute 19 s are left, then 9, then 3: rounds take 16 s and 4 s, by the last trials."""
    plan = plan_of(tmp_path, "slow", "fast", max_minutes=1.0)
    open_rates = {"keras": STEADY, "torch": RESTLESS}
    records = recorded(plan, open_rates, benchmark="slow", wall_s=8)
    records += recorded(plan, open_rates, benchmark="fast", wall_s=2)

    found = look_at(plan, records, spent_s=spent_s)

    assert [one.stop for one in found] == expected


def test_a_look_says_what_would_decide_its_line(tmp_path: Path):
    """So many more trials of each backend, and the seconds of that many rounds."""
    plan = plan_of(tmp_path, max_minutes=0.1)
    rates = {"keras": STEADY, "torch": (112.0, 110.0, 118.0)}

    told = only(look_at(plan, recorded(plan, rates), spent_s=60)).as_dict()

    assert told["stop"] == "time"
    assert 1 <= told["more_trials"] <= 7
    assert told["more_s"] == told["more_trials"] * 2 * WALL_S


def test_what_failed_in_all_its_trials_gets_no_more(tmp_path: Path):
    """The two backends that are well go on without it; a single one has nothing to decide."""
    plan = plan_of(tmp_path, backends=("keras", "torch", "jax"))
    broken = (0.0, 0.0, 0.0)
    records = recorded(plan, {"keras": STEADY, "torch": RESTLESS, "jax": broken})
    alone = recorded(plan, {"keras": STEADY, "torch": broken, "jax": broken})

    two, one = only(look_at(plan, records, spent_s=0)), only(look_at(plan, alone, spent_s=0))

    assert named(next_round(plan, [two])) == [("cnn", "torch", 4), ("cnn", "keras", 4)]
    assert (one.stop, next_round(plan, [one])) == ("failed", [])


def test_only_the_fastest_backend_has_to_be_told_from_the_others(tmp_path: Path):
    """Which of two slower ones is the slowest is no question of the report."""
    plan = plan_of(tmp_path, backends=("keras", "torch", "jax"))
    rates = {"keras": (100.0, 104.0, 98.0), "torch": (300.0, 302.0, 301.0), "jax": RESTLESS}

    found = only(look_at(plan, recorded(plan, rates), spent_s=0))

    assert found.looks["keras", "jax"].verdict == "open"
    assert found.stop is None
    steadier = {**rates, "jax": (100.0, 97.0, 103.0)}
    found = only(look_at(plan, recorded(plan, steadier), spent_s=0))
    assert found.looks["keras", "jax"].verdict == "open"
    assert found.stop == "decided"


def test_a_round_that_was_begun_is_completed_before_anything_else(tmp_path: Path):
    """After a kill: all first trials and those of the fourth turn, but of what is broken."""
    plan = plan_of(tmp_path, backends=("keras", "torch", "jax"))
    rates = {"keras": STEADY, "torch": RESTLESS, "jax": (0.0, 0.0, 0.0)}
    records = [*recorded(plan, rates), record("cnn", "torch", trial=4)]

    first, fourth = list(started_trials(plan, []))[:3], list(started_trials(plan, records))[9:]

    assert named(first) == [("cnn", "keras", 1), ("cnn", "torch", 1), ("cnn", "jax", 1)]
    assert started_trials(plan, []) == list(plan.trials())
    assert named(fourth) == [("cnn", "torch", 4), ("cnn", "keras", 4)]


def test_fixed_numbers_of_trials_are_not_looked_at(tmp_path: Path):
    """A suite may have both kinds."""
    plan = plan_of(tmp_path, "cnn", more=CNN.format("fixed") + "trials = 2\n")
    records = recorded(plan, {"keras": STEADY, "torch": STEADY})

    looks = look_at(plan, records, spent_s=0)

    assert [one.line[0].benchmark for one in looks] == ["cnn"]
    assert look_at(plan_of(tmp_path, trials=3), records, spent_s=0) == []


def test_every_point_of_a_matrix_is_a_line_of_its_own(tmp_path: Path):
    """One point is decided, and the other goes on."""
    plan = plan_of(tmp_path, more="matrix = { batch_size = [8, 16] }\n")
    both = itertools.chain(
        (
            one | {"matrix": {"batch_size": 8}}
            for one in recorded(plan, {"keras": STEADY, "torch": STEADY})
        ),
        (
            one | {"matrix": {"batch_size": 16}}
            for one in recorded(plan, {"keras": STEADY, "torch": RESTLESS})
        ),
    )

    looks = look_at(plan, list(both), spent_s=0)

    assert [(dict(one.line[0].matrix), one.stop) for one in looks] == [
        ({"batch_size": 8}, "decided"),
        ({"batch_size": 16}, None),
    ]
