"""The fixture `benchharness`: a step of one's own, timed with the device waited for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_sessions
from frameworks import require

pytestmark = pytest.mark.slow

pytest_plugins = "pytester"

SAVED = "--benchmark-json=all.json"
# A device of one thread: a step is handed over at once and takes 1 ms to be done.
DEVICE = """
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

POOL = ThreadPoolExecutor(1)
LAST = []


class Promise:
    def __init__(self, future):
        self.future = future

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.future.result())


def work():
    time.sleep(1e-3)
    return 1.0


def step():
    LAST[:] = [POOL.submit(work)]
    return Promise(LAST[0])


def wait():
    for future in LAST:
        future.result()
"""


@pytest.fixture
def session(pytester: pytest.Pytester):
    """Run a test on the device above; return how the session went."""

    def run(test: str, *arguments: str) -> pytest.RunResult:
        (pytester.path / "test_step.py").write_text(f"{DEVICE}\n\n{test}")
        return pytester.runpytest(*arguments)

    return run


def info() -> dict:
    """Return the only benchmark that was reported."""
    (bench,) = json.loads(Path("all.json").read_text())["benchmarks"]
    return bench


def test_a_step_is_timed_to_where_the_device_has_finished(session):
    """Not to where it was handed over; a round is a block of steps."""
    found = session(
        "def test_it(benchharness):\n"
        "    timed = benchharness.time(step, synchronize=wait, rounds=4, steps=5)\n"
        "    assert [block.steps for block in timed.blocks] == [5] * 4\n"
        "    assert timed.step_s >= 1e-3\n",
        SAVED,
    )

    bench = info()
    found.assert_outcomes(passed=1)
    assert found.ret == 0
    assert len(bench["stats"]["data"]) == 4
    assert bench["stats"]["min"] >= 1e-3
    assert bench["extra_info"]["kind"] == "step"
    assert bench["extra_info"]["synchrony"] == "checked"
    assert bench["extra_info"]["machine"]


def test_a_block_takes_a_tenth_of_a_second_where_nobody_says_how_many_steps(session):
    """A millisecond each makes a hundred of them, fewer where the machine is busy."""
    found = session(
        "def test_it(benchharness):\n"
        "    timed = benchharness.time(step, synchronize=wait, rounds=2)\n"
        "    assert 1 < timed.blocks[0].steps <= 100\n"
    )

    found.assert_outcomes(passed=1)


def test_a_clock_that_does_not_wait_is_refused(session):
    """The result is read back, and comes long after the last edge."""
    found = session(
        "def test_it(benchharness):\n"
        "    benchharness.time(step, synchronize=lambda: None, rounds=4, steps=10)\n"
    )

    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["timing refused: synchronize() returned * does not wait*"])
    found.stdout.no_fnmatch_line("*pytest_plugin*")
    assert (
        not Path("all.json").exists() or not json.loads(Path("all.json").read_text())["benchmarks"]
    )


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("benchharness.time(step)", "benchharness.time: expected a way to wait *"),
        (
            "benchharness.time(step, synchronize=wait, rounds=0)",
            "benchharness.time: rounds: expected at least 1, found 0",
        ),
        ("benchharness(backend='nump').time(step)", "backend nump: * did you mean numpy*"),
        ("benchharness(backend='numpy', device='tpu').time(step)", '*--device: * found "tpu"'),
        ("[benchharness.time(step, synchronize=wait, rounds=1) for _ in '12']", "*one timing*"),
    ],
)
def test_what_cannot_be_timed_is_told_in_a_line(session, call: str, told: str):
    """Where, what was expected and what was found; no traceback of ours."""
    found = session(f"def test_it(benchharness):\n    {call}\n")

    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines([told])
    found.stdout.no_fnmatch_line("*pytest_plugin*")


def test_a_step_that_returns_nothing_leaves_its_clock_unchecked(session):
    """That is said; bringing back by other means checks it again."""
    found = session(
        "def nothing():\n    step()\n\n"
        "def test_it(benchharness):\n"
        "    benchharness.time(nothing, synchronize=wait, rounds=2, steps=2)\n",
        SAVED,
    )

    found.assert_outcomes(passed=1, warnings=1)
    found.stdout.fnmatch_lines(["*UncheckedWarning: *found NoneType: cannot check whether *"])
    assert info()["extra_info"]["synchrony"] == "unchecked"


def test_a_backend_brings_its_own_way_to_wait(session):
    """NumPy has finished when it returns; the versions that it stands on are filed."""
    found = session(
        "def test_it(benchharness):\n"
        "    bench = benchharness(backend='numpy', device='cpu')\n"
        "    bench.time(lambda: {'loss': [np.ones(9).sum()]}, rounds=2, steps=3)\n",
        SAVED,
    )

    found.assert_outcomes(passed=1)
    assert info()["extra_info"]["backend"] == "numpy"
    assert "numpy" in info()["extra_info"]["versions"]
    assert info()["extra_info"]["synchrony"] == "checked"


def test_disabled_benchmarks_do_a_step_once(session):
    """To see that it can; no times, and no complaint that nothing was timed."""
    found = session(
        "DONE = []\n\n"
        "def test_it(benchharness):\n"
        "    timed = benchharness.time(lambda: DONE.append(1), synchronize=wait)\n"
        "    assert (len(DONE), len(timed.blocks)) == (1, 1)\n",
        *(SAVED, "--benchmark-disable"),
    )

    found.assert_outcomes(passed=1, warnings=0)
    assert not Path("all.json").exists()


@pytest.mark.full
def test_steps_and_suites_of_pytorch_are_timed_in_one_session(tmp_path: Path):
    """The plugin waits for PyTorch's device; the suite's cells stand in the same file."""
    pytest.importorskip("benchharness_torch")
    suite = pytest_sessions.HEAD.replace('["paced"]', '["torch"]') + pytest_sessions.CNN
    pytest_sessions.install(tmp_path, suite)
    (tmp_path / "test_step.py").write_text(
        "import torch\n\n"
        "def test_product(benchharness):\n"
        "    one = torch.ones(64, 64)\n"
        "    bench = benchharness(backend='torch', device='cpu')\n"
        "    assert bench.time(lambda: one @ one, rounds=3, steps=5).result[0, 0] == 64\n"
    )

    done = pytest_sessions.run(
        tmp_path, *("pace.toml", "test_step.py", "--benchmark-only", "--benchmark-json=all.json")
    )

    assert done.code == 0, done.text
    benchmarks = json.loads((tmp_path / "all.json").read_text())["benchmarks"]
    infos = {bench["fullname"]: bench["extra_info"] for bench in benchmarks}
    assert set(infos) == {"pace.toml::small_cnn-torch", "test_step.py::test_product"}
    assert all("torch" in info["versions"] for info in infos.values())
    assert infos["test_step.py::test_product"]["synchrony"] == "checked"


@pytest.mark.full
@pytest.mark.parametrize("backend", ["torch", "keras"])
def test_frameworks_know_how_to_wait(backend: str):
    """Waiting returns, whether there is something to wait for or not."""
    require(backend)
    from benchharness.plugins import load_synchronize

    assert load_synchronize(backend, device="cpu")() is None
