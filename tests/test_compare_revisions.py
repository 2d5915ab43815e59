"""A git revision is measured as it was, and nobody's files are touched for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from repositories import SLOW_SUITE, PluginRepository

from benchharness.compare.projects import (
    Requirements,
    find_projects,
    interpreter_for,
    read_pins,
)
from benchharness.compare.revisions import check_out
from benchharness.environments import build
from benchharness.errors import RunError, SuiteError
from benchharness.measure.git import describe_commit
from benchharness.subprocesses import python_environment

pytestmark = pytest.mark.slow

LOOK = """
import json, benchharness_slowpoke.plugin as plugin
from importlib.metadata import entry_points, version
entries = {entry.name: entry.value for entry in entry_points(group="benchharness")}
print(json.dumps({"step_s": plugin.STEP_S, "file": plugin.__file__, "entries": entries,
                  "version": version("benchharness-slowpoke")}))
"""


@pytest.fixture
def repository(tmp_path: Path) -> PluginRepository:
    """Return a plugin's repository with two tagged commits, the second slower on purpose."""
    made = PluginRepository(tmp_path / "plugin")
    made.write(step_s=0.0, version="1.0")
    made.commit("quick", tag="quick")
    made.write(step_s=0.05, version="1.1")
    made.commit("slow", tag="slow")
    return made


@pytest.fixture
def told() -> list[str]:
    """Return the list that takes what is told."""
    return []


@pytest.fixture
def take(tmp_path: Path, repository: PluginRepository, told: list[str]):
    """Return a function that prepares a revision of the repository."""

    def take(revision: str, **changes):
        return check_out(
            revision,
            **{
                "repository": repository.top,
                "cache": tmp_path / "cache",
                "tell": told.append,
                **changes,
            },
        )

    return take


