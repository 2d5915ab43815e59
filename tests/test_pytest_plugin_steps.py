"""The fixture `benchharness` with --against: a user's own test at two revisions, run in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pytest_sessions import INI, Session, ended, run, start
from repositories import GitRepository

pytestmark = pytest.mark.slow

# A step of NumPy, as a user writes it: his package, and a test of it. The work is real.
PACKAGE = """
import numpy as np

WEIGHTS = np.random.default_rng(0).random((192, 192), np.float32)
PRODUCTS = {products}


def step(values):
    for _ in range(PRODUCTS):
        values = np.tanh(values @ WEIGHTS)
    return values
"""
TEST = """
import numpy as np
import pytest
from training import step


@pytest.fixture
def values():
    return np.ones((192, 192), np.float32)


@pytest.mark.parametrize("scale", [1.0])
def test_step(benchharness, values, scale, request):
    wait = lambda: None
    timed = benchharness.time(lambda: step(scale * values), synchronize=wait, rounds={rounds})
    assert timed.result.shape == (192, 192)
    assert request.config.getoption("flavour").name == "salty"
    assert request.config.cache.get("nothing", None) is None
"""
CONFTEST = """
import pathlib


def pytest_addoption(parser):
    parser.addoption("--flavour", type=pathlib.Path)
"""
WORDS = ("--benchmark-only", "--flavour=salty", "--against")


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    """Return a user's repository whose last commit is that of a step of ten products."""
    made = GitRepository(tmp_path / "mine")
    (made.top / "src/training").mkdir(parents=True)
    (made.top / "tests").mkdir()
    (made.top / "conftest.py").write_text(CONFTEST)
    (made.top / "pytest.ini").write_text(f"{INI}pythonpath = src\n")
    (made.top / ".gitignore").write_text("/cache/\n__pycache__/\n/*.json\n")
    (made.top / "src/training/__init__.py").write_text(PACKAGE.format(products=10))
    (made.top / "tests/test_training.py").write_text(TEST.format(rounds=8))
    made.commit("ten")
    return made


def against(repository: GitRepository, side: str, *arguments: str, **environment: str) -> Session:
    """Return a session that compares the steps; it leaves no worktree and no traceback behind."""
    done = run(repository.top, *WORDS, side, *arguments, **threads(), **environment)
    assert done.is_plain, done.text
    require_clean(repository)
    return done


def threads() -> dict[str, str]:
    """Return variables for one thread: what is compared is not who else uses the machine."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def require_clean(repository: GitRepository) -> None:
    """Require that no worktree is left."""
    assert not [*repository.top.glob("cache/revisions/worktrees/side-*")]
    assert len(repository.git("worktree", "list").splitlines()) == 1
    assert not repository.git("status", "--short")


def test_a_slower_step_fails_the_test(repository: GitRepository):
    """Twice the work is planted; the samples of both sides are in pytest-benchmark's file."""
    (repository.top / "src/training/__init__.py").write_text(PACKAGE.format(products=20))
    repository.commit("twenty")

    done = against(repository, "rev:HEAD~1", "--benchmark-json=all.json")

    document = json.loads((repository.top / "all.json").read_text())
    ours, theirs = (bench["stats"]["median"] for bench in document["benchmarks"])
    names = [bench["fullname"] for bench in document["benchmarks"]]
    assert done.code == 1, done.text
    assert done.lines("test_step[1.0]: REGRESSION: tests/test_training.py::test_step[1.0] ")
    assert names == [
        "tests/test_training.py::test_step[1.0]",
        "tests/test_training.py::test_step[1.0] (HEAD~1)",
    ]
    assert 1.4 < ours / theirs < 2.8
    assert document["benchmarks"][0]["extra_info"]["comparison"]["verdicts"][0]["word"] == "slower"


def test_equal_steps_pass(repository: GitRepository):
    """Within a limit that a busy machine can decide on."""
    done = against(repository, "rev:HEAD", "--against-threshold=90%", "--against-strict")

    assert done.code == 0, done.text
    assert done.lines("no regression in 1 figure of 1 cell")


