"""Backends in interpreters of their own: two versions of a framework in one suite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import distribution
from pathlib import Path

import pytest
from wheels import write_shelf

from benchharness import __version__
from benchharness.compare.overrides import parse_overrides
from benchharness.compare.plan import plan_comparison
from benchharness.compare.targets import Side
from benchharness.doctor import report
from benchharness.doctor.report import DoctorOptions, examine
from benchharness.environments import build
from benchharness.environments.build import build_once, create, python_of
from benchharness.environments.install import copy_distribution, needs
from benchharness.environments.interpreter import (
    TrustedInterpreters,
    UnusableError,
    find_program,
    inspect_interpreter,
)
from benchharness.environments.spec import EnvironmentSpec
from benchharness.environments.store import Environments, Reference
from benchharness.errors import RunError, SuiteError
from benchharness.run.interpreters import InterpreterResolver
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session
from benchharness.suite.load import load

pytestmark = pytest.mark.slow

SUITE = """
name = "two"
trials = 1
seed = 3
backends = {backends}

[dataset]
source = "drawn"

{tables}

[defaults]
image_size = 16
train_images = 16
test_images = 4
batch_size = 4
dense = 4

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
filters = [2]
epochs = 1
"""
OLD = """
[backend."slowpoke-1"]
plugin = "slowpoke"
requirements = ["benchharness-slowpoke", "slowpoke-helper==1.*"]
"""
NEW = OLD.replace("slowpoke-1", "slowpoke-2").replace("==1.*", "==2.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A user's folder, with a shelf of wheels in place of an index."""

    folder: Path
    shelf: Mapping[str, str]
    cache: Path = field(default=Path())

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the user's processes."""
        return {**os.environ, **self.shelf, "BENCHHARNESS_CACHE": str(self.cache)}

    def write(self, *backends: str, tables: str = "") -> Path:
        """Write a suite and return its file."""
        path = self.folder / "two.toml"
        path.write_text(SUITE.format(backends=json.dumps(backends), tables=tables), "utf-8")
        return path

    def call(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Call the command line, which is to end with a code."""
        done = subprocess.run(
            [sys.executable, "-m", "benchharness", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    def refusal(self, path: Path) -> str:
        """Return why a suite cannot run, as its user is told."""
        self.introduce(path)
        done = self.call("run", str(path), code=2)
        assert "Traceback" not in done.stderr
        return done.stderr

    def introduce(self, path: Path) -> None:
        """Say that the interpreters of a suite may be started, as ``env sync`` does."""
        suite = load(path)
        for written in (table.python for table in suite.backend.values() if table.python):
            with suppress(UnusableError):
                program = find_program(written, beside=suite.resolve_path(written))
                TrustedInterpreters(self.cache).trust(program)

    def records(self) -> list[dict]:
        """Return the trials of the newest run."""
        lines = (self.folder / "results/two/latest/records.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables with which installers find the wheels of these tests."""
    return write_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def desk(tmp_path: Path, shelf: dict[str, str]) -> Desk:
    """Return a desk with an empty cache."""
    return Desk(folder=tmp_path, shelf=shelf, cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shelf: dict[str, str]) -> Desk:
    """Return a desk on which two environments have been built and a suite has run in them."""
    folder = tmp_path_factory.mktemp("built")
    desk = Desk(folder=folder, shelf=shelf, cache=folder / "cache")
    path = desk.write("numpy", "slowpoke-1", "slowpoke-2", tables=OLD + NEW)
    desk.call("env", "sync", str(path))
    done = desk.call("run", str(path))
    (folder / "table.txt").write_text(done.stdout, encoding="utf-8")
    return desk


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an environment with nothing of ours."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    create(folder, python=Path(sys.executable), environment=os.environ, name="bare")
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, bare: Path) -> Path:
    """Return the folder of an environment that has all that this one has, and a name of its own."""
    folder = _copied(bare, tmp_path_factory.mktemp("other") / "env")
    _site(folder).joinpath("here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    copy_distribution(distribution("benchharness"), folder)
    return folder


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the doctor from looking at frameworks that are installed here and in no suite."""
    monkeypatch.setattr(report, "installed", dict)


def _site(folder: Path) -> Path:
    (site,) = folder.glob("lib/python3*/site-packages")
    return site


def _copied(environment: Path, folder: Path) -> Path:
    """Copy an environment, which is quicker than to make another."""
    return Path(shutil.copytree(environment, folder, symlinks=True))


def _table(python: object, *, plugin: str = "numpy") -> str:
    return f'[backend.apart]\nplugin = "{plugin}"\npython = "{python}"\n'


class TestTwoVersions:
    """Of one framework, neither of which is installed here, in one suite."""

    def test_each_backend_runs_with_its_own(self, built: Desk):
        """Trials tell the version that did the work."""
        records = [record for record in built.records() if "backend" in record]

        assert {one["backend"]: one["versions"].get("slowpoke-helper") for one in records} == {
            "numpy": None,
            "slowpoke-1": "1.0",
            "slowpoke-2": "2.0",
        }
        assert {one["status"] for one in records} == {"ok"}

    def test_their_work_is_proven_equal(self, built: Desk):
        """Each was probed where it runs: nothing of either could be probed here."""
        content = json.loads((built.folder / "results/two/latest/certificate.json").read_text())

        assert [one["verdict"] for one in content["certificates"]] == ["proven"] * 3

    def test_table_tells_them_apart(self, built: Desk):
        """By the names of the backends, and by a line on what differs."""
        table = " ".join((built.folder / "table.txt").read_text().split())

        assert "versions differ slowpoke-helper: slowpoke-1 1.0, slowpoke-2 2.0" in table

    def test_run_records_what_is_in_them(self, built: Desk):
        """Packages, Python and a digest, by backend; no path of the machine."""
        run = json.loads((built.folder / "results/two/latest/run.json").read_text())

        found = run["environments"]
        assert list(found) == ["slowpoke-1", "slowpoke-2"]
        assert found["slowpoke-1"]["packages"]["slowpoke-helper"] == "1.0"
        assert found["slowpoke-1"]["packages"]["benchharness"] == __version__
        assert found["slowpoke-1"]["digest"] != found["slowpoke-2"]["digest"]
        assert str(built.cache) not in json.dumps(run)

    def test_second_sync_finds_them(self, built: Desk):
        """And is quick to say so."""
        done = built.call("env", "sync", "two.toml")

        assert done.stdout.count("there already: ") == 2
        assert "slowpoke-helper 2.0" in done.stdout and "building" not in done.stderr

    def test_certificate_alone_is_proven_there_too(self, built: Desk):
        """The certify command starts probers where the backends live."""
        assert "proven" in built.call("certify", "two.toml").stdout

    def test_comparison_keeps_the_interpreter_of_each_side(self, built: Desk):
        """Sides have names of their own; a variant of a backend lives where the backend does."""
        session = open_session(
            RunOptions(suite=built.folder / "two.toml", device="cpu", backends=("slowpoke-1",)),
            environment=built.environment,
            cache=built.cache,
        )
        changes, _ = parse_overrides(["dense=8"], option="--set")
        changed = Side(label="more", overrides=changes)

        comparison = plan_comparison(
            session.plan, Side(label="same"), changed, pairs=6, is_extracting=True
        )
        session = replace(session, plan=comparison.plan).resolve_interpreters()

        (pair,) = comparison.cells
        backends = [pair.a.backend, pair.b.backend]
        assert len(set(backends)) == 2
        pythons = {session.executors[name].python for name in backends}
        assert pythons == {str(session.resolver.of(backends[0]).interpreter.path)}
        assert str(built.cache) in pythons.pop()

    def test_doctor_looks_at_them_where_they_live(self, built: Desk, alone: None):
        """Neither is missing, though neither is installed here."""
        report = examine(
            DoctorOptions(suite=built.folder / "two.toml"),
            environment=built.environment,
            cache=built.cache,
        )

        found = {one["backend"]: one for one in report.facts["backends"]}
        assert found["slowpoke-1"]["distribution"] == "benchharness-slowpoke 1.0"
        assert found["slowpoke-1"]["versions"]["slowpoke-helper"] == "1.0"
        assert not found["slowpoke-2"]["reason"]

    def test_pytest_session_runs_them(self, built: Desk):
        """As items of the plugin, each in its environment."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "two.toml", "--benchmark-disable"],
            cwd=built.folder,
            env=built.environment,
            capture_output=True,
            text=True,
        )

        assert "3 passed" in done.stdout, done.stdout

    def test_listing_names_them(self, built: Desk):
        """With the environments, and among the backends that can be had."""
        assert "slowpoke-helper 1.0" in built.call("env", "list").stdout
        assert "slowpoke-1" in built.call("list").stdout
        assert "numpy" in built.call("env", "show", "slowpoke-1").stdout


