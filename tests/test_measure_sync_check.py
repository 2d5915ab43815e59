"""Check of synchronize: by hand-made devices and epochs, and with real queues on a thread."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf

import pytest
from local_plugins import importable, install
from test_run import run

from benchharness.measure.blocks import Block
from benchharness.measure.sync_check import (
    Stretches,
    UnsynchronizedError,
    is_suspicious,
    middle_share,
    require_synchronize,
    stretch_steps,
)

pytestmark = pytest.mark.slow

ASYNCHRONOUS = """
import queue, threading, time
from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend, NumpyFeeding, NumpyTraining
from benchharness.testing.reference import Tally


class Queue:
    # A device: takes orders at once, as many as it can hold, and carries them out one by one.
    def __init__(self, length):
        self.orders = queue.Queue(length)
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


class Graph:
    # A lazy framework: notes orders, and carries them out when somebody needs a result.
    def __init__(self):
        self.orders = []

    def order(self, job):
        self.orders.append(job)

    def wait(self):
        while self.orders:
            self.orders.pop(0)()


class Asynchronous:
    def __init__(self, task, dtype, options):
        self.device = Graph() if options.get("lazy") else Queue(options.get("length", 0))
        self.step_s = options.get("step_s", 0.01)
        self.honest, self.replays = options["honest"], options.get("replays", "queued")
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
            time.sleep(self.step_s)
            self._ledger.write(self._inputs(batch), batch.labels)

        self._ledger.clear()
        for batch in batches:
            self.device.order(lambda batch=batch: one(batch))
            after_step()


class Training(Asynchronous, NumpyTraining):
    def train(self, epochs, *, after_step, after_epoch):
        for batches in epochs:
            tally = Tally()

            def one(batch):
                time.sleep(self.step_s)
                inputs = self._inputs(batch)
                self._ledger.write(inputs, batch.labels)
                tally.add(self._step(inputs, batch.labels))

            self._ledger.clear()
            for batch in batches:
                self.device.order(lambda batch=batch: one(batch))
                after_step()
            self.device.wait()
            after_epoch(tally.scores())

    def replay(self, batch):
        def one():
            time.sleep(self.step_s)
            self._step(self._inputs(batch), batch.labels)

        return (lambda: self.device.order(one)) if self.replays == "queued" else one

    def evaluate(self, batches):
        self.device.wait()
        return super().evaluate(batches)

    def weights(self):
        self.device.wait()
        return super().weights()


class WithoutReplay:
    # What is no part of a protocol may be missing.
    def __init__(self, training):
        self._training = training

    def __getattr__(self, name):
        if name == "replay":
            raise AttributeError(name)
        return getattr(self._training, name)


class Backend(NumpyBackend):
    def __init__(self, options):
        super().__init__()
        self.options = options

    def feed(self, task):
        return Feeding(task, self._dtype, self.options)

    def train(self, task):
        training = Training(task, self._dtype, self.options)
        return WithoutReplay(training) if self.options.get("replays") == "none" else training


@hookimpl
def benchharness_backend(options):
    return Backend(options)
"""

OPTIONS = {
    "honest": "honest = true",
    "hasty": "honest = false",
    "honest_alone": 'honest = true, replays = "none"',
    "hasty_alone": 'honest = false, replays = "none"',
    "hasty_waiting": 'honest = false, replays = "waiting"',
    "hasty_short": "honest = false, length = 1, step_s = 0.03",
    "hasty_shortest": "honest = false, length = 1, step_s = 0.004",
    "lazy": "honest = true, lazy = true",
    "lazy_unevaluated": "honest = false, lazy = true",
}
# Images of 54 in training: epochs of eleven steps, of two and of one.
WORKS = {
    "small": (5, list(OPTIONS)),
    "two_steps": (30, ["honest_alone", "hasty_waiting", "hasty_shortest", "lazy"]),
    "one_step": (60, ["honest", "hasty", "hasty_alone", "hasty_short"]),
    "dataset": (5, ["honest", "lazy", "hasty", "hasty_short", "lazy_unevaluated"]),
}
SUITE = (
    f"""
