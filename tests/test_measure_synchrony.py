"""Whether synchronize waits: by hand-made epochs, and with real queues that work on a thread."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable

import pytest
from test_run import run

from benchharness import plugins
from benchharness.measure.blocks import Block
from benchharness.measure.synchrony import (
    UnsynchronizedError,
    Witnessed,
    demand_synchrony,
    is_suspicious,
    leaves_leftover,
    middle_share,
)
from benchharness.testing.tasks import make_batches

ASYNCHRONOUS = """
import queue, threading, time
from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend, NumpyFeeding, NumpyTraining


class Queue:
    # A device: takes orders at once, carries them out one by one on a thread of its own.
    def __init__(self):
        self.orders = queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            order = self.orders.get()
            order()
            self.orders.task_done()

    def order(self, job):
        self.orders.put(job)

    def wait(self):
        self.orders.join()


class Asynchronous:
    def __init__(self, task, dtype, honest):
        self.device, self.honest = Queue(), honest
        super().__init__(task, dtype)

    def synchronize(self):
        if self.honest:
            self.device.wait()

    def consumed(self):
        self.device.wait()
        return super().consumed()


class Feeding(Asynchronous, NumpyFeeding):
    def feed(self, batches, *, after_step):
        def one(batch):
            time.sleep(0.01)
            NumpyFeeding.feed(self, [batch], after_step=lambda: None)

        for batch in batches:
            self.device.order(lambda batch=batch: one(batch))
            after_step()


class Training(Asynchronous, NumpyTraining):
    def train(self, epochs, *, after_step, after_epoch):
        for batches in epochs:
            found = []

            def one(batch):
                time.sleep(0.01)
                NumpyTraining.train(
                    self, [[batch]], after_step=lambda: None, after_epoch=found.append
                )

            for batch in batches:
                self.device.order(lambda batch=batch: one(batch))
                after_step()
            self.device.wait()
            count = sum(scores.count for scores in found)
            mean = lambda name: sum(getattr(s, name) * s.count for s in found) / count
            after_epoch(type(found[0])(loss=mean("loss"), top1=mean("top1"), count=count))

    def weights(self):
        self.device.wait()
        return super().weights()


class Backend(NumpyBackend):
    def __init__(self, honest):
        super().__init__()
        self.honest = honest

    def feed(self, task):
        return Feeding(task, self._dtype, self.honest)

    def train(self, task):
        return Training(task, self._dtype, self.honest)


@hookimpl
def benchharness_backend(options):
    return Backend(options["honest"])
"""

SUITE = """
name = "queues"
backends = ["honest", "hasty"]

[dataset]
source = "drawn"

[backend.honest]
plugin = "queued"
options = { honest = true }

[backend.hasty]
plugin = "queued"
options = { honest = false }

[defaults]
image_size = 16
train_images = 60
test_images = 4
batch_size = 5

[[benchmark]]
name = "dataset"
strategy = "dataset"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [2]
dense = 4
epochs = 2
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict]:
    """A run of both backends, in which the work is the same and only synchronize differs."""
    folder = tmp_path_factory.mktemp("queues")
    metadata = folder / "plugin/benchharness_queued-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "plugin/queued_backend.py").write_text(ASYNCHRONOUS)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: benchharness-queued\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[benchharness]\nqueued = queued_backend\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "plugin"))
        patch.syspath_prepend(folder / "plugin")
        # Whatever ran in this process before has already looked for plugins, and remembers.
        plugins.installed.cache_clear()
        _, found = run(folder, SUITE)
    plugins.installed.cache_clear()
    return {(record["benchmark"], record["backend"]): record for record in found}


@pytest.mark.parametrize("work", ["small", "dataset"])
def test_a_synchronize_that_does_nothing_on_a_queue_is_refused(records, work: str):
    """Training and feeding alike: the trial fails, says why, and shows no time of its work."""
    record = records[work, "hasty"]

    assert record["status"] == "failed"
    assert record["reason"].startswith("timing refused: synchronize() returned after ")
    assert record["reason"].endswith("it does not wait for the device")
    timed = {"train_images_per_s", "feed_images_per_s", "epoch_s", "train_s", "feed_s"}
    timed |= {"step_ms_p50", "fraction_of_peak", "time_to_top1_s"}
    assert not timed & set(record["metrics"])