class TestBuilding:
    """Whole or not at all, once, and again when what it is made of has changed."""

    def test_pip_builds_what_runs_too(self, desk: Desk, monkeypatch):
        """With venv and pip where uv is missing; without uv all other tests build so."""
        if build.shutil.which("uv") is None:
            pytest.skip("needs uv")
        monkeypatch.setattr(build.shutil, "which", lambda name: None)
        resolver = _resolver(desk, desk.write("slowpoke-1", tables=OLD))

        found, is_new = _sync(resolver, "slowpoke-1")

        assert is_new and found.chosen["slowpoke-helper"] == "1.0"
        assert resolver.of("slowpoke-1").distribution == "benchharness-slowpoke 1.0"

    def test_failure_leaves_nothing_and_is_quoted(self, desk: Desk):
        """The installer's last lines, and that there was no network."""
        path = desk.write("slowpoke-3", tables=OLD.replace("e-1", "e-3").replace("1.*", "3.*"))

        done = desk.call("env", "sync", str(path), code=1)

        assert "error: environment of slowpoke-3: expected" in done.stderr
        assert "(offline; building an environment needs a network once)" in done.stderr
        assert "slowpoke-helper" in done.stderr.replace("_", "-")
        assert "Traceback" not in done.stderr
        assert not [one for one in (desk.cache / "environments").iterdir() if one.is_dir()]

    def test_killed_build_is_begun_again(self, tmp_path: Path):
        """What it has left is not taken for whole."""
        folder = tmp_path / "set"
        left = tmp_path / ".set-4242-killed"
        left.mkdir()
        (left / "half").touch()

        assert build_once(folder, lambda beside: (beside / "all").touch())

        assert [file.name for file in folder.iterdir()] == ["all"]
        assert not left.exists()

    def test_two_at_once_build_one(self, tmp_path: Path):
        """The second waits, and finds what the first has made."""
        began, may_end, built = threading.Event(), threading.Event(), []

        def build(beside: Path) -> None:
            began.set()
            may_end.wait(10)
            built.append(beside)

        threads = [
            threading.Thread(target=build_once, args=(tmp_path / "set", build)) for _ in range(2)
        ]
        threads[0].start()
        began.wait(10)
        threads[1].start()
        may_end.set()
        for thread in threads:
            thread.join(10)

        assert len(built) == 1

    def test_changed_requirements_are_said_until_the_next_sync(self, built: Desk):
        """Nothing runs with an environment of other requirements than the suite's."""
        changed = (built.folder / "two.toml").read_text().replace("helper==1.*", "helper<=1.0")
        path = built.folder / "changed.toml"
        path.write_text(changed, encoding="utf-8")

        never = built.refusal(path)
        path = path.replace(built.folder / "two.toml")
        again = built.refusal(path)

        built.write("numpy", "slowpoke-1", "slowpoke-2", tables=OLD + NEW)
        assert "found none built for it" in never
        assert "run: benchharness env sync " in never
        assert "found one of benchharness-slowpoke, slowpoke-helper==1.*" in again
        assert f"run: benchharness env sync {path}" in again

    def test_damaged_environment_is_told_and_built_again(self, built: Desk):
        """Its interpreter is gone: a run says so, and sync mends it."""
        resolver = _resolver(built, built.folder / "two.toml")
        (found,) = Environments(built.cache).named("slowpoke-1")
        found.program.unlink()

        with pytest.raises(SuiteError, match=r"expected an interpreter that answers.*env sync"):
            resolver.of("slowpoke-1")
        again, is_new = _sync(resolver, "slowpoke-1")

        assert is_new and again.folder == found.folder
        assert resolver.of("slowpoke-1")

    def test_removed_environment_is_gone(self, built: Desk):
        """By name, or when no suite asks for it any more; the last of those that share them."""
        built.call("env", "remove", "slowpoke-1")
        built.write("numpy")

        done = built.call("env", "remove", "--unused")

        assert "slowpoke-helper 2.0" in done.stdout and "slowpoke-helper 1.0" not in done.stdout
        assert "none" in built.call("env", "list").stdout
        assert "expected a backend" in built.call("env", "show", "slowpoke-1", code=2).stderr


