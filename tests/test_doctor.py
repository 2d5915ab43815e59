"""``benchharness doctor`` from end to end, with plugins that work, break, hang or are not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import local_plugins
import pytest
from click.testing import CliRunner
from frameworks import require

from benchharness import plugins
from benchharness.cli import doctor_command
from benchharness.doctor.check import Check, DoctorReport, Section
from benchharness.doctor.report import DoctorOptions, examine
from benchharness.errors import PluginError
from benchharness.measure.machine import Machine
from benchharness.run.options import RunOptions
from benchharness.run.session import open_session, start_run

pytestmark = pytest.mark.slow

MACHINE = Machine(
    cpu="a processor",
    cores=2,
    load=0.1,
    memory_bytes=16_000_000_000,
    free_bytes=12_000_000_000,
    python="3.11",
    system="Linux",
)
WORKING = """
from benchharness.api import hookimpl
from benchharness.testing.reference import NumpyBackend

@hookimpl
def benchharness_backend(options):
    return NumpyBackend()
"""
SUITE = """
name = "little"
trials = 1
backends = [{backends}]

[dataset]
source = "drawn"

[[benchmark]]
name = "small"
strategy = "simple_cnn"
image_size = 16
train_images = 12
test_images = 4
filters = [2]
dense = {dense}
batch_size = 5
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a plugin whose module has the given source."""
    folder = tmp_path / "plugins"

    def add(name: str, source: str) -> None:
        local_plugins.install(folder, name, source)
        monkeypatch.syspath_prepend(str(folder))
        plugins.installed.cache_clear()

    yield add
    plugins.installed.cache_clear()


FRAMEWORKS = {"benchharness-keras", "benchharness-torch", "benchharness-jax"}


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that examines the made machine on a little suite of backends, or none.

    The plugins of the real frameworks, if there are any here, are out of its sight.
    """
    monkeypatch.setattr(
        "benchharness.doctor.report.installed",
        lambda: {n: e for n, e in plugins.installed().items() if e.dist.name not in FRAMEWORKS},
    )

    def examined(*backends: str, dense: int = 4, **changes: Any) -> DoctorReport:
        suite = tmp_path / "little.toml"
        named = ", ".join(f'"{name}"' for name in backends)
        suite.write_text(SUITE.format(backends=named, dense=dense))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path / "plugins"),
            "HOME": str(tmp_path),
        }
        wanted = DoctorOptions(
            suite=suite if backends else None,
            backends=changes.pop("backends", ()),
            device="cpu",
            results=changes.pop("results", tmp_path / "results"),
        )
        return examine(
            wanted,
            environment=environment,
            cache=tmp_path / "cache",
            machine=changes.pop("machine", MACHINE),
            **changes,
        )

    return examined


def about(report: DoctorReport, subject: str) -> Check:
    """Return the one finding about a subject."""
    found = [f for section in report.sections for f in section.findings if f.subject == subject]
    assert len(found) == 1, found
    return found[0]


def test_a_suite_whose_backend_works_can_run(install, visit):
    """Its plugin is imported, in another process, and tells what it computes on."""
    install("working", WORKING)

    report = visit("working")

    assert report.is_able
    assert about(report, "working").text.startswith("working-dist 1.0; numpy ")
    assert "working_module" not in sys.modules


def test_a_backend_that_is_not_installed_is_missed(visit):
    """No command is made up for it: whoever has published that name would be run."""
    report = visit("nowhere")

    found = about(report, "nowhere")
    assert not report.is_able and found.mark == "missing"
    assert found.text.startswith("expected an installed plugin (")
    assert "pip" not in found.text + found.remedy


