"""The command line: what it imports, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from history_runs import write_run

from benchharness.results.tables import write_csv_files

SUITES = Path(__file__).parent.parent / "suites"


def call(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, without any data of this machine."""
    hidden = ("BENCHHARNESS_DATA", "BENCHHARNESS_WEIGHTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def imported_by(*arguments: str) -> set[str]:
    """Return the modules that are loaded after a command has run."""
    script = (
        "import sys, json\n"
        "from benchharness.cli import cli\n"
        f"cli.main({list(arguments)!r}, standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["run", "--help"],
        ["schema"],
        ["run", str(SUITES / "smoke.toml"), "--dry-run"],
        ["run", str(SUITES / "cats_dogs.toml"), "--profile", "gpu", "--dry-run"],
    ],
)
def test_looking_around_imports_no_framework(arguments: list[str]):
    """Help, lists, schema and previews work at once, whatever is installed."""
    modules = imported_by(*arguments)

    assert not modules & {"tensorflow", "keras", "torch", "jax"}
    assert not modules & {"pandas", "rich"}


def test_list_needs_neither_numpy_nor_pydantic():
    """Listing stays instant."""
    modules = imported_by("list")

    assert not modules & {"numpy", "pydantic", "PIL"}


def test_list_names_every_backend_strategy_dataset_and_backbone():
    """Whoever wants to write a suite finds the words here."""
    listed = call("list").stdout

    for word in ("numpy", "simple_cnn", "fashion_mnist", "drawn", "vgg16", "--data DIR"):
        assert f"  {word} " in listed


def test_dry_run_shows_every_trial_with_the_published_parameter_counts():
    """The preview counts as the tutorial does: 23,105,345 and 15,470,081 and 8,390,657."""
    done = call("run", str(SUITES / "cats_dogs.toml"), "--profile", "gpu", "--dry-run")

    assert done.returncode == 0
    rows = {line.split()[1]: line.split()[-2:] for line in done.stdout.splitlines()[2:-1]}
    assert rows["bottleneck_published"] == ["23,105,345", "8,390,657"]
    assert rows["fine_tune_published"] == ["23,105,345", "15,470,081"]
    assert rows["simple_cnn_published"] == ["698,561,410", "698,561,410"]


def test_the_choice_of_profile_is_announced():
    """Nobody has to guess which overrides apply."""
    done = call("run", str(SUITES / "transfer.toml"), "--device", "cpu", "--dry-run")

    assert "profile cpu (chosen for this machine)" in done.stderr


def test_a_bad_suite_is_told_in_one_line_per_problem_without_a_traceback(tmp_path: Path):
    """Every mistake of a file at once: where, expected, found, nearest spelling; exit code 2."""
    suite = tmp_path / "bad.toml"
    suite.write_text(
        'name = "bad"\nbackends = ["torch"]\n[dataset]\nsource = "cats_dog"\n'
        '[[benchmark]]\nname = "x"\nstrategy = "simple_cnn"\nbatchsize = 5\nepochs = 0\n'
    )

    done = call("run", str(suite), cwd=tmp_path)

    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == 3
    assert all(line.startswith(f"error: {suite}: ") for line in lines)
    assert "cats_dogs" in lines[0] + lines[1] + lines[2]
    assert "batch_size" in lines[0] + lines[1] + lines[2]
    assert not (tmp_path / "results").exists()


def test_a_misspelt_backend_is_refused_with_the_nearest_name(tmp_path: Path):
    """A slip of the finger must not cost a run; exit code 2, nothing run."""
    done = call("run", str(SUITES / "smoke.toml"), "--backend", "numpi", cwd=tmp_path)

    assert done.returncode == 2
    assert 'did you mean "numpy"?' in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_unknown_device_is_refused(tmp_path: Path):
    """Asking for a GPU that is not there is a request that cannot be understood."""
    done = call("run", str(SUITES / "smoke.toml"), "--device", "cuda:7", cwd=tmp_path)

    assert done.returncode == 2
    assert "--device" in done.stderr


def test_data_that_is_nowhere_ends_the_run_before_its_first_trial(tmp_path: Path):
    """No photographs and no fallback: one line with the remedy, and no results folder."""
    suite = tmp_path / "photos.toml"
    suite.write_text(
        'name = "photos"\nbackends = ["numpy"]\n[dataset]\nsource = "cats_dogs"\n'
        '[[benchmark]]\nname = "x"\nstrategy = "simple_cnn"\n'
    )

    done = call("run", str(suite), cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: dataset cats_dogs: ")
    assert "--data" in done.stderr
    assert not (tmp_path / "results").exists()


def test_the_schema_beside_the_suites_is_the_one_the_command_prints():
    """Editors check suites by the file, the program by the model: they must not drift apart."""
    printed = call("schema").stdout

    assert json.loads((SUITES / "suite.schema.json").read_text()) == json.loads(printed)


def test_report_prints_the_table_of_a_run_again_and_rebuilds_its_files(tmp_path: Path):
    """records.jsonl is the truth; the CSV files follow from it."""
    run = write_run(tmp_path / "results", 0, 100.0, benchmark="cnn")
    csv, *_ = write_csv_files(run.path, run.records()[0])
    before = csv.read_text()
    csv.unlink()

    done = call("report", str(run.path), cwd=tmp_path)

    assert done.returncode == 0
    assert "cnn" in done.stdout
    # Longer than 80 columns, and not broken.
    assert f"records, CSV files and logs: {run.path}\n" in done.stdout
    assert csv.read_text() == before


@pytest.mark.parametrize("words", [["--resume", "results/pets/latest"], ["--only-failed"]])
def test_a_run_is_resumed_with_its_suite(words: list[str], tmp_path: Path):
    """Whoever leaves it out is told what is expected."""
    done = call("run", *words, cwd=tmp_path)

    assert done.returncode == 2
    assert "--resume and --only-failed need SUITE" in " ".join(done.stderr.split())
    assert "benchharness run SUITE --resume [RUN]" in " ".join(done.stderr.split())
