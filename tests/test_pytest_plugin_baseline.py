"""A saved run as a gate: what is slower, and what may not be compared, is told in a line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from pytest_sessions import CNN, FEED, HEAD, SUITE, install, run, saved

from benchharness.pytest_plugin.gate import differences, version_changes

pytest_plugins = "pytester"

GATE = ("--benchmark-compare", "--benchmark-compare-fail=median:100%")
NEW = "zzzzzzzzzzzzzzzz"
CELL = {
    "machine": "here",
    "device": "cpu",
    "precision": "float32",
    "dataset": {"name": "drawn", "digest": "d" * 64},
    "weights": {"name": "vgg16", "digest": "e" * 64},
    "settings": {"dense": 8, "precision": "float32"},
    "options": {"plugin": "torch"},
    "versions": {"torch": "2.11.0"},
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose suite was run and saved."""
    folder = tmp_path_factory.mktemp("measured")
    install(folder)
    # What pytest-benchmark finds out of the processor takes it a second, in each session.
    (folder / "conftest.py").write_text(
        "def pytest_benchmark_generate_machine_info():\n    return {'node': 'here'}\n"
    )
    done = run(folder, "pace.toml", "--benchmark-only", "--benchmark-save=then")
    assert done.code == 0, done.text
    return folder


@pytest.fixture
def project(measured: Path, tmp_path: Path) -> Path:
    """The same for a test of its own."""
    return shutil.copytree(measured, tmp_path / "project", symlinks=True)


def test_equal_times_pass(project: Path):
    """Twice the median is allowed, and the pauses are equal."""
    done = run(project, "pace.toml", "--benchmark-only", *GATE)

    assert done.code == 0, done.text
    assert done.lines("2 compared, none slower than median + 100 % allows")
    assert done.is_plain


def test_a_slowdown_fails_and_names_the_cells(project: Path):
    """Times of both runs and the growth, where pytest-benchmark ends in a traceback."""
    done = run(project, "pace.toml", "--benchmark-only", *GATE, PACE_MS="60")

    told = done.lines("FAILED pace.toml::")
    assert done.code == 1, done.text
    assert done.is_plain
    assert [line.split(":: ")[0].split(": ")[0] for line in told] == [
        "FAILED pace.toml::feed-paced",
        "FAILED pace.toml::small_cnn-paced",
    ]
    assert "median of a step: expected at most 100 % more than the 2" in told[0]
    assert " ms of baseline 0001_then, found 6" in told[0]
    assert done.lines("feed-paced (0001_then)")


def test_few_samples_are_said_to_be_few(project: Path):
    """A handful of rounds of one trial passes or fails by chance, and enough of both do not."""
    (project / "pace.toml").write_text(HEAD + "epochs = 4\n" + FEED + CNN)
    often = ("pace.toml", "--benchmark-only", "--benchharness-trials", "3")
    assert run(project, *often, "--benchmark-save=often").code == 0

    enough = run(project, *often, *GATE)
    few = run(project, "pace.toml", "--benchmark-only", *GATE)

    assert enough.lines("2 compared, none slower"), enough.text
    assert not enough.lines("too few samples"), enough.text
    (told,) = few.lines("too few samples")
    assert told.startswith("note ")
    for cell in ("feed", "small_cnn"):
        assert re.search(rf"pace\.toml::{cell}-paced \(rounds: \d, trials: 1\)", told), told
    assert "--benchharness-trials 3" in told


def test_other_work_and_new_cells_are_not_compared(project: Path):
    """Another width, another seed of the pictures and a new name are told, each with its cell."""
    other = CNN.replace("dense = 8", "dense = 9")
    new = FEED.replace('"feed"', f'"{NEW}"')
    (project / "pace.toml").write_text(HEAD.replace("seed = 3", "seed = 4") + FEED + other + new)

    done = run(project, "pace.toml", "--benchmark-only", *GATE, PACE_MS="60")

    assert done.code == 1, done.text
    assert done.is_plain
    assert done.lines("small_cnn-paced: settings: expected those of the baseline, found others: ")
    assert done.lines("dense 8 then, 9 now (0001_then): not compared")
    assert done.lines("feed-paced: dataset: expected drawn ")
    assert done.lines(f"note not in baseline 0001_then, so not compared: pace.toml::{NEW}-paced; ")
    assert not done.lines("expected at most")


def test_a_cell_that_the_baseline_lacks_is_noted(project: Path):
    """A pull request may add or rename a benchmark: it passes, and a note says what it needs."""
    (project / "pace.toml").write_text(SUITE + FEED.replace('"feed"', f'"{NEW}"'))

    done = run(project, "pace.toml", "--benchmark-only", *GATE, "-k", NEW)

    assert done.code == 0, done.text
    assert done.lines(f"note not in baseline 0001_then, so not compared: pace.toml::{NEW}-paced; ")
    assert not done.lines("FAILED")