# Each process leaves a file. The session itself has imported the package once before, so one side
# takes 2 products where the other takes 20, and then the other way round.
IN_TURN = """(lambda folder, is_here: (
    (folder / f"{{__import__('time').monotonic_ns()}}.{{is_here}}").touch(),
    (2, 20)[len([*folder.glob(f"*.{{is_here}}")]) % 2],
)[1])(__import__("pathlib").Path({folder!r}), "worktrees" not in __file__)"""


def test_an_undecided_step_is_warned_of(repository: GitRepository):
    """Each process does 2 or 20 products, on both sides in turn: one leads, then the other."""
    folder = repository.top.parent / "started"
    folder.mkdir()
    products = IN_TURN.format(folder=str(folder))
    (repository.top / "src/training/__init__.py").write_text(PACKAGE.format(products=products))
    (repository.top / "tests/test_training.py").write_text(TEST.format(rounds=1))
    (repository.top / "conftest.py").write_text(
        f"from benchharness.pytest_plugin import steps\n\nsteps._MOST_PAIRS = 6\n{CONFTEST}"
    )
    repository.commit("in turn")

    done = against(repository, "rev:HEAD")

    assert done.code == 0, done.text
    assert done.lines("UndecidedWarning: tests/test_training.py::test_step[1.0]: UNDECIDABLE: ")


def test_a_test_that_fails_on_a_side_says_on_which(repository: GitRepository):
    """With the last lines of its output."""
    text = TEST.format(rounds=1)
    (repository.top / "tests/test_training.py").write_text(text.replace("(192, 192)\n", "()\n"))
    repository.commit("wrong")
    (repository.top / "tests/test_training.py").write_text(text)
    repository.commit("right")

    theirs = against(repository, "rev:HEAD~1")
    ours = run(repository.top, "--benchmark-only", "--against", "rev:HEAD")

    assert theirs.code == 1, theirs.text
    assert theirs.lines("HEAD~1 (")[0].endswith("): the test ended with code 1:")
    assert theirs.lines("assert (192, 192) == ()")
    assert ours.lines("working tree: the test ended with code 1:"), ours.text


@pytest.mark.parametrize(
    ("side", "message"),
    [
        ("rev:nowhere", "rev:nowhere: expected a commit, branch or tag"),
        ("run:slow", "--against run:slow: expected rev:REVISION or, for suites, backend:NAME"),
        ("backend:torch", "expected rev:REVISION or, for suites, backend:NAME, found a backend"),
    ],
)
def test_a_side_that_is_none_fails_the_test_with_a_line(
    repository: GitRepository, side: str, message: str
):
    """Where, what was expected and what was found."""
    done = against(repository, side)

    assert done.code == 1, done.text
    assert done.lines(message), done.text


def test_a_new_test_is_run_and_said_not_to_be_compared(repository: GitRepository):
    """A pull request may add one."""
    text = TEST.format(rounds=1).replace("test_step", "test_new")
    (repository.top / "tests/test_new.py").write_text(text)
    repository.commit("new")

    done = against(repository, "rev:HEAD~1", "tests/test_new.py")

    assert done.code == 0, done.text
    assert done.lines("UncomparedWarning: tests/test_new.py::test_new[1.0]: not compared: not in ")


def test_a_package_of_another_place_is_refused(repository: GitRepository, tmp_path: Path):
    """Both sides would run the same code."""
    elsewhere = tmp_path / "elsewhere/training"
    elsewhere.mkdir(parents=True)
    (elsewhere / "__init__.py").write_text(PACKAGE.format(products=1))
    (repository.top / "conftest.py").write_text(
        f"import sys\n\nsys.path.insert(0, {str(elsewhere.parent)!r})\n{CONFTEST}"
    )
    repository.commit("elsewhere")

    done = against(repository, "rev:HEAD")

    assert done.code == 1, done.text
    assert done.lines("working tree: training: expected it to be imported from "), done.text


