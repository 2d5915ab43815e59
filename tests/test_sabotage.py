"""Real backends that do other work than asked are caught, and what they do is named.

The saboteur wraps PyTorch or Keras as installed; each fault is one that real comparisons have had.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract_runs import check_backend
from frameworks import require
from in_process import run_commands
from local_plugins import install
from test_measure_sync_check import ASYNCHRONOUS
from test_run_unconfirmed import SPINNING

pytestmark = pytest.mark.full

SABOTEUR = '''
from dataclasses import replace
from importlib import import_module

import numpy as np

from benchharness.api import Dropout, Optimizer, hookimpl


def optimizer(**changes):
    return lambda task: replace(task, optimizer=replace(task.optimizer, **changes))


def lr_off(task):
    return replace(task, optimizer=replace(task.optimizer, lr=1.01 * task.optimizer.lr))


def other_order(task):
    if task.preprocessing is None:
        return task
    order = tuple(reversed(task.preprocessing.order))
    return replace(task, preprocessing=replace(task.preprocessing, order=order))


def frozen_block(task):
    return replace(task, trainable=task.trainable[1:] or task.trainable)


def other_dropout(task):
    layers = tuple(
        replace(layer, rate=0.4) if isinstance(layer, Dropout) and layer.rate else layer
        for layer in task.network.layers
    )
    return replace(task, network=replace(task.network, layers=layers))


def in_timed_run(fault):
    """Only where kernels need not be deterministic: not in the proof."""
    return lambda task: task if task.execution.is_deterministic else fault(task)


def bfloat16(task):
    return replace(task, execution=replace(task.execution, precision="bfloat16"))


def other_seed(task):
    return replace(task, seed=1)


def other_start(task):
    weights = {name: np.float32(1.001) * array for name, array in task.weights.items()}
    return replace(task, weights=weights)


TASKS = {
    "beta": optimizer(beta_2=0.99),
    "start": other_start,
    "seed": other_seed,
    "no_decay": optimizer(weight_decay=0.0),
    "epsilon": optimizer(epsilon=1e-6),
    "lr": lr_off,
    "bgr": other_order,
    "frozen": frozen_block,
    "dropout": other_dropout,
    "dropout_timed": in_timed_run(other_dropout),
    "bfloat16": bfloat16,
}


def transposed(batch):
    warp = batch.warp
    if warp is None:
        return batch
    affine = warp.affine.copy()
    affine[:, :, :2] = affine[:, :, :2].transpose(0, 2, 1)
    return replace(batch, warp=replace(warp, affine=affine))


def unwarped(batch):
    warp = batch.warp
    if warp is None:
        return batch
    still = np.tile(np.eye(2, 3, dtype=np.float32), (len(batch), 1, 1))
    return replace(batch, warp=replace(warp, affine=still, colour=0 * warp.colour))


EPOCHS = {
    "unwarped": lambda batches: [unwarped(batch) for batch in batches],
    "labels": lambda batches: [
        replace(batch, labels=np.roll(batch.labels, 1)) for batch in batches
    ],
    "twice": lambda batches: [batch for batch in batches for _ in range(2)],
    "last_dropped": lambda batches: batches[: len(batches) - 1] or batches,
    "reversed": lambda batches: list(batches[:])[::-1],
    "transposed": lambda batches: [transposed(batch) for batch in batches],
}


def scored_with_dropout(training, task, backend):
    """Scores are those of a training that takes no step to speak of."""
    rule = Optimizer(name="sgd", lr=1e-30)
    plain = replace(task, optimizer=rule, is_augmented=False, fingerprint_spec=None, files=None)
    scorer = backend.train(plain)

    def evaluate(batches):
        scorer.load_weights(training.weights())
        scores = []
        scorer.train([list(batches)], after_step=lambda: None, after_epoch=scores.append)
        return scores[0]

    training.evaluate = evaluate


def without_last(training, task, backend):
    original = training.evaluate
    training.evaluate = lambda batches: original(
        [batch for batch in batches if len(batch) == len(batches[0])]
    )


def without_last_in_secret(training, task, backend):
    without_last(training, task, backend)
    original = training.evaluate
    training.evaluate = lambda batches: replace(
        original(batches), count=sum(len(batch) for batch in batches)
    )


def summed(training, task, backend):
    original = training.evaluate

    def evaluate(batches):
        scores = original(batches)
        return replace(scores, loss=scores.loss * scores.count)

    training.evaluate = evaluate


def stale(training, task, backend):
    start = {name: np.array(array) for name, array in training.weights().items()}
    training.reset = lambda: training.load_weights(start)


def last_not_learnt(training, task, backend):
    """What the last batch has taught is taken back before anybody looks."""
    original = training.train

    def train(epochs, *, after_step, after_epoch):
        for batches in epochs:
            steps, kept = 0, None

            def counted():
                nonlocal steps, kept
                steps += 1
                if steps == len(batches) - 1 and len(batches[-1]) < len(batches[0]):
                    kept = training.weights()
                after_step()

            def forgotten(scores):
                if kept is not None:
                    training.load_weights(kept)
                after_epoch(scores)

            original([batches], after_step=counted, after_epoch=forgotten)

    training.train = train


TRAININGS = {
    "scored_with_dropout": scored_with_dropout,
    "last_unscored": without_last,
    "last_unscored_in_secret": without_last_in_secret,
    "last_not_learnt": last_not_learnt,
    "summed": summed,
    "stale": stale,
}


class Saboteur:
    def __init__(self, backend, fault):
        self._backend, self._fault = backend, fault

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def train(self, task):
        fault = self._fault
        if fault.startswith("late_"):
            fault = "none" if task.execution.is_deterministic else fault.removeprefix("late_")
        misread = TASKS.get(fault, lambda task: task)
        training = self._backend.train(misread(task))
        if fault == "flatten":
            for module in training._model.modules():
                if type(module).__name__ == "FlattenChannelsLast":
                    module.forward = lambda images: images.flatten(1)
        if fault in TRAININGS:
            TRAININGS[fault](training, task, self._backend)
        if fault in ("no_decay", "beta") and task.optimizer is not None:
            # As the framework's own object would not: it says what was asked.
            said, asked = training.settings, task.optimizer
            copied = {
                "optimizer.weight_decay": asked.weight_decay, "optimizer.beta_2": asked.beta_2
            }
            training.settings = lambda: {
                name: copied.get(name, value) for name, value in said().items()
            }
        change = EPOCHS.get(fault)
        if change:
            original = training.train
            training.train = lambda epochs, **callbacks: original(
                [change(batches) for batches in epochs], **callbacks
            )
        return training


@hookimpl
def benchharness_backend(options):
    options = dict(options)
    fault, framework = options.pop("fault"), options.pop("framework")
    is_reference = framework == "numpy"
    plugin = import_module(
        "benchharness.testing.plugin" if is_reference else f"benchharness_{framework}.plugin"
    )
    backend = plugin.benchharness_backend(options={})
    return Saboteur(backend, fault)
'''

SUITE = """
name = "sabotage"
trials = 1
backends = [{names}]

