"""Training from files, and by each framework's own defaults, in the real frameworks.

Each works in a process of its own: PyTorch 2.15 after TensorFlow 2.21 aborts.
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import require
from numpy.typing import NDArray
from photographs import picture
from PIL import Image

from benchharness.api import (
    Batch,
    ConsumedBatches,
    Dense,
    FileSource,
    FingerprintSpec,
    Flatten,
    NativeSettings,
    Optimizer,
    Preprocessing,
    Scores,
    Setting,
    Task,
    Training,
    UnsupportedError,
)
from benchharness.data.images import read_image
from benchharness.testing.tasks import (
    learn,
    make_network,
    make_task,
    make_warp,
    make_weights,
)

pytestmark = pytest.mark.full

SHAPE = (16, 16, 3)
IMAGES = 12
NETWORK = make_network(
    Flatten(name="flatten"),
    Dense(name="hidden", units=8),
    Dense(name="logits", units=2),
    input_shape=SHAPE,
)
CENTRED = Preprocessing(name="centred", order=(0, 1, 2), mean=(127.5,) * 3, scale=(1 / 127.5,) * 3)
ADAM = {"name": "adam", "lr": 0.003}
# Sums of all values tell the photographs apart, whatever a decoder does to single pixels.
SPEC = FingerprintSpec(pattern=np.ones(SHAPE, np.float32), images=4, steps=(0, 1, 2))

Apart = Callable[..., Any]


@pytest.fixture(scope="module", params=["keras", "torch", "jax"])
def apart(request: pytest.FixtureRequest) -> Iterator[Apart]:
    """Return what calls a function, given the backend's name first, in the backend's process."""
    name = request.param
    require(name)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        yield lambda work, *given: process.submit(work, name, *given).result(timeout=300)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return JPEGs of a dark and a bright class in turn, each as bright as no other.

    They are as large as the network's input, so that none is resized.
    """
    root = tmp_path_factory.mktemp("photographs")
    paths = [root / "ab"[number % 2] / f"{number}.jpg" for number in range(IMAGES)]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        plain = Image.new("RGB", (16, 16), (20 * (number // 2) + 130 * (number % 2),) * 3)
        Image.blend(picture(seed=number, width=16, height=16), plain, 0.8).save(path)
    return paths


@pytest.fixture
def loading(apart: Apart, request: pytest.FixtureRequest) -> Apart:
    """Return the same, of a backend that loads files."""
    if request.node.callspec.params["apart"] == "jax":
        pytest.skip("JAX has no loader of files")
    return apart


def native_task(folder: Path | None = None, **changes: Any) -> Task:
    """Return a task of the native track with nothing given, perhaps from a folder of classes."""
    native = NativeSettings(optimizer=ADAM, augmentation={}, batch_size=4)
    files = None if folder is None else FileSource(paths=(), folder=str(folder))
    task = make_task(
        NETWORK, weights={}, optimizer=None, preprocessing=CENTRED, fingerprint_spec=SPEC
    )
    return replace(task, **({"native": native, "files": files} | changes))


def pixels_of(photographs: Sequence[Path]) -> np.ndarray:
    """Return the prepared images."""
    return np.stack([read_image(path, size=SHAPE[0], channels=3).pixels for path in photographs])


def batches_of(order: Sequence[int], images: np.ndarray, *, has_warps: bool = False) -> list[Batch]:
    """Return batches of four; images that take turns in two classes."""
    random, parts = np.random.default_rng(0), np.array(order).reshape(-1, 4)
    return [
        Batch(
            ids=part,
            inputs=images[part],
            labels=(part % 2).astype(np.int32),
            warp=make_warp(4, shape=SHAPE, random=random) if has_warps else None,
        )
        for part in parts
    ]


def without_pixels(batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches as the core hands them over where files are to be loaded."""
    return [replace(batch, inputs=np.empty((len(batch), 0, 0, 0), np.uint8)) for batch in batches]


EMPTY = without_pixels(batches_of(range(IMAGES), np.empty((IMAGES, *SHAPE), np.uint8)))


def begin(name: str, task: Task) -> Training:
    """Return a training on a backend."""
    plugin = importlib.import_module(f"benchharness_{name}.plugin")
    return plugin.benchharness_backend(options={}).train(task)


def trained(name: str, task: Task, epochs: Sequence[Sequence[Batch]]) -> tuple[Any, ...]:
    """Return the scores of each epoch, the records of the last two, and the learnt arrays."""
    training = begin(name, task)
    scores: list[Scores] = []
    records: list[ConsumedBatches] = []

    def after_epoch(means: Scores) -> None:
        scores.append(means)
        if task.fingerprint_spec:
            records.append(training.consumed())

    training.train(epochs, after_step=lambda: None, after_epoch=after_epoch)
    return scores, records[-2:], training.weights()


def initial(name: str, task: Task) -> tuple[Mapping[str, NDArray[Any]], dict[str, Setting]]:
    """Return the arrays that a training starts from, and its settings."""
    training = begin(name, task)
    return training.weights(), dict(training.settings())


def trained_twice(name: str, task: Task, batches: Sequence[Batch]) -> list[tuple[Any, ...]]:
    """Return, before and after a reset, initial arrays, scores and what was written down."""
    training, found = begin(name, task), []
    for _ in range(2):
        start, blank = training.weights(), training.consumed()
        found.append((start, blank, learn(training, batches, batches)))
        training.reset()
    return found


def fed(name: str, task: Task, batches: Sequence[Batch]) -> tuple[int, ConsumedBatches]:
    """Return the steps that a feeding reports, and what it has written down."""
    plugin = importlib.import_module(f"benchharness_{name}.plugin")
    feeding, steps = plugin.benchharness_backend(options={}).feed(task), []
    feeding.feed(batches, after_step=lambda: steps.append(1))
    return len(steps), feeding.consumed()


def recognised(
    consumed: ConsumedBatches, photographs: Sequence[Path]
) -> tuple[list[list[int]], float]:
    """Return which photographs each epoch of three steps has shown, and the worst deviation."""
    wanted = (pixels_of(photographs) / 127.5 - 1).sum((1, 2, 3))
    distances = np.abs(consumed.fingerprints.reshape(-1, 1) - wanted)
    return distances.argmin(1).reshape(-1, IMAGES).tolist(), float(distances.min(1).max())


def test_class_folder_is_learnt_and_seen_once_per_epoch(
    loading: Apart, photographs: list[Path]
) -> None:
    """Every image under its own label, in another order each time; the loss falls."""
    task = native_task(photographs[0].parent.parent)

    scores, records, _ = loading(trained, task, [EMPTY] * 10)

    assert [one.count for one in scores] == [IMAGES] * 10
    assert scores[-1].loss < 0.5 * scores[0].loss
    orders = []
    for record in records:
        (order,), deviation = recognised(record, photographs)
        assert deviation < 10
        np.testing.assert_array_equal(record.labels.reshape(-1), np.array(order) % 2)
        orders.append(order)
    assert [sorted(order) for order in orders] == [list(range(IMAGES))] * 2
    assert orders[0] != orders[1]


def test_class_folder_is_fed(loading: Apart, photographs: list[Path]) -> None:
    """A step for each batch, with the folder's images and labels."""
    network = make_network(input_shape=SHAPE)
    task = replace(native_task(photographs[0].parent.parent), network=network, trainable=())

    steps, consumed = loading(fed, task, EMPTY)

    (order,), deviation = recognised(consumed, photographs)
    assert (steps, sorted(order)) == (3, list(range(IMAGES)))
    assert deviation < 10
    np.testing.assert_array_equal(consumed.labels.reshape(-1), np.array(order) % 2)


def test_files_teach_what_prepared_images_teach(loading: Apart, photographs: list[Path]) -> None:
    """The core's order and its warps: all that differs is the decoder, by a level of 255."""
    paths = tuple(map(str, photographs))
    own = make_weights(NETWORK)
    task = make_task(NETWORK, weights=own, optimizer=Optimizer(name="sgd", lr=0.1))
    task = replace(task, is_augmented=True)
    orders = [range(IMAGES), [7, 3, 1, 10, 0, 4, 11, 2, 9, 5, 8, 6]]
    images = pixels_of(photographs)
    epochs = [batches_of(order, images, has_warps=True) for order in orders]

    _, _, wanted = loading(trained, task, epochs)
    with_files = replace(task, files=FileSource(paths=paths))
    scores, _, weights = loading(trained, with_files, list(map(without_pixels, epochs)))
    _, _, mistaken = loading(trained, task, epochs[::-1])

    assert [one.count for one in scores] == [IMAGES, IMAGES]
    assert distance(weights, wanted) < 0.02 * distance(wanted, own)
    # The epochs exchanged teach otherwise: so small a difference is no matter of course.
    assert distance(mistaken, wanted) > 0.1 * distance(wanted, own)


def distance(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> float:
    """Return the largest difference between two sets of arrays."""
    return max(float(np.abs(one[name] - other[name]).max()) for name in other)


def test_own_weights_come_back_with_a_reset(apart: Apart, photographs: list[Path]) -> None:
    """A second start is the first one again: the same arrays, losses, and an empty ledger."""
    batches = batches_of(range(IMAGES), pixels_of(photographs))

    first, second = apart(trained_twice, native_task(), batches)

    for start, blank, _ in (first, second):
        assert blank.fingerprints.shape == (0, 4)
        np.testing.assert_equal(start, first[0])
    assert losses(second[2]) == pytest.approx(losses(first[2]), rel=1e-5)
    assert losses(first[2])[1] < losses(first[2])[0]


def losses(scores: Sequence[Scores]) -> list[float]:
    """Return the loss of each epoch."""
    return [one.loss for one in scores]


def test_given_arrays_are_loaded_and_the_others_drawn_from_the_seed(apart: Apart) -> None:
    """What is given stays as it is; the rest repeats with its seed and changes with another."""
    given = {"hidden/kernel": make_weights(NETWORK)["hidden/kernel"]}
    task = native_task(weights=given)

    (one, settings), (same, _), (other, _) = (
        apart(initial, replace(task, seed=seed)) for seed in (7, 7, 8)
    )

    np.testing.assert_array_equal(one["hidden/kernel"], given["hidden/kernel"])
    np.testing.assert_equal(one, same)
    assert np.abs(one["logits/kernel"] - other["logits/kernel"]).max() > 0.01
    assert settings["initialiser"] in ("GlorotUniform", "kaiming_uniform", "lecun_normal")


def test_initialiser_is_given_where_every_array_is(apart: Apart) -> None:
    """A training that draws nothing says so, in the native track too."""
    weights, settings = apart(initial, native_task(weights=make_weights(NETWORK)))

    np.testing.assert_equal(dict(weights), make_weights(NETWORK))
    assert settings["initialiser"] == "given"


def test_own_kernels_lie_within_the_initialisers_bounds(apart: Apart) -> None:
    """Glorot: sqrt(6 / (768 + 8)); PyTorch: 1 / sqrt(768); 6144 draws come near the bound.

    Flax cuts a normal law at two of its deviations, which leaves 0.8796 of its width.
    """
    weights, settings = apart(initial, native_task())

    bound = {
        "GlorotUniform": (6 / (768 + 8)) ** 0.5,
        "kaiming_uniform": 768**-0.5,
        "lecun_normal": 2 * 768**-0.5 / 0.87962566,
    }
    largest = np.abs(weights["hidden/kernel"]).max() / bound[settings["initialiser"]]
    assert 0.99 < largest <= 1


@pytest.mark.parametrize(
    ("stated", "keras", "torch", "jax"),
    [
        (
            {"name": "adam"},
            {"name": "Adam", "lr": 0.001, "beta_1": 0.9, "epsilon": 1e-7, "weight_decay": 0.0},
            {"name": "Adam", "lr": 0.001, "beta_1": 0.9, "epsilon": 1e-8, "weight_decay": 0.0},
            None,
        ),
        (
            {"name": "adam", "lr": 0.01, "beta_1": 0.8, "weight_decay": 0.1},
            {"name": "Adam", "lr": 0.01, "beta_1": 0.8, "epsilon": 1e-7, "weight_decay": 0.1},
            {"name": "adam", "lr": 0.01, "beta_1": 0.8, "epsilon": 1e-8, "weight_decay": 0.1},
            {"name": "adam", "lr": 0.01, "beta_1": 0.8, "epsilon": 1e-8, "weight_decay": 0.1},
        ),
        (
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
        ),
        (
            {"name": "sgd", "lr": 0.1, "weight_decay": 0.01},
            {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.01},
            {"name": "SGD", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.01},
            {"name": "optax.sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.01},
        ),
        (
            {"name": "rmsprop", "lr": 0.01},
            {"name": "RMSprop", "lr": 0.01, "rho": 0.9, "epsilon": 1e-7, "weight_decay": 0.0},
            {"name": "rmsprop", "lr": 0.01, "rho": 0.99, "epsilon": 1e-8, "weight_decay": 0.0},
            {"name": "optax.rmsprop", "lr": 0.01, "rho": 0.9, "epsilon": 1e-8, "weight_decay": 0.0},
        ),
    ],
)
def test_optimizer_keeps_the_frameworks_own_defaults(
    apart: Apart,
    request: pytest.FixtureRequest,
    stated: dict[str, str | float],
    keras: dict[str, Setting],
    torch: dict[str, Setting],
    jax: dict[str, Setting] | None,
) -> None:
    """What is stated is used; a name in another spelling is a rule that is not the core's.

    Optax has no learning rate of its own: what states none is refused.
    """
    native = NativeSettings(optimizer=stated, augmentation={}, batch_size=4)

    known = {"keras": keras, "torch": torch, "jax": jax}
    wanted = known[request.node.callspec.params["apart"]]
    if wanted is None:
        with pytest.raises(UnsupportedError, match="no default learning rate for adam"):
            apart(initial, native_task(native=native))
        return

    _, settings = apart(initial, native_task(native=native))

    found = {name: settings[f"optimizer.{name}"] for name in wanted}
    assert found == wanted


def compiled_beside_a_gpu(name: str, images: np.ndarray) -> tuple[Setting, Setting, Scores]:
    """Return ``compile`` on a CPU, then where TensorFlow sees a GPU, and what is learnt there."""
    config = importlib.import_module("tensorflow").config
    on_cpu = begin(name, native_task()).settings()["compile"]
    devices = config.list_physical_devices
    config.list_physical_devices = lambda *kind: [*devices(*kind), config.PhysicalDevice("", "GPU")]
    try:
        training = begin(name, native_task())
    finally:
        config.list_physical_devices = devices
    scores = learn(training, batches_of(range(IMAGES), images))
    return on_cpu, training.settings()["compile"], scores[-1]


def test_keras_decides_whether_fit_is_compiled(
    apart: Apart, request: pytest.FixtureRequest, photographs: list[Path]
) -> None:
    """Its default is part of what users get: XLA where TensorFlow sees a GPU, and it is told."""
    if request.node.callspec.params["apart"] != "keras":
        pytest.skip("a default of Keras")

    on_cpu, on_gpu, scores = apart(compiled_beside_a_gpu, pixels_of(photographs))

    assert (on_cpu, on_gpu) == (False, True)
    assert scores.count == IMAGES