def test_the_baseline_of_another_machine_is_refused_before_anything_runs(project: Path):
    """Exit code 4, nothing timed; without a gate it is only told."""
    file, document = saved(project)
    for bench in document["benchmarks"]:
        bench["extra_info"]["machine"] = "Another CPU, 96 cores, Linux x86_64"
    file.write_text(json.dumps(document))
    before = list(project.glob("results/pace/2*"))

    refused = run(project, "pace.toml", "--benchmark-only", *GATE)
    told = run(project, "pace.toml", "--benchmark-only", "--benchmark-compare", "-k", "feed")

    assert refused.code == 4, refused.text
    assert refused.is_plain
    assert refused.lines("ERROR: benchharness: baseline 0001_then: expected one of this machine (")
    assert refused.lines("found one of Another CPU, 96 cores, Linux x86_64; save a new baseline")
    assert told.code == 0, told.text
    assert told.lines("note baseline 0001_then: expected one of this machine (")
    assert not told.lines("feed-paced (0001_then)")
    assert len(list(project.glob("results/pace/2*"))) == len(before) + 1


def test_a_damaged_baseline_is_not_said_to_be_missing(project: Path):
    """It is there, by its name, and has lost its second half."""
    (file,) = project.glob(".benchmarks/*/0001_then.json")
    text = file.read_text()
    file.write_text(text[: len(text) // 2])

    done = run(project, "pace.toml", "--benchmark-only", *GATE)

    assert done.code == 4, done.text
    assert done.lines("found 0001_then.json, which cannot be read; save a new baseline")


@pytest.mark.filterwarnings("ignore:Can't compare")
@pytest.mark.parametrize(
    ("compare", "found"),
    [
        (["--benchmark-compare"], "found none is saved there"),
        (["--benchmark-compare=0007"], "found no file there matches '0007'"),
        ([], "found no --benchmark-compare"),
    ],
)
def test_a_missing_baseline_is_refused_before_anything_runs(
    pytester: pytest.Pytester, compare: list[str], found: str
):
    """Exit code 4 and a line, where pytest-benchmark runs it all and ends in a traceback."""
    install(pytester.path)

    done = pytester.runpytest(
        "pace.toml", "--benchmark-only", *compare, "--benchmark-compare-fail=median:5%"
    )

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: benchharness: --benchmark-compare-fail: * {found}; *"])
    done.stdout.no_fnmatch_line("*Traceback*")
    assert not (pytester.path / "results").exists()


def test_benchmarks_of_the_users_own_stay_as_pytest_benchmark_has_them(project: Path):
    """Theirs end in its traceback still; ours are told beside it, where they were selected."""
    (project / "test_own.py").write_text(
        "import os, time\n\n"
        "def test_nap(benchmark):\n"
        "    pause = float(os.environ.get('PACE_MS', '5')) / 1e3\n"
        "    benchmark.pedantic(time.sleep, args=(pause,), rounds=3)\n"
    )
    run(project, "pace.toml", "test_own.py", "-k", "nap or feed", "--benchmark-save=both")

    done = run(project, *("pace.toml", "test_own.py", "-k", "nap or feed"), *GATE, PACE_MS="60")

    assert done.code == 1
    assert "PerformanceRegression: Performance has regressed." in done.text
    assert done.lines("test_nap (0002_both) - Field 'median' has failed")
    assert not done.lines("feed-paced (0002_both) - Field")
    assert done.lines("FAILED pace.toml::feed-paced: median of a step")
    assert not done.lines("small_cnn")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "precision",
            "bfloat16",
            "precision: expected float32, as in the baseline, found bfloat16",
        ),
        ("device", "gpu", "device: expected cpu, as in the baseline, found gpu"),
        ("weights", None, "weights: expected vgg16 eeeeeeeeeeee, as in the baseline, found none"),
        (
            "dataset",
            {"name": "drawn", "digest": "f" * 64},
            "dataset: expected drawn dddddddddddd, as in the baseline, found drawn ffffffffffff",
        ),
        (
            "options",
            {"plugin": "torch", "compile": True},
            "backend options: expected those of the baseline, found others: "
            "compile None then, True now",
        ),
    ],
)
def test_what_forbids_to_compare_is_named(key: str, value: object, told: str):
    """What was expected, and what was found."""
    assert differences({**CELL, key: value}, CELL) == [told]


def test_other_versions_are_what_a_comparison_may_be_about():
    """They are named beside a regression, and forbid nothing."""
    newer = {**CELL, "versions": {"torch": "2.12.0"}}

    assert differences(newer, CELL) == []
    assert version_changes(newer, CELL) == "torch 2.11.0 then, 2.12.0 now"
    assert version_changes(CELL, CELL) == ""
