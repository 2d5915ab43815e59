"""Two trials that take turns epoch by epoch: trials by hand, and real processes with a diary."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from local_processes import wait_for, workers
from slow_backends import SUITE, benchharness, install

from benchharness.compare.run import RETAINED_HEAP, retains_heap, with_retained_heap
from benchharness.run.process.executor import run_interleaved

pytestmark = pytest.mark.slow

EPOCHS = 4
# What is measured decides nothing here: epochs of equal code do not differ tenfold.
FEW = ("--pairs", "6", "--threshold", "900%", "--threshold", "peak_host_bytes=20%", "--no-proof")
# Beside tests that load frameworks two trials might not fit into this machine's memory.
PLENTY = """
from benchharness.measure import machine
machine.read_memory = lambda: (64 * 10**9, 32 * 10**9)
"""
SIDES = ("--set-a", 'options.name="A"', "--set-b", 'options.name="B"')


def steps(name: str, stops: int, done: list[str], *, is_broken: bool = False) -> Generator[None]:
    """Do a bit of work after each stop, note it, and return the name."""
    try:
        done.append(f"{name}0")
        for stop in range(1, stops + 1):
            yield
            if is_broken:
                raise RuntimeError("it broke")
            done.append(f"{name}{stop}")
        return name
    finally:
        done.append(f"{name} over")


def test_two_trials_take_turns_and_every_other_round_is_reversed():
    """A B, B A, A B: what lasts for longer than a stretch hits both."""
    done: list[str] = []

    assert run_interleaved([steps("A", 2, done), steps("B", 2, done)]) == ["A", "B"]
    assert [one for one in done if "over" not in one] == ["A0", "B0", "B1", "A1", "A2", "B2"]


def test_the_longer_trial_goes_on_alone():
    """Results stand in the order of the trials, not in that of their ends."""
    done: list[str] = []

    assert run_interleaved([steps("A", 3, done), steps("B", 1, done)]) == ["A", "B"]
    assert done == ["A0", "B0", "B1", "B over", "A1", "A2", "A3", "A over"]
    assert run_interleaved([steps("C", 2, [])]) == ["C"]


def test_where_one_trial_raises_the_other_is_ended():
    """Nothing is left waiting for a turn that does not come."""
    done: list[str] = []

    with pytest.raises(RuntimeError, match="it broke"):
        run_interleaved([steps("A", 3, done), steps("B", 3, done, is_broken=True)])
    assert done == ["A0", "B0", "B over", "A over"]


def test_freed_memory_is_kept_unless_somebody_has_tuned_the_allocator():
    """Whoever names one of its settings, or another allocator, has it as he wants it."""
    assert with_retained_heap({"HOME": "/root"}) == {"HOME": "/root", **RETAINED_HEAP}
    for own in ({"MALLOC_ARENA_MAX": "1"}, {"LD_PRELOAD": "libjemalloc.so.2"}):
        assert with_retained_heap(own) == own
        assert not retains_heap(with_retained_heap(own))
    assert retains_heap(with_retained_heap({}))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite of some epochs whose laggard keeps a diary."""
    folder = tmp_path_factory.mktemp("turns")
    install(folder, suite(folder / "diary"))
    (folder / "sitecustomize.py").write_text(PLENTY)
    return folder


def suite(diary: Path) -> str:
    """Return a suite of a laggard with a diary."""
    options = f'options = {{ step_s = 0.02, diary = "{diary}" }}'
    return SUITE.replace("options = { step_s = 0.02 }", options) + f"epochs = {EPOCHS}\n"


def epochs(diary: Path) -> list[list[tuple[str, float, float]]]:
    """Return whose each epoch was, when it began and when it ended, pair by pair; no warm-up."""
    by_process: dict[str, list[tuple[str, float, float]]] = {}
    for line in diary.read_text().splitlines():
        process, name, began_s, ended_s = line.split()
        by_process.setdefault(process, []).append((name, float(began_s), float(ended_s)))
    trained = [sorted(spans, key=lambda span: span[1])[-EPOCHS:] for spans in by_process.values()]
    ordered = sorted(trained, key=lambda spans: spans[0][1])
    return [
        sorted([*ours, *theirs], key=lambda span: span[1]) for ours, theirs in in_pairs(ordered)
    ]