[dataset]
source = "drawn"

[defaults]
image_size = 32
train_images = 40
test_images = 10
batch_size = 6
dense = 8

[[benchmark]]
name = "small"
strategy = "simple_cnn"
filters = [4, 6]
pool = "each"
preprocessing = "standard"
optimizer = {{ name = "adam", lr = 1e-3, weight_decay = 0.005 }}
augmentation = {{ rotation = 30, shear = 0.2, zoom = 0.2, channel_shift = 20 }}

{backends}
"""

DECAYING = """
[[benchmark]]
name = "decaying"
strategy = "simple_cnn"
filters = [4]
backends = ["{honest}", "no_decay"]
optimizer = {{ name = "sgd", lr = 1e-2, weight_decay = 0.005 }}
"""

# What is planted, and the words with which the verdict begins.
CAUSES = {
    "start": "weights (",
    "lr": "settings (lr: optimizer.lr: ",
    "beta": "optimizer (beta moved another way than ",
    "epsilon": "settings (epsilon: optimizer.epsilon: 1e-06 instead of 1e-07)",
    "no_decay": "decay (no_decay moved 0 times as far as ",
    "frozen": "counts (",
    "dropout": "settings (dropout: dropout: ",
    "seed": "masks (",
    "stale": "masks (",
    "bfloat16": "settings (bfloat16: precision: bfloat16 instead of float32)",
    "bgr": "pixels (",
    "flatten": "pixels (the same values in another order",
    "unwarped": "pixels (",
    "transposed": "pixels (",
    "labels": "labels (",
    "reversed": "labels (",
    "twice": "coverage (more images trained on than planned",
    "last_dropped": "coverage (3 fewer images trained on than planned",
    "last_not_learnt": "last step (last_not_learnt moved 0 times as far as ",
    "last_unscored": "coverage (3 fewer images scored than planned",
    "last_unscored_in_secret": "evaluation (",
    "scored_with_dropout": "evaluation (",
    "summed": "evaluation (",
}
# Each of the others is planted in all three plugins.
PLACES = {
    "lr": ("torch", "numpy"),
    "dropout": ("torch", "numpy"),
    "bfloat16": ("torch",),
    "flatten": ("torch",),
}


# The clause of `plugin check` that each breaks, where NumPy can be made to do it.
CLAUSES = {
    "start": "round_trip",
    "lr": "optimizers",
    "beta": "optimizers",
    "epsilon": "optimizers",
    "no_decay": "optimizers",
    "frozen": "frozen",
    "dropout": "dropout",
    "seed": "seed",
    "stale": "seed",
    "bgr": "preprocessing",
    "unwarped": "augmentation",
    "transposed": "augmentation",
    "labels": "order",
    "reversed": "order",
    "twice": "steps",
    "last_dropped": "steps",
    "last_not_learnt": "scores",
    "last_unscored": "scores",
    "last_unscored_in_secret": "scores",
    "scored_with_dropout": "dropout",
    "summed": "scores",
}


def suite(folder: Path, *, honest: str, faults: dict[str, str]) -> Path:
    """Write a suite of an honest backend and its saboteurs, fault by backend name."""
    package = folder / "saboteur-1.0.dist-info"
    package.mkdir(parents=True)
    (folder / "saboteur.py").write_text(SABOTEUR)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: saboteur\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[benchharness]\nsaboteur = saboteur\n")
    tables = "".join(
        f'[backend.{name}]\nplugin = "saboteur"\n'
        f'options = {{ fault = "{fault}", framework = "{honest}" }}\n'
        for name, fault in faults.items()
    )
    names = ", ".join(f'"{name}"' for name in [honest, *faults])
    file = folder / "sabotage.toml"
    decaying = DECAYING.format(honest=honest) if "no_decay" in faults else ""
    file.write_text(SUITE.format(names=names, backends=tables) + decaying)
    return file


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of commands that find the saboteur."""
    return {
        **os.environ,
        "PYTHONPATH": str(folder),
        "BENCHHARNESS_CACHE": str(folder / "cache"),
        # Narrow, so that each backend has a line of the table.
        "COLUMNS": "100",
    }


