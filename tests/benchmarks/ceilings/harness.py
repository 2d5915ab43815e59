"""Harness side of the comparison: the work of settings.toml through a plugin, as a trial does it.

Started by run.py in a process of its own; it speaks the protocol of the ceilings. What counts is
the core's own figure, the seconds in its blocks of steps, so everything between a plugin and the
clock of a trial is included.

    python -P tests/benchmarks/ceilings/harness.py --backend torch --work head_small --data FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.data.augmentation import Augmentation, AugmentationPlan
from benchharness.data.batches import BatchSequence, EpochSequence, epoch_order
from benchharness.fairness.ledger import fingerprint_spec
from benchharness.measure.blocks import BlockTimer
from benchharness.measure.blocks import seconds as total_seconds
from benchharness.measure.clock import PhaseClock, now_s
from benchharness.model.network import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network
from benchharness.model.task import Execution, Optimizer, Preprocessing, Task
from benchharness.model.work import Backend, Batches
from benchharness.plugins import load_backend
from benchharness.weights.initial import initial_weights
from benchharness.worker.training_loop import TrainingLoop

SETTINGS = tomllib.loads(Path(__file__).with_name("settings.toml").read_text(encoding="utf-8"))
SEED = 0


@dataclass(slots=True)
class Rounds:
    """Requests of the runner, answered round by round.

    Attributes:
        pipe: Takes replies, one JSON object a line.
        steps: Of one epoch.
        epochs: Left of the round.
        seconds: Of the round so far.
        size: Epochs of the round.
    """

    pipe: Any
    steps: int
    epochs: int = 0
    seconds: float = 0.0
    size: int = 0
    is_prepared: bool = field(default=False)

    def wait(self) -> None:
        """Return when an epoch is due; ends the process when the runner is done."""
        if self.epochs == 0:
            if self.size:
                self.reply(seconds=self.seconds, steps=self.size * self.steps)
            elif not self.is_prepared:
                self.is_prepared = True
                self.reply(idioms={}, idiom="harness")
            self.size = self.epochs = self._next()["epochs"]
            self.seconds = 0.0
        self.epochs -= 1

    def add(self, seconds: float) -> None:
        """Count an epoch's seconds."""
        self.seconds += seconds

    def prepare(self) -> int:
        """Return how many epochs the runner will ask for at most.

        Nothing is at work before: the ceiling may be trying its idioms.
        """
        return int(self._next()["epochs"])

    def reply(self, **values: Any) -> None:
        """Answer the runner."""
        self.pipe.write(json.dumps(values) + "\n")
        self.pipe.flush()

    def _next(self) -> dict[str, Any]:
        line = sys.stdin.readline()
        if not line:
            # From inside a framework's loop, whose threads must not outlive it.
            os._exit(0)
        request: dict[str, Any] = json.loads(line)
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One work for one backend.

    Attributes:
        work: Its settings.
        inputs: uint8 images or float32 features, memory-mapped as those of a trial.
        labels: int32, shape (images,).
    """

    work: Mapping[str, Any]
    backend: Backend
    inputs: NDArray[Any]
    labels: NDArray[np.int32]
    threads: int
    rounds: Rounds

    def task(self) -> Task:
        """Return the task that a trial of this work would have."""
        network = build_network(self.work)
        name = self.work.get("preprocessing")
        kind = self.work["kind"]
        is_learning = kind in ("train", "evaluate")
        names = [
            layer.name
            for layer in network.layers[self.work.get("frozen", 0) :]
            if isinstance(layer, Conv | Dense)
        ]
        task = Task(
            network=network,
            weights=initial_weights(network, seed=SEED),
            trainable=tuple(names) if is_learning else (),
            output="sigmoid" if is_learning else "softmax",
            optimizer=build_optimizer(self.work) if is_learning else None,
            preprocessing=name and Preprocessing(name=name, **_preprocessing(name)),
            is_augmented=self.work.get("augmented", False),
            execution=Execution(
                device=self.work.get("device", "cpu"),
                threads=self.threads,
                precision=self.work.get("precision", "float32"),
            ),
            seed=SEED,
        )
        if kind not in ("train", "feed"):
            return task
        spec = fingerprint_spec(task.input_shape, steps=self.rounds.steps, seed=SEED)
        return replace(task, fingerprint_spec=spec)

    def epochs(self, count: int) -> EpochSequence:
        """Return training batches, planned epoch by epoch as a trial plans them."""
        ids = np.arange(len(self.labels))

        def make(epoch: int) -> Batches:
            order = epoch_order(ids, seed=SEED, epoch=epoch)
            plan = self._augmentation(epoch) if self.work.get("augmented") else None
            return self._batches(order, warp=plan and plan.warp)

        return EpochSequence(count, make=make)

    def train(self) -> None:
        """Train, epoch by epoch, whenever a round is due."""
        # The runner closes the pipe before the extra epoch begins, in which this process ends.
        epochs = self.epochs(self.rounds.prepare() + 1)
        training = self.backend.train(self.task())
        loop = TrainingLoop(
            training=training,
            clock=PhaseClock(started_s=now_s()),
            validation=[],
            on_epoch=lambda epoch: self.rounds.add(epoch.train_s),
            on_consumed=lambda epoch, consumed: None,
            before_epoch=self.rounds.wait,
        )
        loop.warm_up([epochs[0]])
        loop.run(epochs)

    def feed(self) -> None:
        """Feed, epoch by epoch, whenever a round is due; as the strategy ``dataset`` does."""
        epochs = self.epochs(self.rounds.prepare() + 1)
        feeding = self.backend.feed(self.task())
        feeding.feed(epochs[0], after_step=lambda: None)
        feeding.consumed()
        feeding.synchronize()
        timer = BlockTimer(synchronize=feeding.synchronize, now=now_s)
        for batches in epochs:
            self.rounds.wait()
            timer.start(steps=len(batches))
            feeding.feed(batches, after_step=timer.step)
            # In a trial, too, reading the record belongs to the epoch.
            feeding.consumed()
            self.rounds.add(total_seconds(timer.stop()))

    def extract(self) -> None:
        """Compute features of all images, whenever a round is due."""
        self.rounds.prepare()
        task = self.task()
        extraction = self.backend.extract(task)
        batches = self._batches(np.arange(len(self.labels)))
        features = np.empty((len(self.labels), *task.network.output_shape), np.float32)

        def once() -> None:
            row = 0
            for outputs in extraction.extract(batches):
                features[row : row + len(outputs)] = outputs
                row += len(outputs)
            extraction.synchronize()

        self._repeat(once)

    def evaluate(self) -> None:
        """Score all images, whenever a round is due."""
        self.rounds.prepare()
        training = self.backend.train(self.task())
        batches = self._batches(np.arange(len(self.labels)))
        self._repeat(lambda: training.evaluate(batches))

    def _repeat(self, work: Callable[[], object]) -> None:
        work()
        while True:
            self.rounds.wait()
            started_s = now_s()
            work()
            self.rounds.add(now_s() - started_s)

    def _batches(self, ids: NDArray[np.int64], *, warp: Any = None) -> BatchSequence:
        return BatchSequence(
            self.inputs, self.labels, ids, batch_size=self.work["batch"], warp=warp
        )

    def _augmentation(self, epoch: int) -> AugmentationPlan:
        amounts, (side, _, channels) = SETTINGS["augmentation"], self.work["input"]
        return AugmentationPlan(
            Augmentation(
                flip_horizontal=True,
                shear=amounts["shear"],
                zoom=amounts["zoom"],
                channel_shift=amounts["channel_shift"],
            ),
            images=len(self.labels),
            seed=SEED,
            epoch=epoch,
            size=side,
            channels=channels,
        )


def build_network(work: Mapping[str, Any]) -> Network:
    """Return the network of the settings."""
    layers: list[Layer] = []
    listed = SETTINGS["layers"][work["layers"]] if "layers" in work else []
    for number, (kind, *arguments) in enumerate(listed):
        name = f"{kind}{number}"
        match kind:
            case "conv":
                filters, padding = arguments
                layers.append(Conv(name=name, filters=filters, padding=padding))
            case "pool":
                layers.append(MaxPool(name=name))
            case "flatten":
                layers.append(Flatten(name=name))
            case "dropout":
                layers.append(Dropout(name=name, rate=arguments[0]))
            case "dense":
                units, activation = arguments
                layers.append(Dense(name=name, units=units, activation=activation))
    return Network(input_shape=tuple(work["input"]), layers=tuple(layers))


def build_optimizer(work: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer of the settings; what only scores has one as well."""
    name = work.get("optimizer", "adam")
    return Optimizer(name=name, **SETTINGS[name])


def _preprocessing(name: str) -> dict[str, tuple[Any, ...]]:
    constants = SETTINGS["preprocessing"][name]
    return {
        "order": (0, 1, 2),
        "mean": tuple(constants["mean"]),
        "scale": tuple(constants["scale"]),
    }


def main() -> None:
    """Serve the runner."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", required=True)
    parser.add_argument("--work", required=True, choices=SETTINGS["work"])
    parser.add_argument("--data", required=True, type=Path, help="holds WORK/inputs.npy and so on")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    # Frameworks print; replies have the original standard output to themselves.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    work = SETTINGS["work"][arguments.work]
    folder = arguments.data / arguments.work
    inputs, labels = np.load(folder / "inputs.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    backend = load_backend(arguments.backend, options={})
    rounds = Rounds(pipe=pipe, steps=len(labels) // work["batch"])
    job = Job(
        work=work,
        backend=backend,
        inputs=inputs,
        labels=labels,
        threads=arguments.threads,
        rounds=rounds,
    )
    rounds.reply(versions=dict(backend.versions()))
    getattr(job, work["kind"])()
    os._exit(0)


if __name__ == "__main__":
    main()
