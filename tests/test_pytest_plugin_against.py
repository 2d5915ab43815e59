"""Sessions with --against: each item runs another side and the working tree in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pytest_sessions import INI, Session, ended, run, start
from repositories import SLOW_SUITE, PluginRepository

pytestmark = pytest.mark.slow

REGRESSION = """
[regression]
pairs = 6
columns = ["train_images_per_s"]
threshold = 0.5
"""
TWO = """
[backend.hasty]
plugin = "numpy"
"""
WORDS = ["slow.toml", "--benchmark-only", "--benchharness-no-proof", "--against"]


@pytest.fixture
def repository(tmp_path: Path) -> PluginRepository:
    """Return a plugin's repository whose tagged commit has quick steps."""
    made = PluginRepository(tmp_path / "plugin")
    made.write(step_s=0.02)
    (made.top / "pytest.ini").write_text(INI)
    (made.top / ".gitignore").write_text("/slow.toml\n/results/\n/cache/\n__pycache__/\n/*.json\n")
    (made.top / "slow.toml").write_text(SLOW_SUITE + REGRESSION, encoding="utf-8")
    made.commit("quick", tag="quick")
    return made


def against(
    repository: PluginRepository, *arguments: str, side: str = "rev:quick", **environment: str
) -> Session:
    """Return a session that compares the working tree with another side.

    No session leaves a worktree or a traceback behind.
    """
    done = run(repository.top, *WORDS, side, *arguments, **environment)
    assert done.is_plain, done.text
    assert worktrees(repository) == 1
    return done


def worktrees(repository: PluginRepository) -> int:
    """Return how many worktrees git knows, if no folder of another is left."""
    assert not [*(repository.top / "cache").glob("revisions/worktrees/side-*")]
    return len(repository.git("worktree", "list").splitlines())


def path_of(src: Path) -> str:
    """Return an import path with a plugin, as if it were installed, and all that was there."""
    folder = src / "benchharness_slowpoke-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: slowpoke\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[benchharness]\nslowpoke = benchharness_slowpoke.plugin\n"
    )
    return os.pathsep.join([str(src), os.environ.get("PYTHONPATH", "")])


def test_slower_steps_fail_the_item_and_name_the_cell(repository: PluginRepository):
    """Nobody has committed them; samples of both sides reach the file of pytest-benchmark."""
    repository.write(step_s=0.3)

    done = against(
        repository, "--benchmark-json=all.json", "--junit-xml=junit.xml", side="rev:HEAD"
    )

    document = json.loads((repository.top / "all.json").read_text())
    theirs, ours = sorted(document["benchmarks"], key=lambda one: len(one["fullname"]))
    assert done.code == 1, done.text
    assert done.lines("cnn-slowpoke: REGRESSION: cnn slowpoke training")
    assert done.lines("rev:HEAD is the commit ")
    assert "REGRESSION" in (repository.top / "junit.xml").read_text()
    assert (theirs["fullname"], ours["fullname"]) == (
        "slow.toml::cnn-slowpoke",
        "slow.toml::cnn-slowpoke (HEAD)",
    )
    assert theirs["stats"]["median"] > 2 * ours["stats"]["median"]
    assert theirs["extra_info"]["comparison"]["verdicts"][0]["word"] == "slower"
    (folder,) = (repository.top / "results/comparisons/slow").glob("2*")
    assert json.loads((folder / "comparison.json").read_text())["exit_code"] == 3


def test_equal_steps_pass(repository: PluginRepository):
    """The working tree as committed; a revision needs no prefix."""
    # A wait for a core doubles an epoch of a tenth of a second; what is slower is so tenfold.
    done = against(repository, "--against-threshold", "300%", side="quick")

    assert done.code == 0, done.text
    assert done.lines("no regression in 1 figure of 1 cell")
    assert done.lines("cnn-slowpoke (quick)")


def test_a_threshold_of_the_command_line_wins(repository: PluginRepository):
    """Four times the seconds are within 900 %."""
    repository.write(step_s=0.08)

    done = against(repository, "--against-threshold", "900%")

    assert done.code == 0, done.text


def test_a_backend_is_a_side_too(repository: PluginRepository):
    """The others are compared with it, and it is not compared with itself."""
    text = SLOW_SUITE.replace('["slowpoke"]', '["hasty", "slowpoke"]')
    lone = '\n[[benchmark]]\nname = "lone"\nstrategy = "dataset"\nbackends = ["slowpoke"]\n'
    (repository.top / "slow.toml").write_text(text + lone + TWO + REGRESSION)

    done = against(
        repository, "-rs", side="backend:hasty", PYTHONPATH=path_of(repository.top / "src")
    )

    assert done.code == 1, done.text
    assert "1 failed, 2 skipped" in done.text
    assert done.lines("lone-slowpoke: only one side runs it")
    assert done.lines("cnn-slowpoke: REGRESSION: cnn ")
    assert done.lines("cnn-hasty: the others are compared with hasty")