def in_pairs(of: list) -> Iterator[tuple]:
    """Yield the elements two by two."""
    return zip(of[::2], of[1::2], strict=True)


def test_the_trials_of_a_pair_take_turns_epoch_by_epoch(desk: Path):
    """One is at work while the other waits, on no clock; every other pair begins with B."""
    done = benchharness(desk, "compare", "lagging.toml", *SIDES, *FEW, "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    pairs = epochs(desk / "diary")
    assert ["".join(name for name, *_ in pair) for pair in pairs] == ["BAABBAAB", "ABBAABBA"] * 3
    for pair in pairs:
        assert all(ended_s <= began_s for (*_, ended_s), (_, began_s, _) in pairwise(pair))
    finished = [
        event["metrics"]
        for event in map(json.loads, done.stdout.splitlines())
        if event["event"] == "trial_finished"
    ]
    # The other's epochs take 0.4 s and its start far more: on the clock they would stand in these,
    # in every trial; what others do on the machine only ever adds, and not to all.
    for own in (finished[::2], finished[1::2]):
        assert min(metrics["overhead_s"] for metrics in own) < 0.2
        assert min(metrics["other_s"] for metrics in own) < 0.2
        assert 0 < min(metrics["teardown_s"] for metrics in own) < 2


def test_where_one_of_a_pair_dies_the_other_finishes(desk: Path):
    """B ends with exit code 3 in its first epoch: its cell fails, and A has all its epochs."""
    done = benchharness(desk, "compare", "lagging.toml", "--set", 'options.fault="dies"', *FEW)

    folder = desk / done.stdout.split("comparison.json: ")[1].strip()
    lines = (folder / "records.jsonl").read_text().splitlines()
    ours, theirs = (json.loads(line) for line in lines[::-1])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ended with exit code 3" in done.stdout
    assert (ours["status"], len(ours["epochs"])) == ("ok", EPOCHS)
    assert (theirs["status"], theirs["epochs"]) == ("failed", [])


def test_where_two_do_not_fit_into_memory_they_run_one_by_one(tmp_path: Path):
    """A machine that says it has a megabyte left: A has ended before B begins, and B before A."""
    (tmp_path / "sitecustomize.py").write_text(
        "from benchharness.measure import machine\n"
        "machine.read_memory = lambda: (4 * 10**9, 10**6)\n"
    )
    install(tmp_path, suite(tmp_path / "diary"))

    done = benchharness(tmp_path, "compare", "lagging.toml", *SIDES, *FEW)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "both sides in turn, trial by trial" in done.stderr
    assert "malloc is set to retain freed memory" in done.stderr
    pairs = epochs(tmp_path / "diary")
    assert ["".join(name for name, *_ in pair) for pair in pairs] == ["AAAABBBB", "BBBBAAAA"] * 3


def test_interrupting_a_pair_ends_both(tmp_path: Path):
    """Ctrl-C while one is at work and the other waits: exit code 130, and no process is left."""
    install(tmp_path, suite(tmp_path / "diary").replace("step_s = 0.02", "step_s = 0.5"))
    (tmp_path / "sitecustomize.py").write_text(PLENTY)
    environment = {"PYTHONPATH": str(tmp_path), "BENCHHARNESS_CACHE": str(tmp_path / "cache")}
    running = subprocess.Popen(
        [sys.executable, "-m", "benchharness", "compare", "lagging.toml", *SIDES, "--no-proof"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    diary = tmp_path / "diary"
    # Both have trained: none is just being started.
    wait_for(
        lambda: (
            diary.exists()
            and len({line.split()[0] for line in diary.read_text().splitlines()}) == 2
        )
    )

    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=300)

    assert running.returncode == 130
    assert "Traceback" not in errors
    wait_for(lambda: workers(tmp_path) == [])