class TestInterpreter:
    """An interpreter that the suite names, as it is found."""

    def test_backend_runs_in_it(self, desk: Desk, other: Path):
        """Trials, probes and all; its plugin need not be here."""
        path = desk.write("numpy", "apart", tables=_table(other))
        desk.call("env", "sync", str(path))

        done = desk.call("run", str(path))

        assert "apart runs in a separate environment" in done.stderr
        assert "equal work proven for 1 of 1 pairs" in done.stderr
        assert {one["status"] for one in desk.records() if "status" in one} == {"ok"}

    def test_packages_of_ours_do_not_leak_into_it(self, desk: Desk, other: Path, monkeypatch):
        """What PYTHONPATH names for us is not for it."""
        monkeypatch.setenv("PYTHONPATH", str(desk.folder / "mine"))
        path = desk.write("apart", tables=_table(other))
        desk.introduce(path)
        session = open_session(
            RunOptions(suite=path, device="cpu"),
            environment={**desk.environment, "PYTHONPATH": "mine"},
            cache=desk.cache,
        )

        session = session.resolve_interpreters()

        executor = session.executors["apart"]
        assert executor.python == str(python_of(other))
        assert "PYTHONPATH" not in executor.environment
        assert executor.environment["CUDA_VISIBLE_DEVICES"] == ""

    def test_none_is_started_because_a_suite_names_it(self, desk: Desk):
        """A program of whoever wrote the suite; the user's own word is what starts it."""
        program = desk.folder / "bait"
        program.write_text("#!/bin/sh\ntouch started\n")
        program.chmod(0o755)
        path = desk.write("apart", tables=_table("./bait"))

        for command in ("run", "certify", "doctor"):
            done = desk.call(command, str(path), code=1 if command == "doctor" else 2)
            told = " ".join((done.stdout + done.stderr).split())
            assert "a trusted interpreter" in told, command

        assert not (desk.folder / "started").exists()
        desk.call("env", "sync", str(path), code=1)
        assert (desk.folder / "started").exists()

    def test_each_that_cannot_serve_is_told_at_once(self, desk: Desk, bare: Path, other: Path):
        """A line for each backend, with what was looked for and how to get it; nothing is run."""
        program = desk.folder / "python"
        program.write_text("#!/bin/sh\necho hello\n")
        program.chmod(0o755)
        benchharness = f"expected the benchharness that runs here, {__version__}, in "
        cases = {
            "missing": ("nowhere/bin/python", f"nothing at {desk.folder / 'nowhere/bin/python'}"),
            # A version alone means the command of that version.
            "version": ("2.3", "expected an interpreter, found no python2.3 on the PATH"),
            "shell": ("./python", "which does not answer as Python does"),
            # It is installed as it is here: from the same folder, or of the same version.
            "bare": (bare / "bin/python", f"{benchharness}{bare / 'bin/python'}, found none (inst"),
            # Another version, or other code that calls itself the same, reads another clock.
            "older": (_with_core(bare, desk.folder / "older", "0.0.9"), "found 0.0.9"),
            "edited": (_with_core(bare, desk.folder / "edited", __version__), "found other code"),
        }
        tables = "".join(
            f'[backend.{name}]\nplugin = "numpy"\npython = "{python}"\n'
            for name, (python, _) in cases.items()
        )
        tables += f'[backend.other]\nplugin = "slowpoke"\npython = "{other}"\n' + OLD

        told = desk.refusal(desk.write(*cases, "other", "slowpoke-1", tables=tables))

        lines = {name: [x for x in told.splitlines() if f'backend "{name}"' in x] for name in cases}
        for name, (_, expected) in cases.items():
            (line,) = lines[name]
            assert expected in line, line
            assert ("-m pip install " in line) == (benchharness in line)
        # Of a plugin that nobody knows pip is not told to fetch anything.
        (line,) = [line for line in told.splitlines() if 'backend "other"' in line]
        assert 'expected the plugin "slowpoke" in ' in line and "pip install" not in line
        assert told.count("error: ") == len(cases) + 2
        assert not (desk.folder / "results").exists()

    def test_doctor_tells_the_remedy(self, desk: Desk, alone: None):
        """Of a backend whose environment was not built; the rest is looked at all the same."""
        path = desk.write("numpy", "slowpoke-1", tables=OLD)
        report = examine(
            DoctorOptions(suite=path),
            environment=desk.environment,
            cache=desk.cache,
        )

        found = {one["backend"]: one for one in report.facts["backends"]}
        assert not found["numpy"]["reason"]
        assert found["slowpoke-1"]["remedy"] == f"benchharness env sync {path}"


