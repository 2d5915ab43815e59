"""``benchharness plugin check`` passes what keeps the contract, and names what breaks it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_runs import check_backend, check_package
from local_plugins import benchharness, install
from numpy.typing import NDArray
from test_contract_replay import SLOW
from test_contract_sabotage import SABOTAGES, Sabotaged, training

from benchharness.api import (
    AfterStep,
    Backend,
    Batches,
    ConsumedBatches,
    Scores,
    Task,
    UnsupportedError,
)
from benchharness.testing import BackendContract, PluginContract, contract_execution
from benchharness.testing.assertions import Subject
from benchharness.testing.check import BACKEND_CLAUSES, PACKAGE_CLAUSES, PluginCheck, title
from benchharness.testing.reference import (
    Judgement,
    NumpyBackend,
    NumpyExtraction,
    NumpyTraining,
)

pytestmark = pytest.mark.slow


def computes_alone(self: Any, usual: Any, inputs: Any, labels: NDArray[np.int32]) -> Judgement:
    """Take steps in one thread, whatever was asked for."""
    until_s = time.thread_time() + 0.02
    while time.thread_time() < until_s:
        pass
    right = np.zeros(len(labels), bool)
    return Judgement(losses=np.zeros(len(labels)), is_right=right, gradient=np.zeros(1))


class ClaimsToCompile(NumpyBackend):
    """Says that it has compiled, and computes as ever."""

    def train(self, task: Task) -> NumpyTraining:
        """Refuse nothing."""
        plain = replace(task, execution=replace(task.execution, compile=False))
        training = super().train(plain)
        told = {**training.settings(), "compile": task.execution.compile}
        training.settings = lambda: told
        return training


class ReturnsBeforeTheDevice(NumpyTraining):
    """Queues its steps, and waits for none of them; of an epoch it tells nothing."""

    _at_work: threading.Thread | None = None

    def train(self, epochs: Sequence[Batches], *, after_step: AfterStep, **report: Any) -> None:
        """Report every step when it is queued."""
        self._finish()
        self._at_work = threading.Thread(
            target=super().train,
            args=(epochs,),
            kwargs={"after_step": lambda: None, "after_epoch": lambda scores: None},
        )
        self._at_work.start()
        for batches in epochs:
            for _ in batches:
                after_step()

    def evaluate(self, batches: Batches) -> Scores:
        """Wait, as whoever reads a result has to."""
        self._finish()
        return super().evaluate(batches)

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Wait likewise."""
        self._finish()
        return super().weights()

    def consumed(self) -> ConsumedBatches:
        """Wait likewise."""
        self._finish()
        return super().consumed()

    def _finish(self) -> None:
        if self._at_work is not None:
            self._at_work.join()


# What is planted, the clause that must name it, and what it must say.
FAULTS: dict[str, tuple[Backend, str, str]] = {
    "kernels in a layout of its own": (
        training(
            weights=lambda self, usual: {n: a.T if a.ndim == 2 else a for n, a in usual().items()}
        ),
        "shapes",
        "weights: expected",
    ),
    "synchronize does not wait": (
        Sabotaged(training=ReturnsBeforeTheDevice),
        "synchronize",
        "does not wait for the device",
    ),
    "nothing is compiled": (ClaimsToCompile(), "switches", "nothing was compiled"),
    "threads are ignored": (
        training(_step=computes_alone),
        "switches",
        "2 requested, but 1 did all the work",
    ),
    **{
        name: (SLOW[name], "replay", "what is around the computation is slow")
        for name in ("eager steps", "results read back")
    },
    **{
        name: (SABOTAGES[name][0], clause, SABOTAGES[name][-1])
        for name, clause in {
            "arrays_written_to": "round_trip",
            "trainable_count": "counts",
            "frozen_off_by_one": "frozen",
            "seed_ignored": "seed",
            "optimizer_kept_at_reset": "seed",
            "last_step_unreported": "steps",
            "batches_reordered_in_the_ledger": "order",
            "every_step_recorded_in_train": "order",
            "rate_untold": "settings",
            "nchw_flatten": "logits",
            "summed_gradients": "gradients",
            "another_epsilon": "optimizers",
            "rgb_for_bgr": "preprocessing",
            "warp_ignored": "augmentation",
        }.items()
    },
}


