"""First run on a GPU: rehearsed on a CPU; its wheels, and the rows that a GPU is asked for."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tarfile
from importlib.metadata import packages_distributions
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from documents import commands_of

from benchharness.suite.load import load
from benchharness.suite.resolve import resolve
from benchharness.suite.workload import build_workload

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools/gpu_first.sh"
SUITES = [path for path in sorted((ROOT / "suites").glob("*.toml")) if "gpu" in load(path).profiles]


def rehearse(folder: Path, *options: str) -> tuple[int, list[list[str]]]:
    """Run the script on this CPU; return its exit code and each step with its outcome."""
    done = subprocess.run(
        [
            "bash",
            SCRIPT,
            "--device",
            "cpu",
            "--work",
            folder / "work",
            "--output",
            folder,
            *options,
        ],
        env={**os.environ, "PYTHON": sys.executable, "PATIENCE": "10"},
        capture_output=True,
        text=True,
        timeout=2400,
    )
    lines = (folder / "summary.txt").read_text(encoding="utf-8").splitlines()
    assert done.stdout.splitlines() == lines, done.stderr
    outcomes = ("passed", "failed", "timed out", "left out")
    steps = [[line[:16].strip(), line[16:26].strip()] for line in lines]
    return done.returncode, [step for step in steps if step[1] in outcomes]


@pytest.mark.full
def test_the_steps_pass_on_a_cpu_and_are_archived(tmp_path: Path):
    """Proofs, timings, trace, meters and ceilings; what has no framework or GPU is left out.

    Without the steps that are commands with tests of their own, doctor and plugin check, and
    without more of the same proofs and timings.
    """
    if find_spec("torch") is None or find_spec("keras") is None:
        pytest.skip("needs PyTorch and Keras")
    passed = ["machine", "peak", "proof-150px", "time-fine_tune", "trace", "time-meters", "meters"]
    steps = [*passed, "check-jax", "tests", "ceilings"]
    options = [word for step in steps for word in ("--step", step)]
    options += ["--backend", "torch", "--backend", "keras-torch", "--minutes", "36"]

    code, told = rehearse(tmp_path, *options)

    outcomes = dict(told)
    # Whether a plain program is faster on a busy machine is not for this test to say.
    is_fast = outcomes.pop("ceilings") == "passed"
    assert outcomes == {
        **dict.fromkeys(passed, "passed"),
        "check-jax": "left out",
        "tests": "left out",
    }
    assert code == (not is_fast)
    with tarfile.open(tmp_path / "gpu_first.tar.gz") as archive:
        names = archive.getnames()
    logs = {f"logs/{step}.txt" for step in (*passed, "ceilings")}
    assert {"summary.txt", "ceilings/ceilings.csv", "trace/trace.json.gz", *logs} <= set(names)
    assert sum(name.endswith("/trials.csv") for name in names) == 2
    assert not [name for name in names if name.endswith((".npy", ".safetensors"))]


def test_a_step_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Both failures are told, with what their logs say last, and the exit code is 1."""
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    options = ["--device", "cuda:0", "--step", "machine", "--step", "meters"]

    code, steps = rehearse(tmp_path, *options)

    assert (code, steps) == (1, [["machine", "failed"], ["meters", "failed"]])
    assert "exit 1: Python 3." in (tmp_path / "summary.txt").read_text(encoding="utf-8")


def test_steps_for_which_no_time_is_left_are_said_to_be_left_out(tmp_path: Path):
    """None is begun that would be cut off at once."""
    code, steps = rehearse(tmp_path, "--minutes", "0")

    assert code == 0
    assert len(steps) > 10
    assert {outcome for _, outcome in steps} == {"left out"}


@pytest.mark.parametrize("options", [["--device"], ["--what", "x"], ["--work"]])
def test_what_the_script_does_not_know_is_refused(options: list[str]):
    """Exit code 2, and the options are told."""
    done = subprocess.run(["bash", SCRIPT, *options], capture_output=True, text=True)

    assert done.returncode == 2
    assert "--minutes M" in done.stderr


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_trains_in_bfloat16_beside_float32_on_a_gpu(path: Path):
    """Each way to train has a row of each, but for what a publication has fixed and a lone head."""
    plan = resolve(load(path), profile="gpu")
    precisions: dict[str, set[str]] = {}
    for cell in plan.cells:
        precisions.setdefault(cell.benchmark, set()).add(cell.settings.precision)

    both = {name for name, found in precisions.items() if found == {"float32", "bfloat16"}}
    assert both >= {
        cell.benchmark
        for cell in plan.cells
        if cell.settings.strategy in ("simple_cnn", "fine_tune")
        and not cell.benchmark.endswith("_published")
        and cell.benchmark != "meters"
    }
    assert both


def test_documented_bounds_are_the_arithmetic_of_the_networks():
    """Operations of a step, and the times that they take at the stated rates."""
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    plan = resolve(load(ROOT / "suites/gpu_first.toml"), profile="gpu")
    cells = {cell.benchmark: cell for cell in plan.cells if cell.benchmark != "meters"}

    for name, cell in cells.items():
        workload = build_workload(cell.settings, channels=3, classes=2)
        flops = 50 * workload.learner.train_flops_per_image(workload.trainable)
        figures = f"{flops / 1e9:.1f} | {1e3 * flops / 790e12:.3f} | {1e3 * flops / 67e12:.3f}"
        assert f"| {name} | {figures} |" in page


def test_documented_calls_name_steps_and_options_of_the_script():
    """Every step stands on the page, and the page names no other."""
    page, script = ((ROOT / "docs/gpu.md").read_text(), SCRIPT.read_text())
    names = re.findall(r"^ *(?:step|leave_out) ([a-z][\w-]+)", script, re.M)
    expanded = {"check-torch", "check-jax", "time-bottleneck", "time-fine_tune", "time-simple_cnn"}
    table = {
        name
        for row in re.findall(r"^\| (`.*?) \|", page, re.M)
        for name in re.findall(r"`([\w-]+)`", row)
    }

    assert {*names, *expanded} <= table
    for call in commands_of("tools/gpu_first.sh"):
        words = shlex.split(call)
        assert {word for word in words if word.startswith("--")} <= set(
            re.findall(r"--\w+", script)
        )
        assert {step for option, step in pairwise(words) if option == "--step"} <= {
            *names,
            *expanded,
        }


def load_tool(name: str) -> ModuleType:
    """Import a program by its path."""
    spec = spec_from_file_location(f"gpu_first_{name}", ROOT / f"tools/gpu_first/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wheels_hold_all_that_ours_import():
    """What a module of ours imports, anywhere in it, is carried or comes with the machine."""
    wheels = load_tool("wheels")
    carried = set[str]()
    for name in wheels.WANTED:
        wheels.closure(name, carried)
    folders = [ROOT / "benchharness", *(ROOT / "plugins").glob("*/benchharness_*")]
    imported = {
        name.split(".")[0]
        for folder in folders
        for file in folder.rglob("*.py")
        if "template" not in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    homes = packages_distributions()

    lacking = {
        name
        for name in imported - set(sys.stdlib_module_names)
        for home in homes.get(name, [])
        if home.lower().replace("_", "-") not in carried | wheels.LEFT_OUT
    }
    # The script installs no TensorFlow, uses no cluster and logs to no other program.
    extras = {"dask", "dask_jobqueue", "distributed", "mlflow", "tensorboard", "wandb"}
    assert lacking <= {"tensorflow", *extras}
    assert not wheels.LEFT_OUT & carried
