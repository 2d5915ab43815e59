"""Real backends that do other work than asked are caught, and what they do is named.

The saboteur wraps PyTorch or Keras as installed; each fault is one that real comparisons have had.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from frameworks import require

pytestmark = pytest.mark.full

SABOTEUR = '''
from dataclasses import replace
from importlib import import_module

import numpy as np

from benchharness.api import Dropout, hookimpl


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


def scored_with_dropout(training):
    original = training.evaluate

    def evaluate(batches):
        training._model.eval = training._model.train
        try:
            return original(batches)
        finally:
            del training._model.eval

    training.evaluate = evaluate


def without_last(training):
    original = training.evaluate
    training.evaluate = lambda batches: original(
        [batch for batch in batches if len(batch) == len(batches[0])]
    )


def without_last_in_secret(training):
    without_last(training)
    original = training.evaluate
    training.evaluate = lambda batches: replace(
        original(batches), count=sum(len(batch) for batch in batches)
    )


def summed(training):
    original = training.evaluate

    def evaluate(batches):
        scores = original(batches)
        return replace(scores, loss=scores.loss * scores.count)

    training.evaluate = evaluate


def stale(training):
    start = {name: np.array(array) for name, array in training.weights().items()}
    training.reset = lambda: training.load_weights(start)


def last_not_learnt(training):
    original, sizes = training._step, set()

    def step(arrays, tally):
        sizes.add(len(arrays.labels))
        if len(arrays.labels) == max(sizes):
            return original(arrays, tally)
        learning = training._optimizer.step
        training._optimizer.step = lambda: None
        try:
            return original(arrays, tally)
        finally:
            training._optimizer.step = learning

    training._step = step


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
        TRAININGS.get(fault, lambda training: None)(training)
        if fault in ("no_decay", "beta") and task.optimizer is not None:
            # As the framework's own object would not: it says what was asked.
            said = training.settings
            training.settings = lambda: {
                **said(),
                "optimizer.weight_decay": task.optimizer.weight_decay,
                "optimizer.beta_2": task.optimizer.beta_2,
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
    if fault == "flatten":
        from benchharness_torch.layers import FlattenChannelsLast

        FlattenChannelsLast.forward = lambda self, images: images.flatten(1)
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

# What a fault does, and the stage or record that must name it.
PROVEN_OTHERWISE = {
    "epsilon": "optimizer",
    "lr": "optimizer",
    "bgr": "pixels",
    "flatten": "logits",
    "frozen": "counts",
    "dropout": "dropout",
    "last_dropped": "labels",
    "reversed": "order",
    "transposed": "pixels",
    "bfloat16": "logits",
    "scored_with_dropout": "evaluation",
    "last_unscored": "coverage",
    "last_unscored_in_secret": "evaluation",
    "last_not_learnt": "last step (last_not_learnt moved 0 times",
    "no_decay": "decay (no_decay moved 0 times",
    "seed": "masks",
}


# Faults that can be planted in any plugin.
ANYWHERE = {
    "beta": "optimizer (beta moved",
    "labels": "labels",
    "last_dropped": "coverage",
    "last_unscored": "coverage",
    "last_unscored_in_secret": "evaluation",
    "no_decay": "decay (no_decay moved 0 times",
    "seed": "masks",
    "stale": "last step",
    "start": "weights",
    "summed": "evaluation",
    "twice": "coverage",
    "unwarped": "pixels",
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
    file.write_text(SUITE.format(names=names, backends=tables))
    return file


def benchharness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, the saboteur installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "BENCHHARNESS_CACHE": str(folder / "cache"),
    }
    return subprocess.run(
        [sys.executable, "-m", "benchharness", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def certificates_of(printed: str) -> list[dict[str, Any]]:
    """Return the certificates among the events that were printed."""
    events = map(json.loads, printed.splitlines())
    return [event["certificate"] for event in events if event["event"] == "certificate"]


def certify(folder: Path, *, honest: str, faults: dict[str, str]) -> dict[str, str]:
    """Return the verdict of each saboteur against the honest backend."""
    require(honest)
    file = suite(folder, honest=honest, faults=faults)
    done = benchharness(folder, "certify", str(file), "--device", "cpu", "--json")
    assert done.returncode == 1, done.stderr
    certificates = certificates_of(done.stdout)
    return {
        one["backends"][1]: one["verdict"] for one in certificates if one["backends"][0] == honest
    }


def test_faults_in_pytorch_are_caught_and_named(tmp_path: Path):
    """Each fault, planted in PyTorch, takes the proof away and is named by its stage."""
    verdicts = certify(tmp_path, honest="torch", faults={name: name for name in PROVEN_OTHERWISE})

    missed = {
        name: verdict
        for name, verdict in verdicts.items()
        if verdict == "proven" or PROVEN_OTHERWISE[name] not in verdict
    }
    assert set(verdicts) == set(PROVEN_OTHERWISE)
    assert not missed


def test_faults_in_keras_are_caught_and_named(tmp_path: Path):
    """The same in Keras, for the faults that live in other code there."""
    faults = {name: name for name in ("epsilon", "bgr", "frozen", "reversed", "transposed")}

    verdicts = certify(tmp_path, honest="keras", faults=faults)

    assert set(verdicts) == set(faults)
    assert all(PROVEN_OTHERWISE[name] in verdict for name, verdict in verdicts.items()), verdicts


@pytest.mark.parametrize("honest", ["torch", "keras", "numpy"])
def test_faults_anywhere_are_caught_and_named(tmp_path: Path, honest: str):
    """A dozen more, in each plugin and in what `plugin new` starts from."""
    verdicts = certify(tmp_path, honest=honest, faults={name: name for name in ANYWHERE})

    missed = {name: v for name, v in verdicts.items() if ANYWHERE[name] not in v}
    assert set(verdicts) == set(ANYWHERE)
    assert not missed


def test_an_honest_copy_is_proven(tmp_path: Path):
    """A saboteur that plants nothing is proven, so that the others fail for their faults alone."""
    file = suite(tmp_path, honest="torch", faults={"copy": "none"})

    done = benchharness(tmp_path, "certify", str(file), "--device", "cpu", "--json")

    assert done.returncode == 0, done.stderr
    assert [one["verdict"] for one in certificates_of(done.stdout)] == ["proven"]


def test_faults_in_the_timed_run_void_the_proof(tmp_path: Path):
    """Proven first, then timed with another dropout: the trial's own settings take it back."""
    file = suite(tmp_path, honest="torch", faults={"late": "dropout_timed"})

    done = benchharness(tmp_path, "run", str(file), "--device", "cpu", "--require-proof")

    records = [
        json.loads(line)
        for line in (tmp_path / "results/sabotage/latest/records.jsonl").read_text().splitlines()
    ]
    proofs = {record["backend"]: record["proof"] for record in records}
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

    lines = (tmp_path / "results/sabotage/latest/records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    proofs = {record["backend"]: record["proof"] for record in records}
    assert done.returncode == 1
    assert proofs.pop("torch") == "proven"
    assert {name: words in proofs[name] for name, words in said.items()} == dict.fromkeys(
        said, True
    ), proofs


def test_an_unproven_pair_is_not_timed_where_proof_is_required(tmp_path: Path):
    """Nothing is timed, the reason is told, and the exit code is 1."""
    file = suite(tmp_path, honest="torch", faults={"off": "lr"})

    done = benchharness(tmp_path, "run", str(file), "--device", "cpu", "--require-proof")

    assert done.returncode == 1
    assert "small, torch and off: partial: " in done.stderr
    assert "optimizer (" in done.stderr
    assert not (tmp_path / "results/sabotage/latest/records.jsonl").read_text()
