"""Processes import what is installed, whatever the folder that the user stands in holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from suite_files import NUMPY_TWINS

from benchharness.environments.build import create, python_of
from benchharness.environments.interpreter import inspect_interpreter
from benchharness.results.run_folder import RunFolder
from benchharness.subprocesses import python_environment
from benchharness.testing.loading import observe_loading

pytestmark = pytest.mark.slow

# Of the standard library, of what the core imports, of frameworks, and of ourselves.
MODULES = (
    *("random", "json", "socket", "venv", "ensurepip", "compileall", "secrets", "timeit"),
    *("numpy", "pandas", "PIL", "pluggy", "click", "rich", "h5py", "psutil", "safetensors"),
    *("keras", "tensorflow", "torch", "torchvision", "jax", "flax", "optax"),
    *("benchharness", "benchharness_keras", "benchharness_torch", "benchharness_jax"),
)
HOSTILE = """
from pathlib import Path
with Path(__file__).with_name("imported.txt").open("a") as file:
    file.write(__name__ + " ")
raise SystemExit("shadowed")
"""
SUITE = (
    """
name = "small"
trials = 1
"""
    + NUMPY_TWINS
    + """
[defaults]
image_size = 16
train_images = 10
test_images = 4
batch_size = 5

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2]
dense = 4
"""
)
BIN = Path(sys.executable).parent


def fill(folder: Path, modules: Iterable[str]) -> Path:
    """Write a suite, and a module of each name that says when it is imported."""
    for name in modules:
        (folder / f"{name}.py").write_text(HOSTILE)
    (folder / "small.toml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds every module that somebody could import by mistake."""
    return fill(tmp_path_factory.mktemp("hostile"), MODULES)


def imported(folder: Path) -> str:
    """Return the modules of a folder that somebody has imported."""
    file = folder / "imported.txt"
    return file.read_text() if file.exists() else ""


def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Call a program in a folder."""
    environment = {**os.environ, "BENCHHARNESS_CACHE": str(folder.parent / "cache")}
    for name in ("DATA", "WEIGHTS", "NO_PLUGIN"):
        environment.pop(f"BENCHHARNESS_{name}", None)
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800
    )


@pytest.mark.parametrize(
    "words",
    [
        "run small.toml",
        "certify small.toml",
        "plugin check numpy",
        pytest.param("doctor small.toml", marks=pytest.mark.full),
        pytest.param("compare numpy single --suite small.toml --pairs 6", marks=pytest.mark.full),
        "list",
    ],
)
def test_commands_leave_the_current_folder_alone(hostile: Path, words: str):
    """Nor do their workers and probes import what lies there."""
    done = call(hostile, str(BIN / "benchharness"), *words.split())

    assert "shadowed" not in done.stdout + done.stderr
    assert imported(hostile) == ""
    # 4 where so few pairs do not decide, and 3 where the machine has hiccups.
    allowed = (0, 3, 4) if words.startswith("compare") else (0,)
    assert done.returncode in allowed, done.stdout + done.stderr


def test_started_as_a_module_it_leaves_the_current_folder_alone(tmp_path: Path):
    """``python -m`` has found us by then, unless that was what lies there."""
    fill(tmp_path, (name for name in MODULES if name != "benchharness"))

    done = call(tmp_path, sys.executable, "-m", "benchharness", "run", "small.toml", "--dry-run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert imported(tmp_path) == ""


def test_workers_of_a_pytest_session_leave_it_alone(hostile: Path):
    """They are told by the plugin, and not by pytest, what they import."""
    done = call(hostile, str(BIN / "pytest"), "small.toml", "-q", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout + done.stderr
    assert imported(hostile) == ""


def test_loading_and_asking_interpreters_leave_it_alone(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a plugin imports is seen elsewhere, and an interpreter tells of itself."""
    monkeypatch.chdir(hostile)

    found = observe_loading("numpy", options={}, without=["nothing"])
    other = inspect_interpreter(Path(sys.executable), dict(os.environ))

    assert (found.error, found.message) == ("", "")
    assert "numpy" in other.plugins
    assert imported(hostile) == ""


def test_environments_are_built_from_anywhere(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """``python -m venv`` and pip look into the current folder first, unless told otherwise."""
    monkeypatch.chdir(hostile)

    create(tmp_path / "env", python=Path(sys.executable), environment=os.environ, name="x")

    assert python_of(tmp_path / "env").is_file()
    assert imported(hostile) == ""


def test_an_empty_entry_of_the_path_is_not_the_current_folder(hostile: Path, tmp_path: Path):
    """``PYTHONPATH=$PYTHONPATH:/more`` leaves one, where the variable was not set; others stay."""
    variables = python_environment({"PYTHONPATH": f":{tmp_path}:", "HOME": "/home"})
    alone = python_environment({"PYTHONPATH": ":"})
    code = "import json, random, sys; print(json.dumps(sys.path))"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=hostile, env=variables, capture_output=True, text=True
    )

    assert variables == {"PYTHONPATH": str(tmp_path), "HOME": "/home", "PYTHONSAFEPATH": "1"}
    assert "PYTHONPATH" not in alone
    path = json.loads(done.stdout)
    assert str(tmp_path) in path
    assert str(hostile) not in path


def test_a_record_tells_what_was_imported_and_from_where(hostile: Path):
    """File and version of the core, the plugin and its framework."""
    import numpy

    import benchharness

    call(hostile, str(BIN / "benchharness"), "run", "small.toml", "--no-proof")

    (found, *_), _ = RunFolder.open(hostile / "results/small/latest").records()
    assert found["modules"] == {
        "benchharness": {"version": benchharness.__version__, "file": benchharness.__file__},
        "numpy": {"version": numpy.__version__, "file": numpy.__file__},
    }