def test_a_project_in_a_folder_of_a_repository_is_compared_by_its_own_files(tmp_path: Path):
    """Although its package is installed: both sides would run that."""
    made = GitRepository(tmp_path / "many")
    project, site = made.top / "packages/mine", tmp_path / "site"
    for folder in (project / "src/training", project / "tests", site / "training"):
        folder.mkdir(parents=True)
    (project / "conftest.py").write_text(CONFTEST)
    (project / "pytest.ini").write_text(INI)
    (made.top / ".gitignore").write_text("cache/\n__pycache__/\n")
    (project / "tests/test_training.py").write_text(TEST.format(rounds=4))
    for package in (site / "training", project / "src/training"):
        (package / "__init__.py").write_text(PACKAGE.format(products=5))
    made.commit("five")
    (project / "src/training/__init__.py").write_text(PACKAGE.format(products=15))

    done = run(project, *WORDS, "rev:HEAD", **threads(), PYTHONPATH=str(site))

    assert done.code == 1, done.text
    assert done.lines("test_step[1.0]: REGRESSION: "), done.text


@pytest.mark.parametrize(
    ("before", "after", "options", "code", "words"),
    [
        (
            # It would wait for turns that nobody gives, and be skipped.
            "    assert timed.result",
            "    benchharness.time(lambda: 1, synchronize=wait)\n    assert timed.result",
            (),
            1,
            "benchharness.time: expected one timing in a test, found another",
        ),
        (
            # Such as a step that finds no memory.
            "lambda: step(scale * values)",
            "lambda: pytest.skip('full')",
            ("-rs",),
            0,
            "Skipped: full",
        ),
        (
            "lambda: step(",
            "lambda: __import__('time').sleep(99) or step(",
            ("--benchharness-timeout=8",),
            1,
            "the test ended with code -9:",
        ),
    ],
    ids=["times twice", "skips", "hangs"],
)
def test_a_step_that_goes_wrong_ends_as_in_any_session(
    repository: GitRepository,
    before: str,
    after: str,
    options: tuple[str, ...],
    code: int,
    words: str,
):
    """It fails or is skipped, with the reason."""
    text = TEST.format(rounds=1).replace(before, after)
    (repository.top / "tests/test_training.py").write_text(text)
    repository.commit("wrong")

    done = against(repository, "rev:HEAD", *options)

    assert done.code == code, done.text
    assert done.lines(words), done.text


def test_a_session_in_which_nothing_is_compared_is_refused(repository: GitRepository):
    """An empty side too: a variable of a script may be unset."""
    (repository.top / "tests/test_other.py").write_text(
        "def test_other(benchmark): benchmark(int)\n"
    )

    other = run(repository.top, *WORDS, "rev:HEAD", "tests/test_other.py")
    empty = run(repository.top, *WORDS, "", "tests/test_training.py")

    assert other.code == 4, other.text
    assert other.lines(
        "--against: expected a suite, or a test with the fixture benchharness, found"
    )
    assert empty.code == 1, empty.text
    assert empty.lines("expected a commit, branch or tag, found none of that name"), empty.text


def test_an_interrupted_pair_leaves_nothing_behind(repository: GitRepository):
    """Ctrl-C: exit code 2, no process, no worktree, no traceback."""
    (repository.top / "src/training/__init__.py").write_text(PACKAGE.format(products=2000))
    repository.commit("long")
    session = start(repository.top, *WORDS, "rev:HEAD")
    deadline = time.monotonic() + 600
    pattern = f"{repository.top}.*pytest_plugin.side"
    while len(processes(pattern)) < 2:
        assert session.poll() is None, session.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)

    os.killpg(session.pid, signal.SIGINT)
    done = ended(session)

    assert done.code == 2, done.text
    assert done.is_plain, done.text
    require_clean(repository)
    assert not processes(pattern)


def processes(pattern: str) -> list[str]:
    """Return the numbers of processes whose command line has a pattern."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_disabled_benchmarks_compare_no_step(repository: GitRepository):
    """The step runs once, and a warning says that nothing was compared."""
    done = run(repository.top, "--benchmark-disable", "--flavour=salty", "--against=rev:HEAD")

    assert done.code == 0, done.text
    assert done.lines("UncomparedWarning: tests/test_training.py::test_step[1.0]: --against: ")
    require_clean(repository)