# Each process leaves a file; those of the revision are fast where others of their pair are slow.
IN_TURN = """(lambda folder, is_here: (
    (folder / f"{{time.monotonic_ns()}}.{{is_here}}").touch(),
    (0.002, 0.2)[(len(list(folder.glob(f"*.{{is_here}}"))) + is_here) % 2],
)[1])(__import__("pathlib").Path({folder!r}), "worktrees" not in __file__)"""


@pytest.mark.parametrize("strict", [False, True])
def test_an_undecided_cell_is_warned_of_or_fails_where_that_is_strict(
    repository: PluginRepository, strict: bool
):
    """Steps of each process take 2 or 200 ms, on both sides in turn: one leads, then the other."""
    folder = repository.top / "started"
    folder.mkdir()
    (folder / ".gitignore").write_text("*")
    repository.write(step_s=IN_TURN.format(folder=str(folder)))
    repository.commit("random", tag="random")
    option = ["--against-strict"] if strict else []

    done = against(repository, *option, side="rev:random")

    assert done.code == int(strict), done.text
    assert done.lines("cnn-slowpoke: UNDECIDABLE: cnn slowpoke training")
    assert bool(done.lines("UndecidedWarning")) != strict


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("rev:nowhere", "rev:nowhere: expected a commit, branch or tag"),
        ("rev:demanding", "expected python to install it, found: * nowhere-at-all"),
        ("run:slow", "--against run:slow: expected rev:REVISION or, for suites, backend:NAME"),
        ("backend:nump", "--against backend:nump: expected * did you mean"),
    ],
)
def test_a_side_that_cannot_be_compared_fails_the_item_with_a_line(
    repository: PluginRepository, side: str, message: str
):
    """No such revision, its packages cannot be installed, recorded, no such backend."""
    repository.write(dependencies=("numpy>=1.26", "benchharness-nowhere-at-all>=7"))
    repository.commit("demanding", tag="demanding")
    repository.write(step_s=0.02)

    done = against(repository, side=side)

    assert done.code == 1, done.text
    assert "1 failed" in done.text
    assert any(all(part in line for part in message.split(" * ")) for line in done.lines("")), (
        done.text
    )


def test_what_a_shallow_clone_lacks_is_named(repository: PluginRepository, tmp_path: Path):
    """With the command that brings it."""
    repository.commit("newer")
    clone = PluginRepository(tmp_path / "clone")
    clone.git("pull", "--quiet", "--depth=1", f"file://{repository.top}", "main")
    (clone.top / "slow.toml").write_text(SLOW_SUITE + REGRESSION)

    done = against(clone, side="rev:HEAD~1")

    assert done.code == 1, done.text
    assert done.lines("this is a shallow clone; fetch what is missing: git fetch --unshallow")


def test_an_interrupted_pair_leaves_nothing_behind(repository: PluginRepository):
    """Ctrl-C while both sides live: exit code 2, no process, no worktree, no traceback."""
    repository.write(step_s=0.5)
    session = start(repository.top, *WORDS, "rev:HEAD")
    deadline = time.monotonic() + 600
    while len([*repository.top.glob("results/comparisons/slow/2*/logs/*.json")]) < 2:
        assert session.poll() is None, session.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)

    # A terminal sends it to all processes of the group.
    os.killpg(session.pid, signal.SIGINT)
    done = ended(session)

    assert done.code == 2, done.text
    assert done.is_plain, done.text
    assert worktrees(repository) == 1
    found = subprocess.run(["pgrep", "-f", str(repository.top)], capture_output=True, text=True)
    assert not found.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--collect-only", "-q"], 0, "slow.toml::cnn-slowpoke"),
        (["-p", "no:benchmark"], 2, "pytest-benchmark: expected it to be loaded, found it"),
        (["--benchmark-disable"], 0, "UncomparedWarning: slow.toml::cnn-slowpoke: --against: "),
        (["--benchmark-skip"], 0, "1 skipped"),
        (["-n", "2"], 4, "--against: expected one process at a time, found pytest-xdist"),
    ],
)
def test_sessions_that_time_nothing_compare_nothing(
    repository: PluginRepository, arguments: list[str], code: int, told: str
):
    """What is not compared although it was asked for says so; a gate never passes silently."""
    if "-n" in arguments:
        pytest.importorskip("xdist")
    words = [word for word in WORDS if word != "--benchmark-only"]

    done = run(
        repository.top, *words, "rev:quick", *arguments, PYTHONPATH=path_of(repository.top / "src")
    )

    assert done.code == code, done.text
    assert done.is_plain, done.text
    assert done.lines(told), done.text
    assert not (repository.top / "results").exists()
    assert worktrees(repository) == 1
