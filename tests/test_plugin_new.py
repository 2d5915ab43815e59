"""``benchharness plugin new`` writes a package that is installed, checked and run as it stands."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from documents import blocks
from local_plugins import benchharness

from benchharness.testing.scaffold import renamed, sources

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs/plugins.md"
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the wheel of a new backend is unpacked, as an installer does."""
    folder = tmp_path_factory.mktemp("desk")
    done = benchharness(folder, "plugin", "new", "my-backend", "--dir", "work")
    assert done.returncode == 0, done.stderr
    install(folder / "work/benchharness-my-backend", folder)
    return folder


def install(project: Path, site: Path) -> None:
    """Build a project by its own build system, and unpack the wheel."""
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(site)], cwd=project, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    zipfile.ZipFile(site / built.stdout.strip().splitlines()[-1]).extractall(site)


def test_everything_carries_the_new_name(desk: Path):
    """Nothing of the template's name is left, neither in files nor in what they are called."""
    project = desk / "work/benchharness-my-backend"
    files = [path for path in project.rglob("*") if path.is_file()]

    assert len(files) == len(sources())
    assert not [path for path in files if "newbackend" in path.read_text() + str(path)]
    assert (
        "class MyBackendBackend:" in (project / "benchharness_my_backend/training.py").read_text()
    )


def test_the_package_is_typed_and_says_what_it_is(desk: Path):
    """The wheel holds the mark of typed packages, and the entry point under the asked name."""
    (metadata,) = desk.glob("*.dist-info")

    assert (desk / "benchharness_my_backend/py.typed").is_file()
    assert (
        "my-backend = benchharness_my_backend.plugin" in (metadata / "entry_points.txt").read_text()
    )


def test_the_guide_leads_from_nothing_to_a_certified_backend(tmp_path: Path):
    """Its commands and its piece of code, in their order, in an empty folder."""
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    said: dict[str, str] = {}
    for block in (block for block in blocks("sh", "python") if block.document == GUIDE):
        if block.kind == "piece":
            (tmp_path / "benchharness_mine/optimizers.py").write_text(block.text)
            said["replaced"] = _done(benchharness(tmp_path, *(["plugin", "check", "mine"])))
        for command in block.commands() if block.language == "sh" else ():
            program, *words = shlex.split(command)
            if program == "pip":
                install(tmp_path / words[-1].removesuffix("[dev]"), tmp_path)
            elif "mine" in words:
                said[" ".join(words[:2])] = _done(benchharness(tmp_path, *words))

    assert "the reference still works in network.py, optimizers.py" in said["plugin check"]
    assert "dataset, simple_cnn, bottleneck, fine_tune" in said["plugin check"]
    assert "the reference still works in network.py ok" in said["replaced"]
    assert "optimizer: mine has no rmsprop with these constants" in said["replaced"]
    assert "keeps the contract" in said["replaced"]
    assert "simple_cnn, mine and numpy: proven" in said["certify suites/smoke.toml"]
    assert "images: mine numpy; fingerprints: mine numpy" in said["run suites/smoke.toml"]
    records = (tmp_path / "results/smoke/latest/records.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in records]
    assert {(record["backend"], record["status"], record["proof"]) for record in found} == {
        ("mine", "ok", "proven"),
        ("numpy", "ok", "proven"),
    }


def _done(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed, on one line; it must have gone well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_its_own_tests_pass(desk: Path):
    """They are the contract, for pytest; most of it was shown above."""
    environment = {**os.environ, "PYTHONPATH": str(desk)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "logits or seed or TestPlugin"],
        cwd=desk / "work/benchharness-my-backend",
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
    assert re.search(r"\d{2} passed", done.stdout)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("My", "NAME: expected lower-case letters and digits, words joined by - or _"),
        ("../up", "NAME: expected lower-case letters"),
        ("numpy", 'NAME: expected a name that no installed backend has, found "numpy"'),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, complaint: str):
    """One line, exit code 2, and nothing is written."""
    done = benchharness(tmp_path, "plugin", "new", name)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert not list(tmp_path.glob("*/"))


def test_nothing_is_overwritten(tmp_path: Path):
    """A folder that holds something stays as it is."""
    kept = tmp_path / "benchharness-mine/kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")

    done = benchharness(tmp_path, "plugin", "new", "mine")

    assert done.returncode == 1
    assert "expected no such folder or an empty one" in done.stderr
    assert [path.name for path in kept.parent.iterdir()] == ["kept.txt"]


def test_the_template_is_written_for_the_api_that_there_is():
    """What authors get declares the version that they have, and depends on this benchharness."""
    from benchharness import __version__
    from benchharness.api import API_VERSION
    from benchharness.testing.scaffold import TEMPLATE

    plugin = (TEMPLATE / "benchharness_newbackend/plugin.py").read_text()
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]

    major, minor = map(int, __version__.split(".")[:2])
    assert f'benchharness_api = "{API_VERSION}"' in plugin
    wanted = f"benchharness>={major}.{minor},<{major}.{minor + 1}"
    assert project["dependencies"][0] == wanted


def test_names_are_spelt_as_each_place_wants_them():
    """A distribution has hyphens, a module underscores, a class capitals; the entry point as is."""
    text = "benchharness-newbackend benchharness_newbackend NewFeeding newbackend Newer"

    assert renamed(text, "my_own") == (
        "benchharness-my-own benchharness_my_own MyOwnFeeding my_own Newer"
    )


def test_the_reference_of_the_guide_is_made_of_the_docstrings():
    """docs/plugins.md ends with the tables that tools/document_api.py makes of them."""
    path = ROOT / "tools/document_api.py"
    spec = importlib.util.spec_from_file_location("document_api", path)
    document_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(document_api)

    assert GUIDE.read_text(encoding="utf-8").endswith(document_api.tables())
