"""Progress of a phase: reported once a second, in whole batches, and in no time at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchharness.measure.blocks import Block
from benchharness.testing.tasks import make_batches
from benchharness.worker.features import compute_features
from benchharness.worker.progress import ProgressReporter


class FakeClock:
    """Seconds that pass only when events."""

    def __init__(self) -> None:
        self.now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


def reporter(clock: FakeClock, events: list[Any], *, images: int = 10) -> ProgressReporter:
    """Return a reporter of batches of four."""
    return ProgressReporter(
        emit=events.append, phase="train", images=images, batch_size=4, now=clock
    )


def test_it_is_reported_once_a_second_at_most():
    """Asked every 0.4 s: every third time, the first second left out."""
    clock, events = FakeClock(), []
    progress = reporter(clock, events, images=100)
    for step in range(1, 11):
        progress.at_edge(1, [Block(1, 0.4)] * step)
        clock.now_s += 0.4

    assert [event["done"] for event in events] == [16, 28, 40]
    assert [event["seconds"] for event in events] == pytest.approx([1.6, 2.8, 4.0])


def test_the_smaller_last_batch_is_counted_as_it_is():
    """Three batches of four hold ten images, where there are ten."""
    clock, events = FakeClock(), []
    progress = reporter(clock, events)
    progress.at_edge(2, [])
    clock.now_s += 2
    progress.at_edge(2, [Block(3, 2.0)])

    assert events == [
        {
            "event": "progress",
            "phase": "train",
            "epoch": 2,
            "done": 10,
            "images": 10,
            "seconds": 2.0,
        }
    ]


class SlowExtraction:
    """Takes two seconds for a batch."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def extract(self, batches):
        """Yield features of one value."""
        for batch in batches:
            self._clock.now_s += 2.0
            yield np.zeros((len(batch), 1), np.float32)

    def synchronize(self) -> None:
        """Have nothing to wait for."""


def test_reporting_an_extraction_takes_none_of_its_time(tmp_path: Path):
    """Three batches of 2 s, and 30 s for each of two messages: 6 s."""
    clock, events = FakeClock(), []

    def emit(event: Any) -> None:
        events.append((event["done"], event["seconds"]))
        clock.now_s += 30.0

    features = compute_features(
        tmp_path,
        "key",
        extraction=SlowExtraction(clock),
        batches=make_batches(sizes=(4, 4, 2)),
        shape=(1,),
        now=clock,
        progress=ProgressReporter(emit=emit, phase="extract", images=10, batch_size=4, now=clock),
    )

    assert features.seconds == 6.0
    assert events == [(8, 4.0), (10, 6.0)]
