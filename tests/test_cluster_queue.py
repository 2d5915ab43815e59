"""The queue of repetitions: which host gets which trials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from benchharness.cluster.queue import Queue, Repetition
from benchharness.model.cell import cell_key


def trial(benchmark: str, backend: str, index: int) -> Any:
    """Return a trial, as far as the queue looks at it."""
    cell = SimpleNamespace(group_key=cell_key(benchmark, {}, "equal"), backend=backend)
    return SimpleNamespace(cell=cell, index=index)


def record(benchmark: str, index: int, host: str, machine: str) -> dict[str, Any]:
    """Return a record, likewise."""
    return {
        "benchmark": benchmark,
        "matrix": {},
        "track": "equal",
        "trial": index,
        "host": host,
        "machine": machine,
    }


TRIALS = [
    trial(benchmark, backend, index)
    for benchmark in ("one", "two")
    for index in (1, 2)
    for backend in ("keras", "torch")
]
HOSTS = [("a", "fast"), ("b", "slow")]


def take(queue: Queue, host: str, hosts: list[tuple[str, str]] = HOSTS, **others: Any) -> Any:
    """Return benchmark and index of what a host gets; None for nothing."""
    others = {"is_ready": lambda repetition: True, **others}
    taken = queue.take(host=host, machine=dict(hosts)[host], hosts=hosts, **others)
    return taken and (taken.benchmark[0], taken.index)


def test_repetitions_of_a_benchmark_stay_on_a_kind_of_machine() -> None:
    """Their ratios are of one kind; a host of another kind gets the next benchmark."""
    queue = Queue.of(TRIALS, [])

    got = [take(queue, host) for host in ("a", "b", "b", "a", "a", "b")]

    assert got == [("one", 1), ("two", 1), ("two", 2), ("one", 2), None, None]


def test_a_repetition_that_was_begun_goes_on_on_its_host() -> None:
    """Its other backends are compared with what ran there."""
    hosts = [("a", "kind"), ("b", "kind")]
    queue = Queue.of(TRIALS[1:], [record("one", 1, "b", "kind")])

    assert take(queue, "a", hosts) == ("one", 2)
    assert take(queue, "b", hosts) == ("one", 1)


def test_what_belongs_to_a_host_or_kind_that_is_gone_may_go_anywhere() -> None:
    """Pairs that this costs are better than a run that never ends."""
    queue = Queue.of(TRIALS[1:], [record("one", 1, "gone", "lost kind")])

    assert take(queue, "b") == ("one", 1)


def test_a_repetition_waits_for_what_it_builds_on() -> None:
    """Others go first."""
    queue = Queue.of(TRIALS, [])

    def is_ready(repetition: Repetition) -> bool:
        return repetition.benchmark[0] != "one"

    assert take(queue, "a", is_ready=is_ready) == ("two", 1)
    assert len(queue) == 3


def test_what_is_put_back_is_next() -> None:
    """The rest of a repetition whose host was lost; nothing where none is left."""
    queue = Queue.of(TRIALS, [])
    hosts = [("a", "fast")]
    taken = queue.take(host="a", machine="fast", hosts=hosts, is_ready=lambda _: True)
    assert taken is not None

    taken.trials.pop(0)
    queue.put_back(taken)
    queue.put_back(Repetition(benchmark=taken.benchmark, index=9, trials=[]))

    again = queue.take(host="a", machine="fast", hosts=hosts, is_ready=lambda _: True)
    assert again is taken
    assert [t.cell.backend for t in again.trials] == ["torch"]