@pytest.mark.parametrize(("backend", "clause", "complaint"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(
    backend: Backend, clause: str, complaint: str, monkeypatch: pytest.MonkeyPatch
):
    """Its clause is broken, and one of the faults there says what it is."""
    # Further attempts are for honest trainings on busy machines.
    monkeypatch.setattr(contract_execution, "_ATTEMPTS", 1)

    def is_named() -> bool:
        return any(complaint in f"{fault.check}: {fault.reason}" for fault in result.faults)

    # What a clock has to show can hide behind a wait for a core; not each time.
    for _ in range(4 if clause in ("synchronize", "switches", "replay") else 1):
        result = check_backend(backend, clause)[clause]
        if is_named():
            break

    assert result.outcome == "broken"
    assert is_named(), result


def test_the_reference_keeps_every_clause():
    """So that faults fail for what they are; switches that it refuses are said."""
    results = check_backend(NumpyBackend())

    assert list(results) == [clause.clause for clause in BACKEND_CLAUSES]
    assert {name for name, result in results.items() if result.faults} == set()
    refused = " ".join(results["switches"].refusals)
    assert all(switch in refused for switch in ("layout", "compile", "precision"))
    assert any("bfloat16" in reason for reason in results["settings"].refusals)


def test_every_check_of_pytest_is_in_one_clause():
    """No check is lost where two clauses have one of the same name."""
    contracts = (BackendContract, PluginContract)
    checks = [name for contract in contracts for name in dir(contract) if name.startswith("test_")]
    clauses = (*PACKAGE_CLAUSES, *BACKEND_CLAUSES)

    own = [name for clause in clauses for name in vars(clause) if name.startswith("test_")]
    assert sorted(own) == sorted(checks)
    assert len({clause.clause for clause in clauses}) == len(clauses)


class FeedsAlone(NumpyBackend):
    """Carries out one strategy of four."""

    def train(self, task: Task) -> NumpyTraining:
        """Refuse."""
        raise UnsupportedError("it feeds, and learns nothing")

    def extract(self, task: Task) -> NumpyExtraction:
        """Refuse."""
        raise UnsupportedError("it feeds, and has no networks")


def test_a_backend_that_only_feeds_is_held_to_that():
    """What it refuses is passed over, and a fault in what it offers is still one."""
    results = check_backend(FeedsAlone())

    checked = PluginCheck(name="feeds", options={}, results=[*results.values()])
    assert checked.strategies == ["dataset"]
    assert {name for name, result in results.items() if result.faults} == set()
    assert results["logits"].outcome == "refused"
    assert results["steps"].outcome == "kept"
    assert results["steps"].refusals == ("it feeds, and learns nothing",)


def test_a_refusal_passes_pytest_and_is_seen():
    """The class for pytest skips what a backend refuses, with the reason."""
    with pytest.raises(pytest.skip.Exception, match="learns nothing"):
        BackendContract().test_weights_survive_a_round_trip(Subject(FeedsAlone()))


WORKING = """
from benchharness.api import PluginError, hookimpl

benchharness_api = "1.0"


@hookimpl
def benchharness_backend(options):
    if options:
        raise PluginError(f"working: expected no options, found {', '.join(options)}")
    try:
        import toy_framework
    except ImportError as error:
        raise PluginError(f"working: {error}; install it with: pip install toy") from error
    from benchharness.testing.reference import NumpyBackend

    return NumpyBackend()
"""
# Each is a line of the working one and what stands in its place.
PACKAGE_FAULTS = {
    "a framework at the top": (
        "from benchharness.api import PluginError",
        "import toy_framework\nfrom benchharness.api import PluginError",
        "import_cost",
        "toy_framework",
    ),
    "the core imported": (
        "from benchharness.api import PluginError",
        "from benchharness.run import events\nfrom benchharness.api import PluginError",
        "imports",
        "broken_module.py:2: benchharness.run",
    ),
    "a missing framework is a traceback": (
        "except ImportError as error:",
        "except ZeroDivisionError as error:",
        "missing_framework",
        "without toy_framework: expected a PluginError, found ModuleNotFoundError",
    ),
    "a missing framework without a remedy": (
        "; install it with: pip install toy",
        "",
        "missing_framework",
        "expected how to install it",
    ),
    "another version of the API": (
        'benchharness_api = "1.0"',
        'benchharness_api = "2.0"',
        "loads",
        "expected version 1.0 to 1.1 of benchharness.api, found '2.0'",
    ),
    "no version of the API": (
        'benchharness_api = "1.0"',
        "",
        "api_version",
        "expected benchharness_api = '1.1', found none",
    ),
    "options that do nothing": ("    if options:", "    if False:", "loads", "no_such_option"),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder whose plugins this process and its children find, a framework among them."""
    from benchharness import plugins

    (tmp_path / "toy_framework.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    plugins.installed.cache_clear()
    yield tmp_path
    plugins.installed.cache_clear()


@pytest.mark.parametrize(
    ("line", "instead", "clause", "complaint"), PACKAGE_FAULTS.values(), ids=PACKAGE_FAULTS
)
def test_a_fault_of_the_package_is_named(
    site: Path, line: str, instead: str, clause: str, complaint: str
):
    """What is wrong with a package needs no backend to be told."""
    name = "broken"
    assert line in WORKING
    install(site, name, WORKING.replace(line, instead))
    from benchharness.testing import loading

    loading._observe.cache_clear()

    result = check_package(name, clause)[clause]

    assert result.outcome == "broken", result
    assert any(complaint in fault.reason for fault in result.faults), result


def test_the_checklist_of_a_working_plugin(tmp_path: Path):
    """Exit code 0, a line for each clause, and what is remarkable beside it."""
    (tmp_path / "toy_framework.py").write_text("")
    install(tmp_path, "working", WORKING)

    done = benchharness(tmp_path, "plugin", "check", "working")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "working (working-dist 1.0) keeps the contract" in done.stdout
    assert all(title(clause) in done.stdout for clause in (*PACKAGE_CLAUSES, *BACKEND_CLAUSES))
    assert "install a framework that is missing  toy_framework" in done.stdout
    assert "dataset, simple_cnn, bottleneck, fine_tune" in done.stdout


def test_a_module_that_cannot_be_parsed_breaks_clauses_and_no_more(tmp_path: Path):
    """The likeliest slip of an author: a report as ever."""
    install(tmp_path, "slip", WORKING.replace("if options:", "if options"))

    done = benchharness(tmp_path, "plugin", "check", "slip", "--json")

    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "SyntaxError" in json.dumps(items["imports"])
    assert not items["imports"]["remark"]


CRASHING = """
import os

from benchharness.api import UnsupportedError, hookimpl
from benchharness.testing.reference import NumpyBackend


class Crashing(NumpyBackend):
    def feed(self, task):
        raise UnsupportedError("no feeding here")

    def extract(self, task):
        if task.trainable == ():
            print("about to end", flush=True)
            os._exit(7)
        return super().extract(task)


@hookimpl
def benchharness_backend(options):
    return Crashing()
"""


def test_a_crash_is_a_fault_of_its_clause(tmp_path: Path):
    """The command lives on, says where and with what last words, and exits with 1."""
    install(tmp_path, "crashing", CRASHING)

    done = benchharness(tmp_path, "plugin", "check", "crashing", "--json")

    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    items = {item["name"]: item for item in found["items"]}
    (reason,) = items["features"]["faults"].values()
    assert "ended with exit code 7" in reason
    assert "about to end" in reason
    assert found["refused"] == {"dataset": "no feeding here"}
    assert not found["is_kept"]


REFUSING = """
from benchharness.api import PluginError, UnsupportedError, hookimpl
from benchharness.testing.reference import NumpyBackend


class Refusing(NumpyBackend):
    def feed(self, task):
        raise UnsupportedError("not today")

    extract = train = feed


@hookimpl
def benchharness_backend(options):
    return Refusing()
"""


OPTIONS = """if options:
        raise PluginError(f"feeding: expected no options, found {', '.join(options)}")
    return"""
FEEDING = REFUSING.replace("def feed(", "def train(").replace(
    "extract = train = feed", "extract = train"
)


def test_a_backend_of_one_strategy_passes_for_it(tmp_path: Path):
    """Exit code 0, with what it carries out and what it refuses."""
    install(tmp_path, "feeding", "benchharness_api = '1.0'\n" + FEEDING.replace("return", OPTIONS))

    done = benchharness(tmp_path, "plugin", "check", "feeding")

    words = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout
    assert "keeps the contract for dataset; refused: simple_cnn, bottleneck, fine_tune" in words
    assert "passed over: not today" in words


def test_a_backend_that_refuses_everything_is_no_backend(tmp_path: Path):
    """A contract of which nothing was shown is not kept."""
    install(tmp_path, "refusing", REFUSING)

    done = benchharness(tmp_path, "plugin", "check", "refusing", "--json")

    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert done.returncode == 1
    assert items["strategies"]["faults"] == {
        "strategies": "strategies: expected one, found none: not today"
    }


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("nunpy",), 1, "did you mean numpy?"),
        (("numpy", "--option", "dtype"), 2, "expected KEY=VALUE, found dtype"),
    ],
)
def test_what_cannot_be_checked_is_said(
    tmp_path: Path, arguments: tuple[str, ...], code: int, complaint: str
):
    """One line on standard error, and no traceback."""
    done = benchharness(tmp_path, "plugin", "check", *arguments)

    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
