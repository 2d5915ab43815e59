"""Processor time counts timed work alone, and memory the work without what checks it."""

from __future__ import annotations

from benchharness.measure.clock import CpuTimer
from benchharness.measure.meters import Meters


def test_only_timed_stretches_are_added_up():
    """From 1 to 3 and from 10 to 14 seconds; what lies between is evaluation."""
    readings = iter([1.0, 3.0, 10.0, 14.0])
    timer = CpuTimer(now=lambda: next(readings), threads_now=dict)

    for step in (timer.start, timer.stop, timer.start, timer.stop, timer.stop):
        step()

    assert timer.seconds == 6.0


def test_a_stretch_that_is_started_twice_counts_once():
    """Two starts in a row go on with the same stretch."""
    readings = iter([1.0, 5.0])
    timer = CpuTimer(now=lambda: next(readings), threads_now=dict)

    for step in (timer.start, timer.start, timer.stop):
        step()

    assert timer.seconds == 4.0


def test_threads_that_share_the_work_are_counted():
    """Beside the busiest, who did a quarter as much or more; only of timed work."""
    seconds = iter([{1: 0.0, 2: 5.0}, {1: 4.0, 2: 7.0, 3: 0.5}])
    timer = CpuTimer(now=lambda: 0.0, threads_now=lambda: next(seconds))

    for step in (timer.start, timer.stop, timer.stop):
        step()

    assert timer.threads == {1: 4.0, 2: 2.0, 3: 0.5}
    assert timer.sharing == 2


def test_memory_of_checking_the_clock_is_not_the_works(monkeypatch):
    """The yardstick's matrices, and steps that are timed again, are ours."""
    held = iter([{1: 500}, {1: 700}, {1: 900}])
    monkeypatch.setattr("benchharness.measure.meters.tree", lambda pid: next(held))
    meters = Meters(pid=1)

    meters.sample()
    meters.on_event({"event": "phase", "phase": "train"})
    meters.sample()
    meters.on_event({"event": "phase", "phase": "calibrate"})
    meters.sample()

    assert meters.metrics()["peak_host_bytes"] == 700
