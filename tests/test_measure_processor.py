"""Processor time counts timed work alone, and memory the work without what checks it."""

from __future__ import annotations

from benchharness.measure.cpu_time import CpuTimer
from benchharness.measure.meters import Meters


def test_only_timed_stretches_are_added_up():
    """From 1 to 3 and from 10 to 14 seconds; what lies between is evaluation."""
    readings = iter([1.0, 3.0, 10.0, 14.0, 20.0])
    processor = CpuTimer(now=lambda: next(readings), threads_now=dict)

    for is_timed in (True, False, True, False, False):
        processor.turn(is_timed)

    assert processor.seconds == 6.0


def test_a_stretch_that_is_told_twice_counts_once():
    """Two beginnings in a row go on with the same stretch."""
    readings = iter([1.0, 2.0, 5.0])
    processor = CpuTimer(now=lambda: next(readings), threads_now=dict)

    for is_timed in (True, True, False):
        processor.turn(is_timed)

    assert processor.seconds == 4.0


def test_threads_that_share_the_work_are_counted():
    """Beside the busiest, who did a quarter as much or more; only of timed work."""
    seconds = iter([{1: 0.0, 2: 5.0}, {1: 4.0, 2: 7.0, 3: 0.5}, {1: 9.0, 2: 30.0, 3: 0.5}])
    processor = CpuTimer(now=lambda: 0.0, threads_now=lambda: next(seconds))

    for is_timed in (True, False, False):
        processor.turn(is_timed)

    assert processor.threads == {1: 4.0, 2: 2.0, 3: 0.5}
    assert processor.sharing == 2


def test_memory_of_checking_the_clock_is_not_the_works(monkeypatch):
    """The yardstick's matrices, and steps that are timed again, are ours."""
    held = iter([{1: 500}, {1: 700}, {1: 900}])
    monkeypatch.setattr("benchharness.measure.meters.tree", lambda pid: next(held))
    meters = Meters(pid=1)

    meters.sample()
    meters.take({"event": "phase", "phase": "train"})
    meters.sample()
    meters.take({"event": "phase", "phase": "calibrate"})
    meters.sample()

    assert meters.metrics()["peak_host_bytes"] == 700