class TestRecipe:
    """What decides an environment, and what does not."""

    def test_equal_requirements_share_one(self):
        """Whatever the backend is called; each thing that decides makes another."""
        one = EnvironmentSpec.of("numpy", ["numpy==2.*"], python="cpython 3.11.7 linux")

        same = EnvironmentSpec.of("numpy", ["numpy==2.*"], python="cpython 3.11.7 linux")
        others = [
            EnvironmentSpec.of("numpy", ["numpy==1.*"], python="cpython 3.11.7 linux"),
            EnvironmentSpec.of("numpy", ["numpy==2.*"], python="cpython 3.12.1 linux"),
            EnvironmentSpec.of("slowpoke", ["numpy==2.*"], python="cpython 3.11.7 linux"),
        ]

        assert same.digest == one.digest
        assert len({one.digest, *(other.digest for other in others[:2])}) == 3
        assert others[2].digest != one.digest

    def test_ours_are_copied_and_what_they_require_is_installed(self):
        """The core is never fetched: it is the code that runs here."""
        spec = EnvironmentSpec.of("numpy", ["numpy==2.*"], python="cpython 3.12.1 linux")

        assert spec.copied == (f"benchharness=={__version__}",)
        assert "numpy==2.*" in spec.to_install and "numpy>=1.26" in spec.to_install
        assert not any(text.startswith("benchharness") for text in spec.to_install)
        assert not any("pytest" in text for text in spec.to_install)

    def test_extras_of_ours_stand_for_what_they_require(self):
        """As an installer would take them."""
        wanted = set(needs(distribution("benchharness"), frozenset({"gpu"}), python="3.12"))

        assert "nvidia-ml-py>=12" in wanted
        spec = EnvironmentSpec.of("numpy", ["benchharness[gpu]"], python="cpython 3.12.1 linux")
        assert "nvidia-ml-py>=12" in spec.to_install

    def test_everything_else_is_pinned(self):
        """Two environments differ in what they are built to differ in."""
        pins = EnvironmentSpec.of("numpy", ["numpy==2.3.*"], python="cpython 3.12.1 linux").pins()

        names = {line.partition("==")[0] for line in pins}
        assert "pandas" in names and "numpy" not in names and "benchharness" not in names

    def test_installed_wheel_is_copied_file_for_file(self, bare: Path, tmp_path: Path):
        """What is no folder of sources is copied; the copy is a distribution as the first."""
        _copied(bare, tmp_path / "env")

        copy_distribution(distribution("pluggy"), tmp_path / "env")

        python = python_of(tmp_path / "env")
        script = "import pluggy; print(pluggy.__file__)"
        found = subprocess.check_output([python, "-c", script], text=True)
        assert found.startswith(str(tmp_path))
        inside = inspect_interpreter(python, os.environ).packages
        assert inside["pluggy"] == distribution("pluggy").version

    def test_what_is_no_requirement_is_refused_with_the_suite(self, desk: Desk):
        """At once with everything else that is wrong in the file."""
        path = desk.write("slowpoke-1", tables=OLD.replace("slowpoke-helper==1.*", "helper=1"))

        with pytest.raises(SuiteError, match=r'a requirement as pip takes it.*found "helper=1"'):
            load(path)