def test_a_backend_of_this_project_is_installed_from_its_folder(monkeypatch):
    """With the engine that Keras is to run on."""
    monkeypatch.setattr("benchharness.plugins.installed", dict)

    with pytest.raises(PluginError) as refusal:
        plugins.find("keras-jax")

    command = "pip install -e 'plugins/benchharness-keras[jax]'"
    assert str(refusal.value).endswith(f"; install it with: {command}")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("raise RuntimeError('half an installation')", "half an installation"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import time; time.sleep(900)", "no progress for 20 s"),
    ],
)
def test_a_broken_backend_is_missed_and_stops_no_other(install, visit, source: str, word: str):
    """An import that fails, raises, ends the process or hangs."""
    install("broken", source)
    install("working", WORKING)
    began_s = time.monotonic()

    report = visit("broken", "working", longest_s=20.0 if "sleep" in source else 300.0)

    found = about(report, "broken")
    assert found.mark == "missing" and word in found.text
    # What hangs may be slow: nobody is sent to install it again.
    again = "" if "sleep" in source else "pip install --force-reinstall broken-dist==1.0"
    assert found.remedy == again
    assert about(report, "working").mark == "ok"
    assert time.monotonic() - began_s < 600


@pytest.mark.parametrize(
    ("arguments", "code", "waited"),
    [([], 0, [300.0]), (["--timeout", "8"], 0, [8.0]), (["--timeout", "0"], 2, [])],
)
def test_the_patience_with_a_backend_can_be_chosen(monkeypatch, arguments, code, waited):
    """What a backend that hangs is told to be given more of is an option of this command too."""
    asked: list[float] = []

    def look(wanted: DoctorOptions, *, announce, longest_s: float) -> DoctorReport:
        asked.append(longest_s)
        return DoctorReport(title="a machine", sections=(), facts={})

    monkeypatch.setattr("benchharness.doctor.report.examine", look)
    done = CliRunner().invoke(doctor_command.command, ["--json", *arguments])

    assert done.exit_code == code, done.output
    assert asked == waited


def test_output_that_is_no_terminals_has_its_paths_whole(monkeypatch):
    """A program may read them, or a user copy them."""
    check = Check("missing", "cache", f"/{'folder/' * 20}: cannot be written", "name another")
    found = DoctorReport(title="suite", sections=(Section(title="disk", findings=(check,)),))
    monkeypatch.setattr("benchharness.doctor.report.examine", lambda wanted, **options: found)

    done = CliRunner().invoke(doctor_command.command, [])

    assert f"missing cache {check.text}\n" in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_a_backend_that_the_suite_does_not_need_is_not_imported(install, visit, tmp_path: Path):
    """However many are installed: each may take a minute, or be broken."""
    trace = tmp_path / "imported"
    install("other", f"open({str(trace)!r}, 'w')")
    install("working", WORKING)

    report = visit("working")

    assert report.is_able
    assert [health["backend"] for health in report.facts["backends"]] == ["working"]
    assert not trace.exists()


def test_only_the_backends_that_are_asked_for_are_looked_at(install, visit):
    """Of a suite's, and of all that are installed where there is no suite."""
    install("broken", "raise RuntimeError('half an installation')")
    install("working", WORKING)

    of_suite = visit("working", "broken", backends=("working",))
    of_machine = visit(backends=("working",))

    for report in (of_suite, of_machine):
        assert report.is_able
        assert [health["backend"] for health in report.facts["backends"]] == ["working"]


def test_too_little_memory_is_said_before_the_run(visit):
    """A million units on 98 values, with Adam: 1.6 GB of weights, gradients and moments."""
    small = Machine(cpu="a", cores=1, memory_bytes=10**9, free_bytes=10**9)
    large = Machine(cpu="a", cores=1, memory_bytes=64 * 10**9, free_bytes=60 * 10**9)

    short, enough = (visit("numpy", dense=1_000_000, machine=one) for one in (small, large))

    assert about(short, "small").mark == "missing"
    assert "dense" in about(short, "small").remedy
    assert about(enough, "small").mark == "ok"


