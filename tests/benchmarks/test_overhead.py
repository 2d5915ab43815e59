"""What the harness costs over a bare loop of the same framework, side by side.

Run with ``make bench``. The bare loop is written as a user of the framework would; the harness is
the same training through plugin, batch plan and clock. The two take turns, and the median of the
paired ratios is printed and kept in ``extra_info``: on a shared machine single times say little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchharness.api import (
    Conv,
    Dense,
    Execution,
    Flatten,
    MaxPool,
    Network,
    Optimizer,
    Preprocessing,
    Task,
)
from benchharness.data.plan import BatchSequence, EpochSequence, epoch_order
from benchharness.measure.clock import PhaseClock
from benchharness.measure.environment import usable_cores
from benchharness.run.trial.lesson import Lesson
from benchharness.weights.initial import initial_weights

pytestmark = pytest.mark.full

SIZE, IMAGES, BATCH, EPOCHS = 64, 500, 50, 2
NETWORK = Network(
    input_shape=(SIZE, SIZE, 3),
    layers=(
        Conv(name="conv1", filters=32),
        MaxPool(name="pool1"),
        Conv(name="conv2", filters=64),
        MaxPool(name="pool2"),
        Flatten(name="flatten"),
        Dense(name="dense", units=64, activation="relu"),
        Dense(name="logits", units=2),
    ),
)
GENERATOR = np.random.default_rng(0)
PICTURES = GENERATOR.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
LABELS = GENERATOR.integers(0, 2, IMAGES).astype(np.int32)
IDS = np.arange(IMAGES)
UNIT = Preprocessing(name="unit", order=(0, 1, 2), mean=(0.0,) * 3, scale=(1 / 255,) * 3)


def make_task() -> Task:
    """Return the task that the bare loops repeat."""
    return Task(
        network=NETWORK,
        weights=initial_weights(NETWORK, seed=0),
        trainable=NETWORK.learning_layers(),
        output="softmax",
        optimizer=Optimizer(name="sgd", lr=0.01, momentum=0.9),
        preprocessing=UNIT,
        is_augmented=False,
        execution=Execution(device="cpu", threads=usable_cores()),
        seed=0,
    )


def harness(backend: Any) -> Callable[[], None]:
    """Return a warm training of EPOCHS epochs through everything that a trial goes through."""
    training = backend.train(make_task())

    def teach() -> None:
        lesson = Lesson(
            training=training,
            clock=PhaseClock(started_s=0.0),
            validation=[],
            on_epoch=lambda epoch: None,
        )
        lesson.teach(
            EpochSequence(
                EPOCHS,
                make=lambda epoch: BatchSequence(
                    PICTURES, LABELS, epoch_order(IDS, seed=0, epoch=epoch), batch_size=BATCH
                ),
            )
        )

    return teach


def bare_torch() -> Callable[[], None]:
    """Return the same training as a PyTorch user writes it."""
    torch = pytest.importorskip("torch")
    from torch import nn

    torch.set_num_threads(usable_cores())
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 14 * 14, 64),
        nn.ReLU(),
        nn.Linear(64, 2),
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    criterion = nn.CrossEntropyLoss()

    def teach() -> None:
        for _ in range(EPOCHS):
            order = GENERATOR.permutation(IDS)
            total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            for start in range(0, IMAGES, BATCH):
                ids = order[start : start + BATCH]
                images = torch.from_numpy(PICTURES[ids]).permute(0, 3, 1, 2).float() / 255
                labels = torch.from_numpy(LABELS[ids]).long()
                optimizer.zero_grad()
                logits = model(images)
                loss = criterion(logits, labels)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(labels)
                hits += (logits.argmax(1) == labels).sum()
            float(total), int(hits)

    return teach


def bare_keras() -> Callable[[], None]:
    """Return the same training as a Keras user writes it."""
    pytest.importorskip("tensorflow")
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(2),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )

    class Pictures(keras.utils.PyDataset):
        def __init__(self) -> None:
            # Gathers beside the training; with one worker, ending the pipeline can block.
            super().__init__(workers=2)
            self.order = GENERATOR.permutation(IDS)

        def __len__(self) -> int:
            return IMAGES // BATCH

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            ids = self.order[index * BATCH : (index + 1) * BATCH]
            return PICTURES[ids], LABELS[ids]

        def on_epoch_end(self) -> None:
            self.order = GENERATOR.permutation(IDS)

    def teach() -> None:
        model.fit(Pictures(), epochs=EPOCHS, shuffle=False, verbose=0)

    return teach


def torch_harness() -> Callable[[], None]:
    """Return the harness around PyTorch."""
    return harness(pytest.importorskip("benchharness_torch.backend").TorchBackend())


def keras_harness() -> Callable[[], None]:
    """Return the harness around Keras."""
    pytest.importorskip("tensorflow")
    return harness(pytest.importorskip("benchharness_keras.backend").KerasBackend())


@pytest.mark.parametrize(
    ("bare", "harnessed"),
    [
        pytest.param(bare_torch, torch_harness, id="torch"),
        pytest.param(bare_keras, keras_harness, id="keras"),
    ],
)
def test_training(
    benchmark: Any,
    capsys: pytest.CaptureFixture[str],
    bare: Callable[[], Callable[[], None]],
    harnessed: Callable[[], Callable[[], None]],
) -> None:
    """Time EPOCHS epochs, the bare loop and the harness in turn."""
    bare_loop, harness_loop = bare(), harnessed()
    bare_s: list[float] = []
    harness_s: list[float] = []

    def timed_bare() -> None:
        bare_s.append(seconds(bare_loop))

    def timed_harness() -> None:
        harness_s.append(seconds(harness_loop))

    for warm_up in (bare_loop, harness_loop):
        warm_up()
    benchmark.pedantic(timed_harness, setup=timed_bare, rounds=20)
    ratio = statistics.median(h / b for h, b in zip(harness_s, bare_s, strict=True))
    benchmark.extra_info["harness_over_bare"] = ratio
    with capsys.disabled():
        print(f"\n{bare.__name__}: harness / bare = {ratio:.3f} (median of 20 pairs)")


def seconds(work: Callable[[], None]) -> float:
    """Return how long a piece of work takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