class TestFolder:
    """A cache that cannot be written is told, and not shown as a traceback."""

    def test_folder_that_is_a_file(self, desk: Desk):
        """With the variable that names another."""
        desk.cache.mkdir()
        (desk.cache / "environments").write_text("not a folder")
        resolver = _resolver(desk, desk.write("slowpoke-1", tables=OLD))

        with pytest.raises(RunError, match="set BENCHHARNESS_CACHE to another folder"):
            _sync(resolver, "slowpoke-1")


def _resolver(desk: Desk, path: Path) -> InterpreterResolver:
    return InterpreterResolver(suite=load(path), cache=desk.cache, environment=desk.environment)


def _sync(resolver: InterpreterResolver, backend: str):
    spec, base = resolver.spec(backend)
    return Environments(resolver.cache).sync(
        spec,
        reference=Reference(suite="two.toml", backend=backend),
        base=base,
        environment=resolver.environment,
        tell=lambda line: None,
    )


def _with_core(environment: Path, folder: Path, version: str) -> Path:
    """Copy an environment with a changed core that says it is of some version."""
    import benchharness

    site = _site(_copied(environment, folder))
    top = Path(benchharness.__file__).parent
    for file in top.rglob("*.py"):
        target = site / "benchharness" / file.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text("utf-8")
        target.write_text(text + "# another\n" if file.name == "errors.py" else text, "utf-8")
    package = site / f"benchharness-{version}.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(f"Name: benchharness\nVersion: {version}\n")
    return folder
