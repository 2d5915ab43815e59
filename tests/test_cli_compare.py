"""``benchharness compare`` and ``noise`` as a user meets them: real processes, planted faults."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from in_process import run_commands
from slow_backends import SUITE, benchharness, environment, install

pytestmark = pytest.mark.slow

# A comparison takes twelve processes, and so each test has as much to say as it can.
# The laggard's steps last 20 ms each, most of it asleep. Waiting for a core adds tenths of a second
# to some epochs, and hardly ever to the best halves of ten.
FEW = ("--pairs", "6..8", "--threshold", "25%", "--threshold", "peak_host_bytes=10%", "--no-proof")
BEST = ("--column", "best_epoch_s", "--column", "peak_host_bytes", "--column", "test_top1")
STEADY = SUITE.replace("dropout = 0.0", "dropout = 0.0\nepochs = 10")
TWO = """
name = "two"
backends = ["slow", "slower"]

[backend.slow]
plugin = "laggard"
options = { step_s = 0.02 }

[backend.slower]
plugin = "laggard"
options = { step_s = 0.04 }
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suite, and the laggard installed."""
    folder = tmp_path_factory.mktemp("desk")
    install(folder)
    (folder / "steady.toml").write_text(STEADY)
    two = TWO + STEADY[STEADY.index("[dataset]") :]
    (folder / "two.toml").write_text(two)
    return folder


def of(desk: Path, printed: str) -> dict[str, Any]:
    """Return comparison.json of the run that the last line names."""
    folder = printed.split("comparison.json: ")[1].strip()
    found: dict[str, Any] = json.loads((desk / folder / "comparison.json").read_text())
    return found


def words(found: dict[str, Any]) -> dict[str, str]:
    """Return the verdicts of the first cell by column."""
    return {one["column"]: one["word"] for one in found["cells"][0]["verdicts"]}


def test_the_same_is_the_same_and_proven_to_be(desk: Path):
    """Steps of 20.2 ms for 20: exit 0, six pairs, and files for people and for CI systems."""
    done = benchharness(
        desk, "compare", "steady.toml", "--set", "options.step_s=0.0202", *FEW[:-1], *BEST,
        "--markdown", "found.md", "--junit", "found.xml",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().startswith("no regression in 3 figures of 1 cell")
    assert "A: as written; B: options.step_s=0.0202; 6 to 8 pairs of trials" in done.stderr
    assert "equal work proven" in done.stdout
    found = of(desk, done.stdout)
    assert words(found) == dict.fromkeys(BEST[1::2], "same")
    assert found["cells"][0]["backends"] == ["slow", "slow options.step_s=0.0202"]
    assert found["cells"][0]["proof"] == "proven"
    suite = ElementTree.parse(desk / "found.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "0")
    assert (desk / "found.md").read_text().startswith("### ✅ no regression")


def test_slower_steps_are_a_regression_and_a_comparison_is_kept_as_a_run(desk: Path):
    """Twice as long: exit 3. The run can be shown again, and compared again as it was recorded."""
    done = benchharness(desk, "compare", "slow", "slower", "--suite", "two.toml", *FEW, *BEST)

    assert done.returncode == 3, done.stdout + done.stderr
    assert "REGRESSION: small best epoch" in done.stdout
    found = of(desk, done.stdout)
    assert words(found)["best_epoch_s"] == "slower"
    assert 1.5 < found["cells"][0]["verdicts"][0]["change"] < 2.5
    again = benchharness(
        desk, "compare", "comparisons/two@slow", "comparisons/two@slower", *FEW[2:6]
    )
    assert again.returncode == 3, again.stderr
    assert "from one run" in again.stdout
    assert benchharness(desk, "report", "comparisons/two").returncode == 0


def test_more_memory_is_a_regression_and_programs_are_told_so(desk: Path):
    """A hundred megabytes more. One JSON object a line: the comparison, and then the exit code."""
    done = benchharness(
        desk, "compare", "lagging.toml", "--set", "options.hungrier_mb=100", "--json",
        "--column", "peak_host_bytes", "--pairs", "6", "--no-proof",
    )  # fmt: skip

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3, done.stderr
    assert (events[0]["event"], events[0]["command"]) == ("run_started", "compare")
    assert [event["event"] for event in events[-2:]] == ["comparison", "run_finished"]
    assert words(events[-2]["comparison"]) == {"peak_host_bytes": "more"}
    assert events[-1]["exit_code"] == 3
    assert events[-1]["answers"][0].startswith("REGRESSION: small slow host memory")


def test_a_side_that_breaks_fails_its_cell(desk: Path):
    """Exit 1, the reason told, after one pair."""
    done = benchharness(desk, "compare", "lagging.toml", "--set", "options.fault=broken", *FEW)

    assert done.returncode == 1
    assert "FAILED: small slow cannot be compared" in done.stdout
    assert "B, trial 1: failed: RuntimeError: it broke" in done.stdout


def test_what_neither_side_can_do_is_skipped(desk: Path):
    """It is nobody's regression."""
    done = benchharness(
        desk, "compare", "lagging.toml", *FEW,
        "--set-a", "options.fault=unable", "--set-b", "options.fault=unable",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to compare" in done.stdout


def test_the_noise_of_a_machine_is_told_and_used(desk: Path):
    """A against A, kept in the cache; a threshold that is beyond the machine is refused beforehand.

    No trial is run for it, and the line says what to do.
    """
    done = benchharness(desk, "noise", "steady.toml", "--pairs", "6", "--json")
    compared = benchharness(
        desk, "compare", "steady.toml", "--set", "options.step_s=0.0202", "--pairs", "6",
        "--threshold", "0.0001%", "--column", "best_epoch_s",
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    by_column = {one["column"]: one for one in found["cells"]}
    assert set(by_column) == {"best_epoch_s", "train_images_per_s", "peak_host_bytes"}
    needs = {need["difference"]: need for need in by_column["best_epoch_s"]["needs"]}
    assert needs[0.2]["pairs"] >= 6
    assert needs[0.2]["minutes"] > 0
    assert compared.returncode == 2
    assert "small slow: best_epoch_s: expected a threshold that 6 pairs can" in compared.stderr
    assert "found 1e-06 (--threshold best_epoch_s=" in compared.stderr


REFUSED = [
    ([], "expected A, found none: a suite (compare SUITE --set key=value)"),
    (["lagging.toml"], "expected --set key=value beside a suite alone"),
    (["--suite", "lagging.toml"], "expected --set key=value beside a suite alone"),
    (["slow", "--suite", "two.toml"], "expected a second side to compare slow with"),
    (["nothing", "at-all"], "nothing, at-all: expected --suite, which both are to run"),
    (["slow", "slower", "--suite", "none.toml"], "none.toml: file: expected a suite in TOML"),
    (["slow", "slower", "--suite", "two.toml", "--pairs", "3"], "--pairs: expected N or"),
    (["slow", "slower", "--suite", "two.toml", "--threshold", "x"], "--threshold: expected a"),
    (
        ["slow", "slower", "--suite", "two.toml", "--column", "wall"],
        '--column: expected a column that can be compared, found "wall"',
    ),
    (["lagging.toml", "--set", "batchsize=3"], 'did you mean "batch_size"?'),
    (["lagging.toml", "--set", "=3"], "--set: expected key=value"),
    (["slow", "slower", "--suite", "two.toml", "--max-minutes", "0"], "not in the range x>0"),
    (
        ["slow", "slower", "--suite", "two.toml", "--junit", "nowhere/found.xml"],
        "nowhere/found.xml: expected a folder to write it in, found none",
    ),
    (["rev:nowhere", "--suite", "two.toml"], "expected a folder of a git repository"),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[subprocess.CompletedProcess[str]]:
    """How the requests that are not understood ended, in one process, having run nothing."""
    folder = tmp_path_factory.mktemp("refused")
    install(folder)
    (folder / "two.toml").write_text(TWO + SUITE[SUITE.index("[dataset]") :])
    commands = [["compare", *arguments] for arguments, _ in REFUSED]
    done = run_commands(commands, folder=folder, environment=environment(folder))
    assert not (folder / "results").exists()
    return done


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[told for _, told in REFUSED])
def test_requests_that_are_not_understood_are_refused(
    refusals: list[subprocess.CompletedProcess[str]], number: int
):
    """Exit 2, one line per problem, nothing run."""
    done, (_, told) = refusals[number], REFUSED[number]

    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert told in done.stderr


def test_a_recorded_run_and_a_fresh_side_are_not_compared(desk: Path):
    """Timings of different times differ on most machines."""
    benchharness(desk, "run", "lagging.toml", "--no-proof", "-q", "--trials", "1")

    done = benchharness(desk, "compare", "run:lagging", "slow", "--suite", "lagging.toml")
    changed = benchharness(desk, "compare", "lagging", "lagging", "--set", "epochs=2")

    assert done.returncode == 2
    assert "expected two sides that are both recorded, or both to be run" in done.stderr
    assert changed.returncode == 2
    assert "cannot be used with recorded runs" in changed.stderr


def test_a_target_that_is_never_reached_is_a_regression(desk: Path):
    """Exit 3 with nobody asking for the time: A reaches 0, B would have to reach 1."""
    done = benchharness(
        desk, "compare", "lagging.toml", *FEW,
        "--set-a", "target_top1=0.0", "--set-b", "target_top1=1.0",
    )  # fmt: skip

    assert done.returncode == 3, done.stdout + done.stderr
    assert "REGRESSION: small slow misses its target in 10 of 10 trials" in done.stdout
    assert words(of(desk, done.stdout))["target_misses"] == "missed"


@pytest.mark.full
def test_a_target_missed_in_every_other_trial_is_a_regression(tmp_path: Path):
    """Exit 3, of ten pairs at most: where B seems to miss there may be twice as many."""
    install(tmp_path, SUITE.replace("dropout = 0.0", "dropout = 0.0\ntarget_top1 = 0.9"))

    done = benchharness(
        tmp_path, "compare", "lagging.toml", "--column", "time_to_top1_s", "--no-proof",
        "--pairs", "6..10", "--set-a", "options.misses=never",
        "--set-b", 'options.misses="every other"',
    )  # fmt: skip

    assert done.returncode == 3, done.stdout + done.stderr
    assert "misses its target in 9 of 18 trials, A in 0 of 18" in done.stdout
    assert "a word on missed targets errs in 0.20% of looks" in done.stdout


@pytest.mark.full
def test_every_tenth_epoch_that_takes_double_is_a_regression(tmp_path: Path):
    """Ten per cent more time, of which the best epoch knows nothing."""
    install(tmp_path, SUITE.replace("dropout = 0.0", "dropout = 0.0\nepochs = 20"))

    done = benchharness(
        tmp_path, "compare", "lagging.toml", "--set", "options.every_tenth=1.0", "--no-proof"
    )

    assert done.returncode == 3, done.stdout + done.stderr
    found = words(of(tmp_path, done.stdout))
    assert found["train_images_per_s"] == "slower"
    assert found["best_epoch_s"] != "slower"


@pytest.mark.full
def test_a_planted_slowdown_of_a_real_framework_is_caught(tmp_path: Path):
    """PyTorch, every step twice as long: slower, and the work is proven to be equal."""
    text = SUITE.replace(
        "options = { step_s = 0.02 }", 'options = { plugin = "benchharness_torch.plugin" }'
    )
    text = text.replace("train_images = 20", "train_images = 400\nthreads = 1\nimage_size = 32")
    text = text.replace("image_size = 16\n", "", 1).replace("filters = [2]", "filters = [16, 32]")
    install(tmp_path, text)

    done = benchharness(
        tmp_path, "compare", "lagging.toml", "--set", "options.slower=1.0",
        "--threshold", "10%", "--column", "train_images_per_s", "--pairs", "6..20",
    )  # fmt: skip

    assert done.returncode == 3, done.stdout + done.stderr
    assert "equal work proven" in done.stdout
