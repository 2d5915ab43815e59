"""Versions of Python: those that we support, and backends whose framework has no wheel for one."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from local_plugins import benchharness, install

from benchharness.plugins import PYTHONS, obstacle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHERS = ", ".join(python for python in PYTHONS if python != HERE)
PLUGIN = """
from benchharness.api import PluginError, hookimpl


@hookimpl
def benchharness_backend(options):
    raise PluginError("backend tardy: install it with: pip install tardy-framework")
"""
# NumPy stands for the framework that is here.
METADATA = f"""Metadata-Version: 2.1
Name: tardy-dist
Version: 1.0
Provides-Extra: tardy
Provides-Extra: prompt
Requires-Dist: tardy-framework>=2; python_version != "{HERE}" and extra == "tardy"
Requires-Dist: numpy; extra == "prompt"
"""
SUITE = """
name = "small"
trials = 1
backends = ["tardy", "numpy"]

[dataset]
source = "drawn"

[[benchmark]]
name = "feed"
strategy = "dataset"
image_size = 16
train_images = 10
test_images = 4
batch_size = 5
"""


@pytest.fixture
def tardy(tmp_path: Path) -> Path:
    """Return a folder with a suite, and a plugin whose framework has no wheel for this Python."""
    entries = {"tardy": "tardy_module [tardy]", "prompt": "tardy_module [prompt]"}
    install(tmp_path, "tardy", PLUGIN, groups={"benchharness": entries})
    (tmp_path / "tardy_dist-1.0.dist-info/METADATA").write_text(METADATA)
    (tmp_path / "small.toml").write_text(SUITE)
    return tmp_path


def test_a_backend_without_a_wheel_is_left_out_of_a_run(tardy: Path):
    """A line says so, which Python brings it, and which backend of the plugin can run."""
    done = benchharness(tardy, "run", "small.toml", COLUMNS="400")

    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "is skipped" in line)
    assert (
        f"tardy is skipped: tardy-framework has no wheel for Python {HERE}; "
        f"Python {OTHERS} brings it; prompt of the same plugin can run here" in line
    )
    assert "numpy" in done.stdout


def test_a_backend_without_a_wheel_that_is_asked_for_is_refused(tardy: Path):
    """Nobody gets an answer to another question than asked."""
    done = benchharness(tardy, "run", "small.toml", "--backend", "tardy")

    assert done.returncode == 2
    assert f"found tardy-framework has no wheel for Python {HERE}" in done.stderr
    assert f"Python {OTHERS} brings it" in done.stderr


def test_list_and_plugin_check_tell_of_it(tardy: Path):
    """And do not tell to install what cannot be installed."""
    listed = benchharness(tardy, "list")
    checked = benchharness(tardy, "plugin", "check", "tardy", COLUMNS="400")

    (line,) = (line for line in listed.stdout.splitlines() if "  tardy " in line)
    assert f"tardy-framework has no wheel for Python {HERE}" in line
    assert f"tardy-framework has no wheel for Python {HERE}" in checked.stdout + checked.stderr
    assert "pip install tardy-framework" not in checked.stdout + checked.stderr


def test_what_is_here_is_no_obstacle(tardy: Path):
    """A marker says what is published; who has brought the framework all the same may use it."""
    known = Distribution.at(tardy / "tardy_dist-1.0.dist-info")
    (entry,) = known.entry_points.select(name="tardy")
    (other,) = known.entry_points.select(name="prompt")

    before = obstacle(entry)
    (tardy / "tardy_framework-2.0.dist-info").mkdir()
    (tardy / "tardy_framework-2.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: tardy-framework\nVersion: 2.0\n"
    )
    sys.path.insert(0, str(tardy))
    after = obstacle(entry)
    sys.path.remove(str(tardy))

    assert before is not None
    assert before.others == ("prompt",)
    assert (after, obstacle(other)) == (None, None)


def test_all_packages_support_the_same_pythons():
    """What installers are told is what runs, in every package, and what CI tries."""
    files = [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    projects = [tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files]
    newest = int(PYTHONS[-1].rpartition(".")[2])
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")

    for project in projects:
        found = [one for one in project["classifiers"] if one.startswith("Programming Language")]
        assert found == [f"Programming Language :: Python :: {python}" for python in PYTHONS]
        assert project["requires-python"] == f">={PYTHONS[0]},<3.{newest + 1}"
    (tried,) = re.findall(r"python: \[(.*)\]", workflow)
    assert tuple(tried.replace('"', "").split(", ")) == PYTHONS