def test_a_results_folder_that_is_a_file_is_missed(visit, tmp_path: Path):
    """A run would stop at once."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")

    found = about(visit("numpy", results=blocked), "results")

    assert found.mark == "missing" and "cannot be written" in found.text


def test_a_suite_that_does_not_suit_its_data_is_missed_by_name(visit, tmp_path: Path):
    """Pictures of 16 pixels are too small for eight convolutions."""
    report = visit("numpy", dense=4)
    suite = tmp_path / "little.toml"
    suite.write_text(
        suite.read_text().replace("filters = [2]", "filters = [2, 2, 2, 2, 2, 2, 2, 2]")
    )
    assert report.is_able

    found = examine(
        DoctorOptions(suite=suite, device="cpu"),
        environment={"PATH": os.environ["PATH"]},
        cache=tmp_path / "cache",
        machine=MACHINE,
    )

    assert not found.is_able
    assert "too small" in about(found, "suite").text


def test_the_time_is_that_of_the_last_run(install, visit, tmp_path: Path):
    """Unknown before, then the sum of its trials; another device's run does not count."""
    install("working", WORKING)
    before = visit("working")
    session = open_session(
        RunOptions(
            suite=tmp_path / "little.toml",
            device="cpu",
            offline=True,
            proof="no",
            results=tmp_path / "results",
        ),
        environment={**os.environ, "PYTHONPATH": str(tmp_path / "plugins")},
        cache=tmp_path / "cache",
    )

    with closing(start_run(session, lambda event: None)) as runner:
        records = runner.run(lambda event: None)
    after = visit("working")

    (trial,) = records
    assert about(before, "time").text == "unknown before a first run"
    assert after.facts["suite"]["last_run_s"] == trial["metrics"]["wall_s"]
    assert about(after, "time").text.startswith("about ")


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, without any data of this machine."""
    hidden = ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"BENCHHARNESS_CACHE": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.full
def test_the_command_tells_programs_everything_in_one_object(tmp_path: Path):
    """--json: marks, machine, backends, memory; exit code 1 for the backend that is missing."""
    suite = tmp_path / "little.toml"
    suite.write_text(SUITE.format(backends='"nowhere"', dense=4))

    done = call("doctor", str(suite), "--json", cwd=tmp_path)

    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["is_able"] is False
    assert {section["title"] for section in told["sections"]} == {
        "machine",
        "backends",
        "data and weights",
        "extras",
        "the suite",
    }
    assert told["machine"]["cores"] >= 1
    assert told["suite"]["memory"][0]["host_bytes"] > 0
    assert told["suite"]["last_run_s"] is None


def test_a_suite_that_cannot_be_read_is_a_request_not_understood(tmp_path: Path):
    """Exit code 2, one line."""
    done = call("doctor", "nothing.toml", cwd=tmp_path)

    assert done.returncode == 2
    assert "nothing.toml" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("backend", ["keras", "torch"])
def test_a_real_backend_is_checked_and_the_parent_imports_no_framework(
    tmp_path: Path, backend: str
):
    """Its settings and its memory come from a process of its own."""
    require(backend)
    suite = tmp_path / "little.toml"
    suite.write_text(SUITE.format(backends=f'"{backend}"', dense=4))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from benchharness.doctor import report\n"
        f"found = report.examine(report.DoctorOptions(suite=Path({str(suite)!r}), device='cpu'),"
        f" cache=Path({str(tmp_path)!r}), longest_s=600.0)\n"
        "import json\n"
        "loaded = sorted({'tensorflow', 'keras', 'torch', 'jax'} & set(sys.modules))\n"
        "print(json.dumps({**found.as_dict(), 'loaded': loaded}, default=str))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=900, check=True
    )

    told = json.loads(done.stdout)
    (health,) = told["backends"]
    assert told["loaded"] == []
    assert health["reason"] == "" and health["framework_bytes"] > 10**8
    assert health["threads"] >= 1 and health["import_s"] > 0
