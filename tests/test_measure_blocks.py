"""Blocks of steps, by a clock that is moved by hand; percentiles, by hand."""

from __future__ import annotations

import threading

import pytest

from benchharness.measure.blocks import (
    Block,
    BlockTimer,
    best_epoch,
    seconds,
    step_percentiles,
)
from benchharness.measure.clock import InputTimer
from benchharness.testing.tasks import make_batches


class FakeDevice:
    """A queue of work: handing over takes no time, waiting takes all that was handed over."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queued_s = 0.0

    def now(self) -> float:
        """Return the time."""
        return self.now_s

    def report_samples(self, seconds: float) -> None:
        """Queue work."""
        self._queued_s += seconds

    def synchronize(self) -> None:
        """Let the queued work's time pass."""
        self.now_s += self._queued_s
        self._queued_s = 0.0


def timed(*step_s: float, queued: bool = False, after_s: float = 0.0) -> list[tuple[int, float]]:
    """Return steps and seconds of an epoch's blocks whose steps take so long."""
    device = FakeDevice()
    timer = BlockTimer(synchronize=device.synchronize, now=device.now)
    timer.start(steps=len(step_s))
    for one_s in step_s:
        if queued:
            device.report_samples(one_s)
        else:
            device.now_s += one_s
        timer.step()
    device.now_s += after_s
    return [(block.steps, pytest.approx(block.seconds)) for block in timer.stop()]


def test_a_block_ends_when_a_tenth_of_a_second_has_passed():
    """Steps of 0.04 s: three make a block; the middle step, here the fourth, ends one too."""
    assert timed(*[0.04] * 8) == [(3, 0.12), (1, 0.04), (3, 0.12), (1, 0.04)]


def test_a_step_longer_than_a_block_is_a_block():
    """Nothing is cut in two."""
    assert timed(0.3, 0.2, 0.5) == [(1, 0.3), (1, 0.2), (1, 0.5)]


def test_what_is_done_between_two_blocks_belongs_to_neither():
    """Five seconds of telling at each edge, also where the last block is opened again."""
    device, seen = FakeDevice(), []

    def tell(blocks) -> None:
        seen.append(sum(block.steps for block in blocks))
        device.now_s += 5.0

    timer = BlockTimer(synchronize=device.synchronize, now=device.now, on_edge=tell)
    timer.start(steps=4)
    for _ in range(4):
        device.now_s += 0.25
        timer.step()
    device.now_s += 0.5

    blocks = timer.stop()
    assert [(block.steps, block.seconds) for block in blocks] == [
        (1, 0.25),
        (1, 0.25),
        (1, 0.25),
        (1, 0.75),
    ]
    assert seen == [1, 2, 3, 4]


def test_what_follows_the_last_step_belongs_to_the_last_block():
    """An epoch that ends 0.05 s after a block's edge has no block without steps."""
    assert timed(0.2, 0.2, after_s=0.05) == [(1, 0.2), (1, 0.25)]


def test_queued_work_counts_in_the_block_that_handed_it_over():
    """Four steps that return at once: the middle edge waits for two of them."""
    assert timed(0.02, 0.02, 0.02, 0.02, queued=True) == [(2, 0.04), (2, 0.04)]


def test_work_queued_before_an_epoch_is_not_its_own():
    """The epoch begins when the device has finished what came before."""
    device = FakeDevice()
    timer = BlockTimer(synchronize=device.synchronize, now=device.now)
    device.report_samples(5.0)
    timer.start(steps=1)
    device.report_samples(1.0)
    timer.step()

    assert timer.stop() == [Block(1, 1.0)]


def test_blocks_add_up_to_the_epoch():
    """Nothing is lost between two blocks."""
    device = FakeDevice()
    timer = BlockTimer(synchronize=device.synchronize, now=device.now)
    timer.start(steps=30)
    for step in range(30):
        device.now_s += 0.01 + 0.003 * step
        timer.step()
    device.now_s += 0.25

    blocks = timer.stop()
    assert sum(block.steps for block in blocks) == 30
    assert seconds(blocks) == pytest.approx(device.now_s)


def test_percentiles_count_steps_and_not_blocks():
    """90 steps of 1 ms, 9 of 2 ms, one of 50 ms: medians of blocks would say 2 ms."""
    blocks = [Block(1, 0.05), Block(90, 0.09), Block(9, 0.018)]

    found = step_percentiles(blocks)
    assert found == {
        "step_ms_p50": pytest.approx(1.0),
        "step_ms_p90": pytest.approx(1.0),
        "step_ms_p99": pytest.approx(2.0),
    }


def test_without_steps_there_are_no_percentiles():
    """Unknown is absent."""
    assert step_percentiles([Block(0, 0.2)]) == {}


def test_waiting_on_other_threads_is_unknown_and_not_zero():
    """Batches that another thread got say nothing about how long training waited."""
    watch = InputTimer()
    (batches,) = watch.epochs([make_batches(sizes=(2, 2))])
    list(batches)
    alone_s = watch.waited_s
    thread = threading.Thread(target=lambda: batches[0])
    thread.start()
    thread.join()

    assert alone_s is not None
    assert watch.waited_s is None


def test_the_best_epoch_takes_each_half_where_nothing_disturbed_it():
    """Bursts hit the first half of one epoch and the second of another; 3 and 4 s are the work."""
    quiet, first = [Block(2, 3.0), Block(2, 4.0)], [Block(2, 9.0), Block(2, 4.5)]
    second = [Block(1, 2.0), Block(1, 1.5), Block(1, 5.0), Block(1, 8.0)]

    assert best_epoch([first, second]) == 3.5 + 4.5
    assert best_epoch([first, second, quiet]) == 7.0
    assert best_epoch([second]) == seconds(second)


def test_what_every_epoch_ends_with_belongs_to_the_best():
    """A pause of 10 s at the end of each is work of the framework's, and no burst."""
    epochs = [[Block(2, 3.0), Block(3, 4.0 + 10.0)] for _ in range(5)]

    assert best_epoch(epochs) == 17.0


def test_an_epoch_of_one_step_has_one_half():
    """There is no middle to end a block with."""
    assert best_epoch([[Block(1, 3.0)], [Block(1, 2.0)]]) == 2.0
