"""Sessions with --against: each item runs a git revision and the working tree in turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_sessions import INI, Session, run
from repositories import SLOW_SUITE, PluginRepository

REGRESSION = """
[regression]
pairs = 6
columns = ["train_images_per_s"]
threshold = 0.5
"""


@pytest.fixture
def repository(tmp_path: Path) -> PluginRepository:
    """Return a plugin's repository whose tagged commit has quick steps."""
    made = PluginRepository(tmp_path / "plugin")
    made.write(step_s=0.02)
    (made.top / "pytest.ini").write_text(INI)
    made.commit("quick", tag="quick")
    return made


def against(
    repository: PluginRepository,
    *arguments: str,
) -> Session:
    """Return a session that compares the working tree with the tagged commit."""
    suite = repository.top / "slow.toml"
    suite.write_text(SLOW_SUITE + REGRESSION, encoding="utf-8")
    words = ["slow.toml", "--benchmark-only", "--against", "rev:quick", "--benchharness-no-proof"]
    return run(repository.top, *words, *arguments)


def test_slower_steps_fail_the_item_and_name_the_cell(repository: PluginRepository):
    """Samples of both sides are in the file of pytest-benchmark, the revision's named as such."""
    repository.write(step_s=0.08)

    done = against(repository, "--benchmark-json=all.json", "--junit-xml=junit.xml")

    document = json.loads((repository.top / "all.json").read_text())
    theirs, ours = sorted(document["benchmarks"], key=lambda one: len(one["fullname"]))
    assert done.code == 1, done.text
    assert done.is_plain
    assert done.lines("cnn-slowpoke: REGRESSION: cnn slowpoke training")
    assert "REGRESSION" in (repository.top / "junit.xml").read_text()
    assert (theirs["fullname"], ours["fullname"]) == (
        "slow.toml::cnn-slowpoke",
        "slow.toml::cnn-slowpoke (quick)",
    )
    assert theirs["stats"]["median"] > 2 * ours["stats"]["median"]
    assert theirs["extra_info"]["comparison"]["verdicts"][0]["word"] == "slower"
    assert len(repository.git("worktree", "list").splitlines()) == 1
    (folder,) = (repository.top / "results/comparisons/slow").glob("2*")
    assert json.loads((folder / "comparison.json").read_text())["exit_code"] == 3


def test_equal_steps_pass(repository: PluginRepository):
    """The working tree as committed."""
    done = against(repository)

    assert done.code == 0, done.text
    assert done.is_plain
    assert done.lines("no regression in 1 figure of 1 cell")
    assert done.lines("cnn-slowpoke (quick)")


@pytest.mark.parametrize("strict", [False, True])
def test_an_undecided_cell_is_warned_of_or_fails_where_that_is_strict(
    repository: PluginRepository, strict: bool
):
    """Steps of each process take 2, 20 or 200 ms, on both sides at random."""
    repository.write(step_s="(0.002, 0.02, 0.2)[__import__('os').urandom(1)[0] % 3]")
    repository.commit("random", tag="random")
    option = ["--against-strict"] if strict else []

    done = against(repository, "--against", "rev:random", *option)

    assert done.code == int(strict), done.text
    assert done.lines("cnn-slowpoke: UNDECIDABLE: cnn slowpoke training")
    assert bool(done.lines("UndecidedWarning")) != strict


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("rev:nowhere", "rev:nowhere: expected a commit, branch or tag"),
        ("run:slow", "--against run:slow: expected a git revision"),
    ],
)
def test_a_target_that_cannot_be_compared_fails_the_item_with_a_line(
    repository: PluginRepository, target: str, message: str
):
    """No traceback, and no worktree left behind."""
    done = against(repository, "--against", target)

    assert done.code == 1, done.text
    assert done.is_plain
    assert done.lines(message)
    assert len(repository.git("worktree", "list").splitlines()) == 1


def test_collecting_and_disabled_benchmarks_compare_nothing(repository: PluginRepository):
    """As without the option."""
    collected = against(repository, "--collect-only", "-q")

    assert collected.code == 0, collected.text
    assert collected.lines("slow.toml::cnn-slowpoke")
    assert not (repository.top / "results").exists()
