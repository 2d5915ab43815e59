"""A framework that is none of ours becomes a proven backend by the guide: MLX, which is lazy.

``mlx_backend`` holds the modules that an author writes, to be laid over what ``plugin new`` wrote.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_plugins import benchharness
from test_plugin_new import install

from benchharness.testing.scaffold import TEMPLATE

ROOT = Path(__file__).parent.parent
PIECES = Path(__file__).parent / "mlx_backend"
# Rows of the template's README: a place in the order, then the modules that are replaced there.
ROW = re.compile(r"^\| \d+ \| (.*?) \|", re.M)

pytestmark = pytest.mark.full


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return a folder in which a new backend called mlx is installed."""
    # Not by importing it: the processes of the command line do.
    if importlib.util.find_spec("mlx") is None:
        pytest.skip("needs MLX, which has no wheel for every machine: pip install 'mlx[cpu]'")
    done = benchharness(tmp_path, "plugin", "new", "mlx")
    assert done.returncode == 0, done.stderr
    install(tmp_path / "benchharness-mlx", tmp_path)
    return tmp_path


def run(desk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, with MLX wherever this process has it."""
    return benchharness(desk, *arguments, path=os.environ.get("PYTHONPATH", ""))


def order() -> Iterator[list[str]]:
    """Yield the modules to be replaced together, in the order that the template tells."""
    for row in ROW.findall((TEMPLATE / "README.md").read_text(encoding="utf-8")):
        yield [name for name in re.findall(r"`(\w+\.py)`", row) if (PIECES / name).exists()]


def lay(desk: Path, *modules: str) -> None:
    """Replace modules of the new backend by those in MLX."""
    for module in modules:
        shutil.copy(PIECES / module, desk / "benchharness_mlx" / module)


def test_modules_are_replaced_one_after_the_other(desk: Path):
    """In the order that an author is told, the contract is kept after every one of them."""
    said: list[str] = []
    for modules in filter(None, order()):
        lay(desk, *modules)

        done = run(desk, "plugin", "check", "mlx")

        said.append(" ".join(done.stdout.split()))
        assert done.returncode == 0, f"{modules}: {done.stdout}"

    told = [module for modules in order() for module in modules]
    assert sorted(told) == sorted(file.name for file in PIECES.glob("*.py"))
    assert "the reference still works in network.py, optimizers.py" in said[0]
    assert "the reference still works" not in said[-1]
    assert "a framework that is missing mlx" in said[-1]
    assert "dataset, simple_cnn, bottleneck, fine_tune mlx (benchharness-mlx 0.1.0)" in said[-1]


def test_mlx_does_the_same_work_as_pytorch(desk: Path):
    """Feeding with augmentation, and training: certified, then timed and still proven."""
    pytest.importorskip("torch")
    lay(desk, *(file.name for file in PIECES.glob("*.py")))
    suite = (ROOT / "suites/smoke.toml").read_text(encoding="utf-8")
    # MLX has one thread on a CPU, and refuses more.
    alike = suite.replace("[defaults]\n", "[defaults]\nthreads = 1\n")
    (desk / "smoke.toml").write_text(alike, encoding="utf-8")
    chosen = ["smoke.toml", "--device", "cpu", "--backend", "mlx", "--backend", "torch"]
    chosen += ["--benchmark", "simple_cnn", "--benchmark", "feed"]

    certified = run(desk, "certify", *chosen)
    ran = run(desk, "run", *chosen)

    assert certified.returncode == 0, certified.stdout + certified.stderr
    assert "simple_cnn, mlx and torch: proven" in certified.stdout
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = (desk / "results/smoke/latest/records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = [(r["benchmark"], r["backend"], r["status"], r["proof"]) for r in records]
    assert sorted(found) == [
        (benchmark, backend, "ok", "proven")
        for benchmark in ("feed", "simple_cnn")
        for backend in ("mlx", "torch")
    ]
    assert {r["versions"]["mlx"] for r in records if r["backend"] == "mlx"} == {
        importlib.metadata.version("mlx")
    }