name = "queues"
trials = 1
backends = {list(OPTIONS)}
[dataset]
source = "drawn"
[defaults]
image_size = 16
train_images = 60
test_images = 4
"""
    + "".join(
        f'[backend.{name}]\nplugin = "queued"\noptions = {{ {options} }}\n'
        for name, options in OPTIONS.items()
    )
    + "".join(
        f'[[benchmark]]\nname = "{work}"\nbackends = {backends}\nbatch_size = {size}\n'
        + (
            'strategy = "dataset"\n'
            if work == "dataset"
            else 'strategy = "simple_cnn"\nfilters = [2]\ndense = 4\nepochs = 2\n'
        )
        for work, (size, backends) in WORKS.items()
    )
)
CELLS = [(work, backend) for work, (_, backends) in WORKS.items() for backend in backends]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict]:
    """A run of all backends, in which the work is the same and only synchronize differs."""
    folder = tmp_path_factory.mktemp("queues")
    install(folder / "plugin", "queued", ASYNCHRONOUS)
    with importable(folder / "plugin"):
        _, found = run(folder, SUITE)
        records = {(record["benchmark"], record["backend"]): record for record in found}
        # Who waits for a core finds the queue empty, or a reading long: not four times in a row.
        for _ in range(3):
            for work, backend in CELLS:
                is_faulty = backend.startswith(("hasty", "lazy_"))
                if (records[work, backend]["status"] == "ok") == is_faulty:
                    _, (again,) = run(folder, SUITE, benchmarks=(work,), backends=(backend,))
                    records[work, backend] = again
    return records


def cells(start: str) -> pytest.MarkDecorator:
    """Return the cells of backends whose names start so."""
    chosen = [(work, backend) for work, backend in CELLS if backend.startswith(start)]
    return pytest.mark.parametrize(("work", "backend"), chosen)


@cells("hasty")
def test_a_synchronize_that_does_nothing_on_a_queue_is_refused(records, work: str, backend: str):
    """The trial fails, says why, and shows no time of its work.

    Whether a step can be replayed, whether its replay waits, whether the queue is short, and
    however few steps an epoch has.
    """
    record = records[work, backend]

    assert record["reason"].startswith("timing refused: synchronize() returned ")
    assert record["reason"].endswith("it does not wait for the device")
    _assert_untimed(record)


@cells("lazy_")
def test_steps_that_a_lazy_framework_never_evaluates_are_refused(records, work: str, backend: str):
    """Here not the waiting is at fault but the handing over, and the reason says so."""
    record = records[work, backend]

    assert "they were not handed to the device before after_step()" in record["reason"]
    _assert_untimed(record)


def _assert_untimed(record) -> None:
    assert record["status"] == "failed"
    timed = {"train_images_per_s", "feed_images_per_s", "epoch_s", "train_s", "feed_s"}
    timed |= {"step_ms_p50", "fraction_of_peak", "time_to_top1_s", "compute_ms"}
    timed |= {"outside_fraction", "best_epoch_s", "input_wait_fraction"}
    assert not timed & set(record["metrics"])


@pytest.mark.parametrize(
    ("work", "backend"), [cell for cell in CELLS if cell[1] in ("honest", "honest_alone", "lazy")]
)
def test_the_same_queue_with_an_honest_synchronize_passes(records, work: str, backend: str):
    """Working asynchronously is no fault, nor is working when asked to wait."""
    record = records[work, backend]

    assert (record["status"], record["reason"]) == ("ok", "")
    assert record["metrics"]["step_ms_p50"] > 10.0


def test_a_replayed_step_is_timed_where_there_is_a_replay(records):
    """It takes the device 10 ms and more; without a replay nothing is known of it."""
    replayed = records["small", "honest"]["metrics"]
    alone = records["small", "honest_alone"]["metrics"]

    assert replayed["compute_ms"] > 10.0
    assert replayed["outside_fraction"] == pytest.approx(
        max(0.0, 1 - replayed["compute_ms"] / replayed["step_ms_p50"])
    )
    assert not {"compute_ms", "outside_fraction"} & set(alone)


def test_raw_blocks_are_part_of_the_record(records):
    """Two epochs of nine steps at 10 ms each (54 of 60 images train), as epoch, steps, seconds."""
    blocks = json.loads(json.dumps(records["small", "honest"]["blocks"]))

    for epoch in (1, 2):
        own = [(steps, seconds) for number, steps, seconds in blocks if number == epoch]
        row = records["small", "honest"]["epochs"][epoch - 1]
        assert sum(steps for steps, _ in own) >= 9
        assert sum(seconds for _, seconds in own) == pytest.approx(row["train_s"])
        assert "blocks" not in row


@pytest.mark.parametrize(
    ("blocks", "share"),
    [
        # Two of four steps after two of four seconds.
        ([Block(1, 1.0), Block(1, 1.0), Block(2, 2.0)], 1.0),
        # Of five steps two are done at the middle: 0.1 of 2 s where 0.8 s were due.
        ([Block(2, 0.1), Block(3, 1.9)], 0.125),
        # One step cannot be halved, and an edge may be elsewhere.
        ([Block(1, 1.0)], None),
        ([Block(3, 1.0), Block(1, 1.0)], None),
        # Nor can what has reported none.
        ([Block(0, 1.0)], None),
    ],
)
def test_the_middle_is_held_against_its_share_of_the_steps(blocks, share: float | None):
    """Worked by hand."""
    assert middle_share(blocks) == (None if share is None else pytest.approx(share))


def test_most_epochs_must_be_early_to_raise_a_suspicion():
    """A slow first half is no fault, and one disturbed epoch of three is none."""
    even, late = [Block(2, 1.0), Block(2, 1.0)], [Block(2, 1.0), Block(2, 30.0)]

    assert not is_suspicious([[Block(2, 9.0), Block(2, 1.0)]])
    assert not is_suspicious([even, late, even])
    assert is_suspicious([late, late, even])


class Device:
    """A device with a queue, on a clock that moves by hand.

    Args:
        step_s: Of each step.
        length: Steps that it holds beside the one at work; 0 for a device whose every call waits.
        is_honest: Whether ``synchronize`` waits.
        hand_over_s: What a call takes.
        read_s: What reading back takes, once the results are there.
        loop_s: What the framework's loop takes at the end of a stretch.
        is_lazy: Whether steps begin when somebody waits for them.
        noise: Adds bursts to whatever takes time; None for a quiet machine.
        starved: How often the device or the host waits for a core, a tenth of a second or so, in
            20 ms of work, where there is noise; 0 for the rarer bursts of a shared machine.
    """

    def __init__(
        self,
        *,
        step_s: float = 0.005,
        length: float = inf,
        is_honest: bool = True,
        hand_over_s: float = 1e-5,
        read_s: float = 0.001,
        loop_s: float = 0.0,
        is_lazy: bool = False,
        noise: random.Random | None = None,
        starved: float = 0.0,
    ) -> None:
        self.now_s = 0.0
        self._starved = starved
        self._is_lazy, self._noted = is_lazy, 0
        self._step_s, self._length, self._is_honest = step_s, length, is_honest
        self._hand_over_s, self._read_s, self._loop_s = hand_over_s, read_s, loop_s
        self._noise = noise
        self._ends: deque[float] = deque()

    def work(self, steps: int, after_step: Callable[[], None]) -> None:
        """Take some steps."""
        for _ in range(steps):
            self._take(self._hand_over_s)
            if self._is_lazy:
                self._noted += 1
                after_step()
                continue
            while len([end for end in self._ends if end > self.now_s]) > self._length:
                self.now_s = self._ends[0]
                self._finish()
            began_s = max(self.now_s, self._ends[-1] if self._ends else 0.0)
            self._ends.append(began_s + self._step_s + self._burst(self._step_s))
            if self._length == 0:
                self._wait()
            after_step()
        self._take(self._loop_s)

    def synchronize(self) -> None:
        """Wait, or pretend to."""
        if self._is_honest:
            self._wait()

    def read_back(self) -> None:
        """Wait in any case, then read."""
        self._wait()
        self._take(self._read_s)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def stretches(self) -> Stretches:
        """Return stretches of its steps."""
        return Stretches(
            work=self.work,
            synchronize=self.synchronize,
            read_back=self.read_back,
            now=lambda: self.now_s,
            pause=self.pause,
        )

    def demand(self, *, budget_s: float = inf) -> None:
        """Check the device."""
        require_synchronize(
            self.stretches(),
            steps=stretch_steps(self._step_s, at_most_s=budget_s / 2),
            step_s=self._step_s,
            budget_s=budget_s,
        )

    def _take(self, seconds: float) -> None:
        self.now_s += seconds + self._burst(seconds)

    def _burst(self, seconds: float) -> float:
        """Return what others take of the machine meanwhile: now and then some 20 ms."""
        if self._noise is None:
            return 0.0
        if self._starved:
            is_waiting = self._noise.random() < self._starved * min(1.0, 0.01 + seconds / 0.02)
            return self._noise.uniform(0.02, 0.15) if is_waiting else 0.0
        if self._noise.random() > 0.02 + 5 * seconds:
            return 0.0
        return self._noise.expovariate(1 / 0.02)

    def _wait(self) -> None:
        while self._noted:
            self._noted -= 1
            self._take(self._step_s)
        self.now_s = max(self.now_s, self._ends[-1] if self._ends else 0.0)
        self._finish()

    def _finish(self) -> None:
        while self._ends and self._ends[0] <= self.now_s:
            self._ends.popleft()


@pytest.mark.parametrize("step_s", [0.0005, 0.005, 0.02, 0.2, 3.0])
@pytest.mark.parametrize("read_s", [0.0005, 0.03, 2.0], ids=["quick", "slow", "slower"])
def test_devices_of_any_speed_are_told_apart(step_s: float, read_s: float):
    """Synchronous or not, and however long reading takes; lazy ones too, evaluated in time."""
    make = partial(Device, step_s=step_s, read_s=read_s)
    for length in (0, 1, inf):
        make(length=length).demand()
    make(is_lazy=True).demand()
    with pytest.raises(UnsynchronizedError, match="it does not wait for the device"):
        make(is_honest=False).demand()
    # No pause helps: the more steps, the longer the reading.
    with pytest.raises(UnsynchronizedError, match="they were not handed to the device"):
        make(is_lazy=True, is_honest=False).demand()


@pytest.mark.parametrize("step_s", [0.002, 0.005, 0.02, 0.2, 3.0])
@pytest.mark.parametrize("length", [1, 2])
def test_a_short_queue_does_not_hide_it(step_s: float, length: int):
    """A step at work and one or two in the queue are left, however long the stretch is."""
    with pytest.raises(UnsynchronizedError):
        Device(step_s=step_s, length=length, is_honest=False).demand()


def test_a_step_that_was_believed_to_be_longer_hides_nothing():
    """A busy machine made its estimate twenty times too long."""
    device = Device(step_s=0.005, is_honest=False)

    with pytest.raises(UnsynchronizedError):
        require_synchronize(device.stretches(), steps=2, step_s=0.1)


def test_less_than_the_noise_is_tolerated():
    """Two steps of 0.4 ms left undone move both edges of a block of 50 ms alike."""
    Device(step_s=0.0004, length=1, is_honest=False).demand()


def test_what_a_loop_takes_at_its_end_is_not_taken_for_work():
    """A tenth of a second for leaving ``fit``, in stretches with a pause too."""
    Device(loop_s=0.1).demand()
    with pytest.raises(UnsynchronizedError):
        Device(loop_s=0.1, is_honest=False).demand()


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("read_s", [0.001, 0.03])
def test_bursts_of_a_busy_machine_refuse_no_honest_device(step_s: float, read_s: float):
    """None of 300, where one reading of 5 to 17 is disturbed by 20 ms or so."""
    for seed in range(300):
        Device(step_s=step_s, read_s=read_s, noise=random.Random(seed)).demand()


@pytest.mark.parametrize("step_s", [0.005, 0.02, 0.1])
def test_a_starved_machine_refuses_hardly_an_honest_device(step_s: float):
    """At most 4 of 100 within a budget, though six readings of ten wait for a core."""
    refused = 0
    for seed in range(100):
        noise = random.Random(seed)
        device = Device(step_s=step_s, length=0, read_s=0.02, noise=noise, starved=0.6)
        try:
            device.demand(budget_s=2.5)
        except UnsynchronizedError:
            refused += 1

    assert refused <= 4


@pytest.mark.parametrize("length", [2, inf])
@pytest.mark.parametrize("step_s", [0.02, 0.2])
def test_bursts_of_a_busy_machine_let_hardly_any_other_pass(step_s: float, length: float):
    """At most 5 of 100."""
    passed = 0
    for seed in range(100):
        device = Device(
            step_s=step_s, length=length, is_honest=False, noise=random.Random(seed), read_s=0.02
        )
        try:
            device.demand()
            passed += 1
        except UnsynchronizedError:
            pass

    assert passed <= 5


@pytest.mark.parametrize("step_s", [0.002, 0.05, 0.4, 2.0, 5.0])
@pytest.mark.parametrize("length", [0, inf])
def test_checking_an_honest_device_stays_within_the_budget(step_s: float, length: float):
    """A twentieth of a training of 60 steps and two seconds, reading a third of a step."""
    budget_s = 0.05 * 60 * step_s + 2.0
    device = Device(step_s=step_s, read_s=step_s / 3, length=length)

    device.demand(budget_s=budget_s)

    assert device.now_s <= budget_s


def test_a_stretch_of_steps_that_are_too_long_is_a_single_step():
    """Ten seconds a step, and three to spend."""
    assert stretch_steps(10.0, at_most_s=3.0) == 1
    assert stretch_steps(1.0, at_most_s=3.0) == 2
    assert stretch_steps(0.01, at_most_s=3.0) == 5
    assert stretch_steps(0.0) == 256


def test_a_single_long_step_shows_it_too():
    """Where two steps are beyond the budget, all of one is left undone."""
    Device(step_s=10.0, read_s=3.0).demand(budget_s=6.0)
    with pytest.raises(UnsynchronizedError):
        Device(step_s=10.0, read_s=3.0, is_honest=False).demand(budget_s=6.0)


def test_a_stretch_has_no_more_steps_than_there_are():
    """A long reading asks for longer stretches, but a loader's epoch has an end."""
    clock, taken = [0.0], []

    def work(steps, after_step) -> None:
        taken.append(steps)
        for _ in range(steps):
            clock[0] += 0.001
            after_step()

    def read_back() -> None:
        clock[0] += 0.1

    stretches = Stretches(
        work=work,
        synchronize=lambda: None,
        read_back=read_back,
        now=lambda: clock[0],
        pause=lambda seconds: None,
    )
    require_synchronize(stretches, steps=2, step_s=0.001, most=5)

    assert max(taken) == 5