def seen_by(checkout) -> dict:
    """Return what a process of the revision finds to import."""
    done = subprocess.run(
        [checkout.python, "-c", LOOK],
        env=python_environment({**os.environ, **checkout.environment}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_each_revision_imports_its_own_code_and_metadata(take, repository: PluginRepository):
    """Of both, at once, though nothing is installed: by the interpreter that runs us.

    Revisions are understood as git does; a checkout says what it is.
    """
    with take("HEAD~1") as quick, take("slow") as slow:
        found = [seen_by(quick), seen_by(slow)]

    assert [one["step_s"] for one in found] == [0.0, 0.05]
    assert [one["version"] for one in found] == ["1.0", "1.1"]
    assert all(one["entries"]["slowpoke"] == "benchharness_slowpoke.plugin" for one in found)
    assert quick.commit == repository.git("rev-parse", "quick^{commit}")
    assert slow.commit == repository.git("rev-parse", "slow^{commit}")
    assert slow.label == f"slow ({slow.commit[:9]})"
    assert slow.projects == ("benchharness-slowpoke",)
    assert not slow.is_dirty
    assert slow.python == sys.executable


def test_folder_of_the_user_wins_over_nothing(take, repository, monkeypatch):
    """A worker started in a folder with packages of the same names imports the revision's."""
    monkeypatch.chdir(repository.top / "src")

    with take("quick") as quick:
        assert seen_by(quick)["step_s"] == 0.0


def test_the_working_tree_is_a_revision_too(take, repository: PluginRepository):
    """With changes that nobody has committed; no copy is made."""
    repository.write(step_s=0.25)

    with take(".") as tree:
        assert seen_by(tree)["step_s"] == 0.25
        assert tree.is_dirty
        assert tree.top == repository.top
        assert tree.label.startswith("working tree (")


def test_changes_that_a_revision_leaves_out_are_told(take, repository, told):
    """Who compares HEAD may believe that it holds them; who compares another does not."""
    repository.write(step_s=0.25)
    with take("quick"):
        pass
    assert told == []

    with take("HEAD"):
        pass

    (line,) = told
    assert "without the changes in pyproject.toml and 1 more" in line
    assert "rev:." in line


def test_nothing_of_the_users_is_touched(take, repository: PluginRepository):
    """Files, index, branches and the list of worktrees are as before."""
    repository.write(step_s=0.25)
    (repository.top / "new.txt").write_text("mine", encoding="utf-8")
    repository.git("add", "pyproject.toml")

    def state() -> tuple[str, ...]:
        words = ("status --porcelain", "branch --all", "worktree list", "stash list")
        return (*(repository.git(*word.split()) for word in words), repository.git("diff"))

    before = state()
    with take("quick") as quick:
        assert quick.top.is_dir()

    assert state() == before
    assert not quick.top.exists()


def test_hooks_neither_run_nor_mislead(take, repository: PluginRepository, monkeypatch, tmp_path):
    """A user's hooks are for the user's own checkouts.

    Within one, git sets variables that turn every command to the hook's repository.
    """
    hook = repository.top / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="utf-8")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    with take("quick") as quick:
        assert (quick.top / "pyproject.toml").is_file()

    assert not (tmp_path / "ran").exists()


def test_error_removes_the_worktree(take, repository: PluginRepository, tmp_path: Path):
    """Whatever stops the comparison."""
    with pytest.raises(ZeroDivisionError), take("quick"):
        raise ZeroDivisionError

    assert len(repository.git("worktree", "list").splitlines()) == 1
    assert not list((tmp_path / "cache/revisions/worktrees").glob("side-*"))


INTERRUPTED = """
import sys, time
from pathlib import Path
from benchharness.compare.revisions import check_out
with check_out("quick", repository=Path(sys.argv[1]), cache=Path(sys.argv[2]), tell=print):
    print("ready", flush=True)
    time.sleep(60)
"""


def interrupted(repository: PluginRepository, cache: Path, number: signal.Signals) -> None:
    """End a process that holds a revision."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(repository.top), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)


def test_interrupt_removes_the_worktree(repository: PluginRepository, tmp_path: Path):
    """Ctrl-C leaves nothing behind."""
    interrupted(repository, tmp_path / "cache", signal.SIGINT)

    assert len(repository.git("worktree", "list").splitlines()) == 1


def test_next_call_removes_what_a_killed_one_left(take, repository, tmp_path: Path):
    """Killed, it could not do so itself; what a living process holds stays."""
    interrupted(repository, tmp_path / "cache", signal.SIGKILL)
    assert len(repository.git("worktree", "list").splitlines()) == 2

    with take("slow"), take("quick"):
        assert len(repository.git("worktree", "list").splitlines()) == 3

    assert len(repository.git("worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("quik", r"rev:quik: .*did you mean quick\?"),
        # What begins with a dash is never an option of git.
        ("--all", "rev:--all: expected a commit"),
    ],
)
def test_unknown_revision_is_refused_with_the_nearest(take, revision: str, message: str):
    """A misspelt tag is an error of the request."""
    with pytest.raises(SuiteError, match=message), take(revision):
        pass


def test_shallow_clone_says_how_to_get_the_rest(take, repository, tmp_path: Path):
    """As continuous integration makes them."""
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.top}", str(clone))

    with pytest.raises(SuiteError, match="git fetch --unshallow"), take("HEAD~1", repository=clone):
        pass


def test_folder_outside_of_git_is_refused(take, tmp_path: Path):
    """There are no revisions in it."""
    with (
        pytest.raises(SuiteError, match="expected a folder of a git repository"),
        take("HEAD", repository=tmp_path),
    ):
        pass


def test_repository_of_something_else_is_refused(take, repository: PluginRepository):
    """Nothing in it is ours to measure."""
    repository.git("rm", "--quiet", "-r", ".")
    repository.commit("emptied")

    with (
        pytest.raises(SuiteError, match=r"expected a pyproject.toml of benchharness or of a plug"),
        take("HEAD"),
    ):
        pass


def test_code_that_lies_elsewhere_is_refused(take, repository: PluginRepository):
    """Else the comparison would be of something else."""
    repository.git("mv", "src", "lib")
    repository.commit("moved")

    with (
        pytest.raises(RunError, match="expected the revision's code to be imported from"),
        take("HEAD"),
    ):
        pass


def test_python_that_a_revision_does_not_admit_is_said(take, repository: PluginRepository):
    """Before anything is run."""
    file = repository.top / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[project]", '[project]\nrequires-python = ">=3.99"', 1), "utf-8")

    with (
        pytest.raises(SuiteError, match=r"requires-python: expected one that admits this Python"),
        take("."),
    ):
        pass


def test_renamed_backend_is_found_under_its_new_name(take, repository: PluginRepository):
    """Entry points are the revision's, not those that are installed."""
    repository.write(entry="tortoise")
    repository.commit("renamed", tag="renamed")

    with take("renamed") as renamed, take("slow") as slow:
        assert "tortoise" in seen_by(renamed)["entries"]
        assert "tortoise" not in seen_by(slow)["entries"]


def test_compare_names_the_cell_that_a_revision_made_slower(repository, tmp_path: Path):
    """Four steps with 50 ms each more, in a plugin that nobody has installed: exit code 3."""
    suite = tmp_path / "slow.toml"
    suite.write_text(SLOW_SUITE, encoding="utf-8")
    words = ["compare", "rev:quick", "rev:slow", "--suite", str(suite), "--pairs", "6..20"]
    words += ["--repository", str(repository.top), "--column", "train_images_per_s"]

    done = subprocess.run(
        [sys.executable, "-m", "benchharness", *words, "--no-proof", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "BENCHHARNESS_CACHE": str(tmp_path / "cache"), "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 3, done.stdout + done.stderr
    assert re.search(r"REGRESSION: cnn slowpoke training [\d.]+% slower", done.stdout)
    assert len(repository.git("worktree", "list").splitlines()) == 1


def test_description_of_a_commit_tells_changes(repository: PluginRepository, tmp_path: Path):
    """As run.json has it."""
    commit = repository.git("rev-parse", "HEAD")

    clean = describe_commit(repository.top)
    repository.write(step_s=0.5)
    dirty = describe_commit(repository.top)

    assert (clean["id"], clean["branch"], clean["is_dirty"]) == (commit, "main", False)
    assert dirty == clean | {"is_dirty": True}
    assert "not a git repository" in describe_commit(tmp_path)["unknown"]


class TestEnvironments:
    """What is here serves where it can; else packages are installed apart, once."""

    def wheel(self, folder: Path, version: str) -> None:
        """Write a distribution that no index has."""
        folder.mkdir(exist_ok=True)
        stem = f"slowpoke_helper-{version}"
        files = {
            "slowpoke_helper.py": f"VERSION = {version!r}\n",
            f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: slowpoke-helper\n"
            f"Version: {version}\n",
            f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
            f"{stem}.dist-info/RECORD": "",
        }
        with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)

    @pytest.fixture
    def offline(self, tmp_path: Path) -> dict[str, str]:
        """Return variables with which an installer knows two wheels, and no index."""
        for number in ("1.0", "2.0"):
            self.wheel(tmp_path / "wheels", number)
        links = str(tmp_path / "wheels")
        return {
            **os.environ,
            "BENCHHARNESS_OFFLINE": "1",
            "UV_FIND_LINKS": links,
            "UV_NO_INDEX": "1",
            "PIP_FIND_LINKS": links,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    @pytest.mark.parametrize("installer", ["uv", "pip"])
    def test_missing_packages_are_installed_apart_once(
        self, tmp_path: Path, offline, told, monkeypatch, installer
    ):
        """By the revision's constraints; a second call takes what the first has made."""
        if installer == "pip":
            monkeypatch.setattr(build.shutil, "which", lambda name: None)
        elif shutil.which("uv") is None:
            pytest.skip("needs uv")
        requirements = Requirements(wanted=("slowpoke-helper>=1",), pins=("slowpoke-helper==1.0",))

        pythons = {
            interpreter_for(
                requirements, cache=tmp_path / "sets", environment=offline, tell=told.append
            )
            for _ in range(2)
        }

        (python,) = pythons
        code = "import slowpoke_helper; print(slowpoke_helper.VERSION)"
        assert subprocess.check_output([python, "-c", code], text=True) == "1.0\n"
        (line,) = told
        assert "because slowpoke-helper>=1 is missing here" in line

    def test_failing_installer_is_quoted(self, tmp_path: Path, offline, told):
        """Its last lines say what is missing; nothing half-made is taken for whole."""
        requirements = Requirements(wanted=("slowpoke-helper>=3",), pins=())

        with pytest.raises(RunError, match=r"found: .*slowpoke.helper"):
            interpreter_for(
                requirements, cache=tmp_path / "sets", environment=offline, tell=told.append
            )

        assert not [path for path in (tmp_path / "sets").iterdir() if path.is_dir()]
        assert [line.startswith("building an environment") for line in told] == [True, False]

    def test_what_a_revision_does_not_pin_is_held_where_it_is(self):
        """One pin changes one package, and what cannot go with it."""
        requirements = Requirements(wanted=("pydantic>=2",), pins=("pydantic-core==0.0.1",))

        held = {line.partition("==")[0]: line for line in requirements.held()}

        assert held["pydantic"] == f"pydantic=={version('pydantic')}"
        assert "pydantic-core" not in held
        # Editable: imported from where it lies, not installed.
        assert "benchharness" not in held

    def test_pins_count_where_a_worker_could_import_them(self):
        """Another version of what we or the plugin need matters; another linter does not."""
        wanted = ("hypothesis>=6",)

        assert not Requirements(wanted=wanted, pins=("ruff==0.0.1",)).unmet()
        for pin in ("sortedcontainers==0.0.1", "pydantic-core==0.0.1"):
            assert Requirements(wanted=wanted, pins=(pin,)).unmet() == [pin]

    def test_versions_and_markers_count(self):
        """What is asked for elsewhere than here is not asked for."""
        wanted = ("numpy<1", "pydantic>=2", 'nothing-like-it; python_version < "3"', "no-such-pkg")

        assert Requirements(wanted=wanted, pins=()).unmet() == ["numpy<1", "no-such-pkg"]

    def test_extras_count_where_they_are_in_use(self, repository: PluginRepository):
        """Those whose packages are here; what developers use is no worker's concern."""
        with (repository.top / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write('[project.optional-dependencies]\nnow = ["click"]\n')
            file.write('later = ["no-such-pkg"]\ndev = ["pytest"]\n')

        requirements = Requirements.of(find_projects(repository.top), pins=())

        assert requirements.wanted == ("click", "numpy>=1.26")

    def test_constraints_of_a_revision_are_read(self, tmp_path: Path):
        """Lines as they are, without comments."""
        (tmp_path / "constraints.txt").write_text("# exact\nnumpy==2.4.6  # here\n\n", "utf-8")

        assert read_pins(tmp_path) == ("numpy==2.4.6",)
        assert read_pins(tmp_path / "nowhere") == ()
