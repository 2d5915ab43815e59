"""A saved run as a baseline: what is slower fails, unless the machine is another than it was."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_sessions import CNN, FEED, HEAD, Session, install, run, saved

from benchharness.measure.yardstick import Yardstick, YardstickProcess, framework_of, movement
from benchharness.pytest_plugin.gate import verdict

pytestmark = pytest.mark.slow

# So large that a busy machine does not reach it.
REGRESSION = "\n[regression]\nthreshold = 3.0\n"
SUITE = HEAD.replace("trials = 1", "trials = 3") + "epochs = 4\n" + REGRESSION + CNN
# The yardstick is read, and says what the test wants; what pytest-benchmark finds out of the
# processor takes it a second, in each session.
CONFTEST = """
import os

from benchharness.measure.yardstick import YardstickProcess

read = YardstickProcess.read
YardstickProcess.read = lambda self: dict.fromkeys(read(self), float(os.environ["YARDSTICK_S"]))


def pytest_benchmark_generate_machine_info():
    return {"node": "here"}
"""
CELL: dict[str, Any] = {
    "benchharness": "1.0",
    "machine": "here",
    "device": "cpu",
    "precision": "float32",
    "dataset": {"name": "drawn", "digest": "d" * 64},
    "weights": {"name": "vgg16", "digest": "e" * 64},
    "settings": {"dense": 8, "precision": "float32"},
    "options": {"plugin": "torch"},
    "versions": {"torch": "2.11.0"},
    "rounds": 30,
    "trial_step_s": [0.020, 0.021, 0.0205],
    "limit": 0.15,
    "yardstick": {"product of numpy 2": [1.0, 1.02], "step of torch 2": [3.0, 3.0]},
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose suite was run and saved."""
    folder = tmp_path_factory.mktemp("measured")
    install(folder, SUITE)
    (folder / "conftest.py").write_text(CONFTEST)
    done = run(folder, "pace.toml", "--benchmark-only", "--benchmark-save=then", YARDSTICK_S="1")
    assert done.code == 0, done.text
    return folder


@pytest.fixture
def project(measured: Path, tmp_path: Path) -> Path:
    """The same for a test of its own."""
    return shutil.copytree(measured, tmp_path / "project", symlinks=True)


def test_a_saved_run_knows_how_fast_its_machine_was(measured: Path):
    """The yardstick is read before and after each of the three trials of a cell."""
    _, document = saved(measured)

    info = document["benchmarks"][0]["extra_info"]
    ((kind, seconds),) = info["yardstick"].items()
    assert kind.startswith("product of numpy ")
    assert seconds == [1.0] * 6
    assert len(info["trial_step_s"]) == 3
    assert info["limit"] == 3.0


def compare(project: Path, *arguments: str, pace_ms: int = 20, yardstick_s: float = 1) -> Session:
    """Return a session that compares with the saved run."""
    return run(
        project,
        *("pace.toml", "--benchmark-only", "--benchmark-compare", *arguments),
        PACE_MS=str(pace_ms),
        YARDSTICK_S=str(yardstick_s),
    )


def test_equal_times_pass(project: Path):
    """On a machine that is nearly as fast."""
    done = compare(project, yardstick_s=1.1)

    assert done.code == 0, done.text
    assert done.lines("passed pace.toml::small_cnn-paced: a step is ")


def test_slower_times_fail(project: Path):
    """Many times the seconds of a step; the line names the cell, in place of a traceback."""
    done = compare(project, pace_ms=400)

    (told,) = done.lines("FAILED pace.toml::small_cnn-paced: a step is ")
    assert done.code == 1, done.text
    assert done.is_plain
    assert told.endswith("slower, limit 300% (baseline 0001_then)")


def test_a_slower_machine_leaves_slower_steps_undecided(project: Path):
    """No failure of ours; pytest-benchmark's own check keeps its meaning, and ours says what."""
    done = compare(project, "--benchmark-compare-fail=median:100%", pace_ms=400, yardstick_s=3)

    assert done.code == 1, done.text
    assert done.lines(
        "undecided pace.toml::small_cnn-paced: the machine was 200% slower; run both "
    )
    assert done.lines("PerformanceRegression: Performance has regressed.")
    assert done.lines("note --benchmark-compare-fail compares numbers alone")


@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_baseline_that_cannot_be_read_is_told(project: Path, is_damaged: bool):
    """A file that was cut off, or none at all: the gate says that it cannot decide."""
    (file,) = project.glob(".benchmarks/*/*.json")
    if is_damaged:
        file.write_text(file.read_text()[:3000])
    else:
        file.unlink()

    done = compare(project, "--benchharness-trials=1")

    assert done.code == 0, done.text
    assert done.lines(
        "undecided pace.toml::small_cnn-paced: no baseline that can be read; save a new baseline "
    )


def test_other_work_and_new_cells_are_not_judged(project: Path):
    """Another width and a new name are named, each with its cell, and fail nothing."""
    (project / "pace.toml").write_text(SUITE.replace("dense = 8", "dense = 9") + FEED)

    done = compare(project, "--benchharness-trials=1", pace_ms=60)

    assert done.code == 0, done.text
    assert done.lines(
        "undecided pace.toml::small_cnn-paced: settings: expected those of the baseline, found "
        "others: dense 8 then, 9 now (baseline 0001_then)"
    )
    assert done.lines("undecided pace.toml::feed-paced: not in the baseline; save a new baseline")


def test_benchmarks_of_the_users_own_stay_as_pytest_benchmark_has_them(project: Path):
    """No verdict of ours on them, nor a section without any."""
    (project / "test_own.py").write_text("def test_it(benchmark):\n    benchmark(len, '')\n")

    done = run(project, "test_own.py", "--benchmark-compare", YARDSTICK_S="1")

    assert done.code == 0, done.text
    assert not done.lines("benchharness: baseline")