@pytest.mark.parametrize("work", ["small", "dataset"])
def test_the_same_queue_with_an_honest_synchronize_passes(records, work: str):
    """Working asynchronously is no fault."""
    record = records[work, "honest"]

    assert (record["status"], record["reason"]) == ("ok", "")
    assert record["metrics"]["step_ms_p50"] > 10.0


def test_raw_blocks_are_part_of_the_record(records):
    """Two epochs of nine steps at 10 ms each (54 of 60 images train), as epoch, steps, seconds."""
    blocks = json.loads(json.dumps(records["small", "honest"]["blocks"]))

    for epoch in (1, 2):
        own = [(steps, seconds) for number, steps, seconds in blocks if number == epoch]
        row = records["small", "honest"]["epochs"][epoch - 1]
        assert sum(steps for steps, _ in own) >= 9
        assert sum(seconds for _, seconds in own) == pytest.approx(row["train_s"])
        assert "blocks" not in row


def test_the_middle_of_an_even_epoch_is_at_half_its_time():
    """Four steps of 1 s: 2 of 4 s at 2 of 4 steps."""
    assert middle_share([Block(1, 1.0), Block(1, 1.0), Block(2, 2.0)]) == 1.0


def test_the_middle_is_held_against_its_share_of_the_steps():
    """Of five steps two are done at the middle: 0.1 of 2 s where 0.8 s were due."""
    assert middle_share([Block(2, 0.1), Block(3, 1.9)]) == pytest.approx(0.125)


@pytest.mark.parametrize("blocks", [[Block(1, 1.0)], [Block(3, 1.0), Block(1, 1.0)]])
def test_an_epoch_without_a_middle_edge_says_nothing(blocks: list[Block]):
    """One step cannot be halved."""
    assert middle_share(blocks) is None


def test_a_slow_first_half_is_no_fault():
    """Only a middle that comes too early can mean that synchronize does not wait."""
    assert not is_suspicious([[Block(2, 9.0), Block(2, 1.0)]])


def test_one_disturbed_epoch_of_three_raises_no_suspicion():
    """The median decides."""
    even, late = [Block(2, 1.0), Block(2, 1.0)], [Block(2, 1.0), Block(2, 30.0)]

    assert not is_suspicious([even, late, even])
    assert is_suspicious([late, late, even])


def test_a_long_read_back_that_is_short_when_repeated_was_a_wait():
    """The device was still busy after synchronize."""
    clock = [0.0]
    costs = iter([0.5, 0.01])

    def read_back() -> None:
        clock[0] += next(costs)

    found = leaves_leftover(
        synchronize=lambda: None, read_back=read_back, epoch_s=1.0, now=lambda: clock[0]
    )
    assert found


def test_a_read_back_that_is_always_long_is_only_slow():
    """Gigabytes of weights take their time, the second time too."""
    clock = [0.0]

    def read_back() -> None:
        clock[0] += 0.5

    found = leaves_leftover(
        synchronize=lambda: None, read_back=read_back, epoch_s=1.0, now=lambda: clock[0]
    )
    assert not found


class Overhead:
    """Steps of 1 s on a queue, and 100 s at the end of each run that no step is to blame for."""

    def __init__(self, *, is_honest: bool) -> None:
        self.now_s, self._queued_s, self._is_honest = 0.0, 0.0, is_honest

    def work(self, batches, after_step: Callable[[], None]) -> None:
        """Take a step with each batch."""
        for _ in batches:
            self._queued_s += 1.0
            after_step()
        self.now_s += 100.0

    def synchronize(self) -> None:
        """Wait, or pretend to."""
        if self._is_honest:
            self.read_back()

    def read_back(self) -> None:
        """Wait."""
        self.now_s += self._queued_s
        self._queued_s = 0.0