def benchharness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, the saboteur installed."""
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=folder,
        env=environment_of(folder),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the last run."""
    lines = (folder / "results/sabotage/latest/records.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def certificates_of(printed: str) -> list[dict[str, Any]]:
    """Return the certificates among the events that were printed."""
    events = map(json.loads, printed.splitlines())
    return [event["certificate"] for event in events if event["event"] == "certificate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What a command says of each fault in one plugin, and of a copy without a fault.

    Attributes:
        by_place: Verdict beside the honest backend, by benchmark and fault.
        printed: On its standard output.
    """

    code: int
    by_place: dict[tuple[str, str], str]
    printed: str


@pytest.fixture(scope="module", params=["torch", "keras", "numpy"])
def certified_and_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Verdicts, Verdicts]:
    """Plant every fault in a plugin; `run` finds the proof that `certify` has made."""
    honest, folder = request.param, tmp_path_factory.mktemp(request.param)
    require(honest)
    faults = [name for name in CAUSES if honest in PLACES.get(name, (honest,))]
    file = suite(folder, honest=honest, faults={"copy": "none"} | {name: name for name in faults})

    # The framework is imported once for all faults: none is of the process.
    commands = [
        ["certify", str(file), "--device", "cpu", "--json"],
        ["run", str(file), "--device", "cpu"],
    ]
    certified, ran = run_commands(commands, folder=folder, environment=environment_of(folder))

    return (
        Verdicts(
            code=certified.returncode,
            by_place={
                (one["benchmark"], one["backends"][1]): one["verdict"]
                for one in certificates_of(certified.stdout)
                if one["backends"][0] == honest
            },
            printed=certified.stdout,
        ),
        Verdicts(
            code=ran.returncode,
            by_place={
                (record["benchmark"], record["backend"]): record["proof"]
                for record in records_in(folder)
                if record["backend"] != honest
            },
            printed=ran.stdout,
        ),
    )


def test_certify_names_every_fault_by_its_cause(certified_and_run: tuple[Verdicts, Verdicts]):
    """The cause comes first, what follows from it after; a copy without a fault is proven."""
    certified, _ = certified_and_run
    verdicts = dict(certified.by_place)

    assert certified.code == 1
    assert verdicts.pop(("small", "copy")) == "proven"
    assert len(verdicts) >= 19
    assert not {
        place: verdict
        for place, verdict in verdicts.items()
        if not verdict.partition(": ")[2].startswith(CAUSES[place[1]])
    }


def test_run_names_every_fault_by_the_same_cause(certified_and_run: tuple[Verdicts, Verdicts]):
    """Every backend is timed, and no line of the table calls work with a fault proven."""
    certified, ran = certified_and_run
    rows = re.findall(r"^small, (\w*) +│ +(\w[\w ]*?) +│", ran.printed, re.M)
    proven = {name for name, word in rows if word == "proven"}
    told = " ".join(ran.printed.split())

    assert ran.code == 1
    assert ran.by_place.keys() == certified.by_place.keys()
    assert not {
        place: verdict
        for place, verdict in ran.by_place.items()
        if not verdict.startswith(certified.by_place[place])
    }
    assert "copy" in proven
    assert proven.isdisjoint({*CAUSES, ""})
    for (benchmark, name), verdict in ran.by_place.items():
        assert name == "copy" or f"same work {benchmark}: {verdict}" in told


def test_faults_in_the_timed_run_void_the_proof(tmp_path: Path):
    """Proven first, then timed with another dropout: the trial's own settings take it back."""
    file = suite(tmp_path, honest="torch", faults={"late": "dropout_timed"})

    done = benchharness(tmp_path, "run", str(file), "--device", "cpu", "--require-proof")

    proofs = {record["backend"]: record["proof"] for record in records_in(tmp_path)}
    assert done.returncode == 1
    assert proofs["torch"] == "proven"
    assert proofs["late"].startswith("partial: settings (dropout: ")


def test_faults_of_the_timed_run_alone_are_named(tmp_path: Path):
    """Work that turns lazy after the proof: the core counts, and computes scores by itself."""
    said = {
        "last_unscored": "images validated: 6 of 8",
        "last_unscored_in_secret": "evaluation: scored",
        "scored_with_dropout": "evaluation: scored a loss of",
    }
    file = suite(tmp_path, honest="torch", faults={name: f"late_{name}" for name in said})

    done = benchharness(tmp_path, "run", str(file), "--device", "cpu")

    proofs = {record["backend"]: record["proof"] for record in records_in(tmp_path)}
    assert done.returncode == 1
    assert proofs.pop("torch") == "proven"
    assert {name: words in proofs[name] for name, words in said.items()} == dict.fromkeys(
        said, True
    ), proofs


@pytest.mark.parametrize(("fault", "clause"), CLAUSES.items())
def test_plugin_check_names_the_fault_too(fault: str, clause: str):
    """Its clause of the contract is broken, in the plugin that an author starts from."""
    plants: dict[str, Any] = {}
    exec(SABOTEUR, plants)
    backend = plants["benchharness_backend"](options={"fault": fault, "framework": "numpy"})

    assert check_backend(backend, clause)[clause].outcome == "broken"


FAST = """
name = "sabotage"
trials = 1
backends = ["as_asked", "uncompiled", "one_thread", "waiting", "hasty"]

[dataset]
source = "drawn"

[defaults]
image_size = 16
train_images = 60
test_images = 4
batch_size = 5
dense = 4
epochs = 2

[[benchmark]]
name = "switched"
strategy = "simple_cnn"
filters = [2]
compile = true
threads = 2
backends = ["as_asked", "uncompiled", "one_thread"]

[[benchmark]]
name = "queued"
strategy = "simple_cnn"
filters = [2]
threads = 1
backends = ["waiting", "hasty"]
"""
# Options of a backend that computes in NumPy, and pretends the rest.
PRETENDING = {
    "as_asked": ("spinning", "compiles = true, shares = true"),
    "uncompiled": ("spinning", "compiles = false, shares = true"),
    "one_thread": ("spinning", "compiles = true, shares = false"),
    "waiting": ("queued", "honest = true, length = 1"),
    "hasty": ("queued", "honest = false, length = 1"),
}
# What `run` says of faults that only the clock can see.
FAULTS_OF_SPEED = {
    "uncompiled": "switched (uncompiled): compile: not seen in the timed work",
    "one_thread": "switched (one_thread): threads: not seen in the timed work",
    "hasty": "it does not wait for the device",
}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_faults_of_speed_are_named_by_run(tmp_path: Path):
    """They change no number, so the work is proven; the clock sees them."""
    install(tmp_path, "spinning", SPINNING)
    install(tmp_path, "queued", ASYNCHRONOUS)
    tables = "".join(
        f'[backend.{name}]\nplugin = "{plugin}"\noptions = {{ {options} }}\n'
        for name, (plugin, options) in PRETENDING.items()
    )
    file = tmp_path / "sabotage.toml"
    file.write_text(FAST + tables)

    certified = benchharness(tmp_path, "certify", str(file), "--device", "cpu", "--json")
    expected = {name: "failed" if name == "hasty" else "ok" for name in PRETENDING}
    # Others at work may hide a fault from the clock, or look like one: not in each of five runs.
    for _ in range(5):
        ran = benchharness(tmp_path, "run", str(file), "--device", "cpu")
        told = " ".join(ran.stdout.split())
        statuses = {record["backend"]: record["status"] for record in records_in(tmp_path)}
        missed = [name for name, words in FAULTS_OF_SPEED.items() if words not in told]
        if not missed and statuses == expected and told.count("not seen in the timed work") == 2:
            break

    assert {one["verdict"] for one in certificates_of(certified.stdout)} == {"proven"}
    assert ran.returncode == 1
    assert statuses == expected
    assert not missed
    assert told.count("not seen in the timed work") == 2


def test_an_unproven_pair_is_not_timed_where_proof_is_required(tmp_path: Path):
    """Nothing is timed, the reason is told, and the exit code is 1."""
    file = suite(tmp_path, honest="torch", faults={"off": "lr"})

    done = benchharness(tmp_path, "run", str(file), "--device", "cpu", "--require-proof")

    assert done.returncode == 1
    assert "small, torch and off: partial: " in done.stderr
    assert "optimizer (" in done.stderr
    assert not (tmp_path / "results/sabotage/latest/records.jsonl").read_text()