def scaled(times: float) -> dict[str, Any]:
    """Return a cell whose steps take so many times as long."""
    return {**CELL, "trial_step_s": [times * seconds for seconds in CELL["trial_step_s"]]}


@pytest.mark.parametrize(
    ("now", "then", "word", "text"),
    [
        ({}, {}, "passed", "a step is 0.0% faster, limit 15%"),
        (scaled(1.3), {}, "FAILED", "a step is 30.0% slower, limit 15%"),
        (scaled(1.17), {}, "undecided", "its trials differ too much"),
        (scaled(0.5), {}, "passed", "a step is 50.0% faster"),
        (
            {**scaled(1.3), "versions": {"torch": "2.12.0"}},
            {},
            "FAILED",
            "; torch 2.11.0 then, 2.12.0 now",
        ),
        (
            scaled(1.11),
            {"yardstick": {"step of torch 2": [2.92]}},
            "passed",
            "a step is 8.0% slower, limit 15%, beside a machine that was 3% slower",
        ),
        (
            scaled(1.3),
            {"yardstick": {"step of torch 2": [3.12]}},
            "FAILED",
            "a step is 35.2% slower, limit 15%, beside a machine that was 4% faster",
        ),
        (
            scaled(1.3),
            {"yardstick": {"product of numpy 2": [0.88], "step of torch 2": [3.0]}},
            "undecided",
            "the machine was 15% slower; run both sides in turn: --against",
        ),
        (
            {},
            {"yardstick": {"step of torch 2": [4.0]}},
            "undecided",
            "the machine was 25% faster",
        ),
        (scaled(1.3), {"yardstick": {"step of torch 1": [3.0]}}, "undecided", "no yardstick of "),
        (scaled(1.3), {"yardstick": None}, "undecided", "no yardstick of the same libraries"),
        ({"rounds": 19}, {}, "undecided", "expected at least 20 rounds and 3 trials on both"),
        ({"trial_step_s": [0.02, 0.02]}, {}, "undecided", "found 30 and 2"),
        ({}, {"trial_step_s": [0.02]}, "undecided", "found 30 and 1"),
        ({"machine": "there"}, {}, "undecided", "machine: expected here, as in the baseline, "),
        ({"precision": "bfloat16"}, {}, "undecided", "precision: expected float32, as in the "),
        ({"device": "gpu"}, {}, "undecided", "device: expected cpu, as in the baseline, found gpu"),
        (
            {"weights": None},
            {},
            "undecided",
            "weights: expected vgg16 eeeeeeeeeeee, as in the baseline, found none",
        ),
        (
            {"dataset": {"name": "drawn", "digest": "f" * 64}},
            {},
            "undecided",
            "dataset: expected drawn dddddddddddd, as in the baseline, found drawn ffffffffffff",
        ),
        (
            {"options": {"plugin": "torch", "compile": True}},
            {},
            "undecided",
            "backend options: expected those of the baseline, found others: compile None then, ",
        ),
    ],
)
def test_a_verdict_has_its_reason(now: dict, then: dict, word: str, text: str):
    """What was expected and what was found; a changed machine leaves every change undecided."""
    said, reason = verdict({**CELL, **now}, {**CELL, **then})

    assert said == word
    assert text in reason


def test_a_baseline_without_the_benchmark_is_none():
    """As one that pytest-benchmark has taken itself."""
    assert verdict(CELL, {}) == (
        "undecided",
        "not in the baseline; save a new baseline with --benchmark-autosave",
    )


def test_the_yardstick_that_moved_most_counts():
    """Of those that both have; a newer library is another yardstick."""
    then = {"product": [1.0, 1.0, 9.0], "step": [2.0], "step of old": [1.0]}

    assert movement({"product": [1.1], "step": [1.0], "step of new": [9.0]}, then) == -0.5
    assert movement({"product": [1.25]}, then) == 0.25
    assert movement({"step of new": [1.0]}, then) is None


def test_a_framework_that_does_not_start_leaves_the_product():
    """It is a measure of the machine still."""
    assert len(Yardstick("jax of another planet").read()) == 1


def test_what_a_framework_prints_is_no_reading(tmp_path: Path):
    """It greets on standard output, and does not start."""
    (tmp_path / "torch.py").write_text("print('welcome')\n1 / 0")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    with YardstickProcess("torch", python=sys.executable, environment=environment, threads=1) as y:
        readings = [y.read(), y.read()]

    assert [len(reading) for reading in readings] == [1, 1]


@pytest.mark.parametrize(
    ("distributions", "engine", "framework"),
    [
        (["numpy", "torch", "torchvision"], None, "torch"),
        (["keras", "jax", "tensorflow", "torch"], None, "tensorflow"),
        (["keras", "jax", "tensorflow", "torch"], "jax", "jax"),
        (["numpy"], None, ""),
    ],
)
def test_the_framework_of_a_backend_is_known(
    distributions: list[str], engine: str | None, framework: str
):
    """By what its plugin requires, and by its engine."""
    assert framework_of(distributions, engine=engine) == framework


@pytest.mark.full
@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax"])
def test_a_framework_has_a_bare_step(framework: str):
    """In a process of its own, as for a suite."""
    pytest.importorskip(framework)
    with YardstickProcess(framework, python=sys.executable, environment=os.environ, threads=1) as y:
        reading = y.read()

    assert [kind.rpartition(" ")[0] for kind in reading] == [
        "product of numpy",
        f"step of {framework}",
    ]
    assert all(seconds > 0 for seconds in reading.values())