def demand(device: Overhead | Interrupted, *, step_s: float = 0.05) -> None:
    """Hold the device to its word."""
    runs = Witnessed(
        work=device.work,
        batches=make_batches(sizes=(2, 2)),
        synchronize=device.synchronize,
        read_back=device.read_back,
        now=lambda: device.now_s,
    )
    demand_synchrony(runs, step_s=step_s)


class Interrupted:
    """Steps of 1 ms, each finished before it returns; after every 6 ms others run for 20 ms."""

    def __init__(self) -> None:
        self.now_s, self._left_s = 0.0, 0.006

    def work(self, batches, after_step: Callable[[], None]) -> None:
        """Take a step with each batch, beginning with the machine to itself."""
        self._left_s = 0.006
        for _ in batches:
            self.now_s += 0.001
            self._left_s -= 0.001
            if self._left_s <= 0:
                self.now_s += 0.02
                self._left_s = 0.006
            after_step()

    def synchronize(self) -> None:
        """Return at once, as everything is done."""

    read_back = synchronize


def test_a_machine_shared_with_others_is_not_taken_for_a_clock_that_does_not_wait():
    """An epoch of eight such steps has a middle at 4 ms of 28; longer runs show both halves."""
    assert is_suspicious([[Block(4, 0.004), Block(4, 0.024)]])
    demand(Interrupted(), step_s=0.0035)


def test_overhead_at_the_end_of_an_epoch_is_not_taken_for_work_left_over():
    """It makes the middle look early, and cancels when runs of two lengths are compared."""
    assert is_suspicious([[Block(4, 4.0), Block(4, 104.0)]])
    demand(Overhead(is_honest=True))


def test_overhead_does_not_hide_a_synchronize_that_does_not_wait():
    """Six steps end 3 s after three, and the middle came at 0 s."""
    with pytest.raises(UnsynchronizedError, match=r"after 0 % of the time of half the steps"):
        demand(Overhead(is_honest=False))


class Disturbed(Overhead):
    """Its first runs of three steps last ten seconds longer, as long as those of six or longer."""

    def __init__(self, *, is_honest: bool, disturbed: int) -> None:
        super().__init__(is_honest=is_honest)
        # The three of a verdict, after the one that may compile.
        self._disturbed, self._short = range(1, 1 + 3 * disturbed), 0

    def work(self, batches, after_step: Callable[[], None]) -> None:
        """Count the short runs."""
        if len(batches) == 3:
            self.now_s += 10.0 * (self._short in self._disturbed)
            self._short += 1
        super().work(batches, after_step)


def test_runs_that_contradict_themselves_neither_convict_nor_acquit():
    """Half the steps cannot take longer than all of them: whoever waits or not, others decide."""
    demand(Disturbed(is_honest=True, disturbed=3))
    with pytest.raises(UnsynchronizedError):
        demand(Disturbed(is_honest=False, disturbed=3))


@pytest.mark.parametrize("is_honest", [True, False])
def test_noise_of_a_busy_machine_does_not_change_the_verdict(is_honest: bool):
    """Pauses of up to three steps at random places, which only ever add time."""
    orders: queue.Queue[float] = queue.Queue()

    def serve() -> None:
        number = 0
        while True:
            number += 1
            time.sleep(orders.get() * (4 if number % 11 == 0 else 1))
            orders.task_done()

    def work(batches, after_step: Callable[[], None]) -> None:
        for _ in batches:
            orders.put(0.005)
            after_step()

    threading.Thread(target=serve, daemon=True).start()
    runs = Witnessed(
        work=work,
        batches=make_batches(sizes=(2,) * 20),
        synchronize=orders.join if is_honest else lambda: None,
        read_back=orders.join,
    )
    if is_honest:
        demand_synchrony(runs, step_s=0.005)
    else:
        with pytest.raises(UnsynchronizedError):
            demand_synchrony(runs, step_s=0.005)
