"""Variables that change the arithmetic or the threads: recorded, shown, and held by comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from history_runs import write_run
from local_plugins import benchharness
from test_compare_recorded import STEADY, compare, of, recorded

from benchharness.errors import SuiteError
from benchharness.history.history import history_of
from benchharness.history.runs import Choice, read_runs
from benchharness.measure.machine import recorded_variables
from benchharness.pytest_plugin.gate import differences

pytestmark = pytest.mark.slow

SUITE = """
name = "small"
trials = 2
backends = ["numpy"]

[dataset]
source = "drawn"

[[benchmark]]
name = "cnn"
strategy = "simple_cnn"
image_size = 16
train_images = 10
test_images = 4
batch_size = 5
filters = [2]
dense = 4
"""


@pytest.mark.parametrize(
    "name",
    [
        *("TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "JAX_ENABLE_X64", "TORCH_CUDNN_V8_API_DISABLED"),
        *("PYTORCH_ALLOC_CONF", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG"),
        *("NVIDIA_TF32_OVERRIDE", "KERAS_BACKEND", "ONEDNN_MAX_CPU_ISA", "DNNL_VERBOSE"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "KMP_AFFINITY", "OPENBLAS_CORETYPE"),
        *("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"),
    ],
)
def test_what_changes_the_arithmetic_is_recorded(name: str):
    """By name and value."""
    assert recorded_variables({name: "1", "HOME": "/home"}) == {name: "1"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "AWS_SECRET_ACCESS_KEY",
            "HF_TOKEN",
            "PATH",
            "HOME",
            "GITHUB_TOKEN",
            "MY_OMP_NUM_THREADS",
        ),
        # Of Terraform, whose variables begin as TensorFlow's do.
        *("TF_VAR_db", "TF_TOKEN_app_terraform_io", "TF_HTTP_PASSWORD", "TF_CLI_ARGS"),
        # Which device computes is recorded as the device.
        "CUDA_VISIBLE_DEVICES",
    ],
)
def test_what_may_be_a_secret_is_not(name: str):
    """Nor what decides nothing of the numbers."""
    assert recorded_variables({name: "1"}) == {}


def test_bytes_that_are_no_text_can_be_written():
    """As the file of a library whose name is of another encoding."""
    (value,) = recorded_variables(
        {"LD_PRELOAD": b"/lib/caf\xe9.so".decode(errors="surrogateescape")}
    ).values()

    assert value.encode() == b"/lib/caf\\udce9.so"


def test_runs_of_other_variables_are_other_runs(tmp_path: Path):
    """Recorded, beside the settings in effect; no run goes on with others, and none is compared."""
    (tmp_path / "small.toml").write_text(SUITE)
    run = ("run", "small.toml", "--no-proof")

    drawn = {"BENCHHARNESS_NO_PLUGIN": ""}
    first = benchharness(tmp_path, *run, OMP_NUM_THREADS="1", TF_VAR_secret="hush", **drawn)
    resumed = benchharness(tmp_path, *run, "--resume", OMP_NUM_THREADS="2")
    second = benchharness(tmp_path, *run, OMP_NUM_THREADS="2")
    one, other = sorted(
        path
        for path in (tmp_path / "results/small").iterdir()
        if path.is_dir() and not path.is_symlink()
    )
    compared = benchharness(tmp_path, "compare", f"run:{one}", f"run:{other}")
    allowed = benchharness(
        tmp_path, "compare", f"run:{one}", f"run:{other}", "--ignore", "settings"
    )

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert resumed.returncode == 2
    assert "OMP_NUM_THREADS: expected 1, as in the run, found 2" in resumed.stderr
    facts = json.loads((one / "run.json").read_text())
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"
    assert "hush" not in "".join(file.read_text() for file in one.glob("*.json*"))
    page = (one / "report.html").read_text()
    assert "OMP_NUM_THREADS" in page
    assert compared.returncode == 2
    wanted = "variable OMP_NUM_THREADS: expected the same settings on both sides, found A 1, B 2"
    assert wanted in compared.stderr
    assert allowed.returncode in (0, 3, 4)
    assert "variable OMP_NUM_THREADS" in allowed.stdout


def test_a_variable_that_one_side_lacks_is_named(tmp_path: Path):
    """And a run of before, which recorded none, is compared as ever."""
    one = recorded(tmp_path, "one", of("torch", *STEADY), variables={})
    other = recorded(
        tmp_path, "other", of("torch", *STEADY), variables={"TF_ENABLE_ONEDNN_OPTS": "0"}
    )
    before = recorded(tmp_path, "before", of("torch", *STEADY))

    with pytest.raises(SuiteError) as refused:
        compare(one, other)

    (line,) = refused.value.lines()
    assert "variable TF_ENABLE_ONEDNN_OPTS: expected the same settings on both sides" in line
    assert "found A not set, B 0" in line
    assert compare(before, other).exit_code == 0


def test_history_begins_anew_with_another_value(tmp_path: Path):
    """And names the variable."""
    for place in range(6):
        facts = {"variables": {"OMP_NUM_THREADS": "1" if place < 3 else "2"}}
        write_run(tmp_path, place, 100.0, facts=facts)

    found = history_of(read_runs([tmp_path / "pets"], Choice()).readings, source="pets")

    assert "OMP_NUM_THREADS" in json.dumps(found.as_dict())


def test_baselines_name_the_variable():
    """As any other setting."""
    now, then = {"settings": {"OMP_NUM_THREADS": "2"}}, {"settings": {}}

    (line,) = differences(now, then)

    assert line.endswith("found others: OMP_NUM_THREADS None then, 2 now")
