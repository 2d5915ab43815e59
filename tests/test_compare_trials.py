"""Sessions of recorded trials, and trials that ran in turn."""

from __future__ import annotations

from results_records import record

from benchharness.compare.verdict import ran_in_turn, sessions_of


def trial(number: int, time: str, *, backend: str = "keras", wall_s: float = 60.0):
    """Return a trial that began at a time of one day."""
    started = f"2026-11-24T{time}+00:00"
    return record("cnn", backend, trial=number, metrics={"wall_s": wall_s}, started=started)


def test_a_break_of_more_than_ten_minutes_begins_another_session():
    """From the end of one trial to the beginning of the next; order of time, not of the file."""
    trials = [
        trial(3, "09:00:00"),
        trial(1, "08:00:00"),
        trial(2, "08:10:30"),
        trial(4, "10:01:00", wall_s=3600.0),
        trial(5, "11:05:00"),
    ]

    found = [[one["trial"] for one in session] for session in sessions_of(trials)]

    assert found == [[1, 2], [3], [4, 5]]
    assert sessions_of([]) == []


def test_a_time_without_a_zone_is_of_utc():
    """As older records have it."""
    naive = record("cnn", "keras", started="2026-11-24T08:01:00")

    assert len(sessions_of([trial(1, "08:00:00"), naive])) == 1


def test_backends_that_took_turns_ran_next_to_each_other():
    """A B, B A; also with a third between them in each turn."""
    ours = [trial(1, "08:00:00"), trial(2, "08:05:00")]
    theirs = [trial(1, "08:02:00", backend="torch"), trial(2, "08:03:00", backend="torch")]
    third = [trial(1, "08:01:00", backend="jax"), trial(2, "08:04:00", backend="jax")]

    assert ran_in_turn(ours, theirs, run=[*ours, *theirs, *third])


def test_trials_that_were_repeated_later_did_not():
    """An hour later; or at once, when the others were through."""
    ours = [trial(number, f"08:0{number}:00") for number in (1, 2, 3)]
    later = [trial(number, f"09:0{number}:00", backend="torch") for number in (1, 2, 3)]
    after = [trial(number, f"08:0{number + 3}:00", backend="torch") for number in (1, 2, 3)]

    assert not ran_in_turn(ours, later, run=[*ours, *later])
    assert not ran_in_turn(ours, after, run=[*ours, *after])
