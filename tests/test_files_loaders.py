"""Both frameworks' loaders of image files, each in a process of its own.

In one process, PyTorch 2.15 after TensorFlow 2.21 aborts.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import require
from photographs import save

from benchharness.api import (
    AugmentationParams,
    Batch,
    Batches,
    FileSource,
    NativeSettings,
    Network,
    Task,
    UnsupportedError,
)
from benchharness.data.images import read_image
from benchharness.testing.tasks import make_task, make_warp

pytestmark = pytest.mark.full

BACKENDS = ("keras", "torch")
SIZE = 32
KINDS = {
    "flip_horizontal": True,
    "flip_vertical": True,
    "shift": 0.1,
    "rotation": 20.0,
    "shear": 0.2,
    "zoom": 0.2,
}


@functools.cache
def process(name: str) -> ProcessPoolExecutor:
    """Return the process in which a framework works."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def apart(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``work`` gives in the process of a backend, skipping where it is missing."""
    require(name)
    return process(name).submit(work, name, *arguments).result(timeout=300)


@pytest.fixture(autouse=True, scope="module")
def ended_processes():
    """End the frameworks' processes with the last test."""
    yield
    for name in BACKENDS:
        process(name).shutdown()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return eleven JPEGs of different sizes, taken from two class folders in turn."""
    root = tmp_path_factory.mktemp("photographs")
    return [
        save(
            root / ("0000_b", "0001_a")[number % 2] / f"{number}.jpg",
            seed=number,
            width=150 + 9 * number,
            height=120 + 5 * number,
        )
        for number in range(11)
    ]


def expected(paths: Sequence[Path], *, channels: int = 3) -> np.ndarray:
    """Return the prepared images of some files, as int."""
    read = [read_image(path, size=SIZE, channels=channels).pixels for path in paths]
    return np.stack(read).astype(int)


def batches_of(ids: Sequence[int], *, batch_size: int, is_augmented: bool = False) -> list[Batch]:
    """Return batches without pixels, every image labelled by its id."""
    random, shape = np.random.default_rng(0), (SIZE, SIZE, 3)
    parts = [ids[at : at + batch_size] for at in range(0, len(ids), batch_size)]
    return [
        Batch(
            ids=np.array(part),
            inputs=np.empty((len(part), 0, 0, 0), np.uint8),
            labels=np.array(part, np.int32),
            warp=make_warp(len(part), shape=shape, random=random) if is_augmented else None,
        )
        for part in parts
    ]


def files_task(source: FileSource, *, channels: int = 3, **changes: Any) -> Task:
    """Return the task of feeding files."""
    network = Network(input_shape=(SIZE, SIZE, channels), layers=())
    return replace(make_task(network, weights={}, optimizer=None), files=source, **changes)


def load(name: str, kind: str, task: Task, epochs: Sequence[Batches]) -> list[list[Batch]]:
    """Return what a loader gives in each epoch, as batches."""
    loader = getattr(importlib.import_module(f"benchharness_{name}.data"), kind)(task)
    if name == "torch":
        return [list(loader.load(batches)) for batches in epochs]
    current = [epochs[0]]
    dataset = loader.load(lambda: current[0])
    given = []
    for batches in epochs:
        current[0] = batches
        given.append([as_batch(arrays, labels) for arrays, labels in dataset.as_numpy_iterator()])
    return given


def as_batch(arrays: Mapping[str, np.ndarray], labels: np.ndarray) -> Batch:
    """Return Keras's arrays as a batch; ids are not in them."""
    warp = (
        AugmentationParams(affine=arrays["affine"], colour=arrays["colour"])
        if "affine" in arrays
        else None
    )
    return Batch(ids=np.full(len(labels), -1), inputs=arrays["inputs"], labels=labels, warp=warp)


def refusal(name: str, task: Task) -> str:
    """Return why a loader of folders refuses a task."""
    module = importlib.import_module(f"benchharness_{name}.data")
    with pytest.raises(UnsupportedError) as caught:
        module.FolderLoader(task)
    return str(caught.value)


@pytest.mark.parametrize("name", BACKENDS)
def test_files_come_in_the_cores_order_as_prepared(name: str, photographs: list[Path]) -> None:
    """Each epoch has its own order; pixels are those of the prepared images, within a level."""
    task = files_task(FileSource(paths=tuple(map(str, photographs))))
    orders = [[3, 1, 10, 0, 7], [7, 0, 2, 9, 3]]
    epochs = [batches_of(order, batch_size=2) for order in orders]

    given = apart(name, load, "FileLoader", task, epochs)

    for order, batches in zip(orders, given, strict=True):
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert np.concatenate([batch.labels for batch in batches]).tolist() == order
        pixels = np.concatenate([batch.inputs for batch in batches])
        assert pixels.dtype == np.uint8
        wanted = expected([photographs[image] for image in order])
        assert np.abs(pixels - wanted).max() <= 1


@pytest.mark.parametrize("name", BACKENDS)
def test_files_bring_the_cores_warps(name: str, photographs: list[Path]) -> None:
    """Each image keeps its own augmentation."""
    task = files_task(FileSource(paths=tuple(map(str, photographs))), is_augmented=True)
    core = batches_of(range(5), batch_size=2, is_augmented=True)

    (given,) = apart(name, load, "FileLoader", task, [core])

    for batch, wanted in zip(given, core, strict=True):
        np.testing.assert_array_equal(batch.warp.affine, wanted.warp.affine)
        np.testing.assert_array_equal(batch.warp.colour, wanted.warp.colour)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_grey_files_have_one_channel(name: str, suffix: str, tmp_path: Path) -> None:
    """JPEG and PNG alike."""
    paths = [
        save(tmp_path / f"{number}.{suffix}", seed=number, width=90, height=70, mode="L")
        for number in range(3)
    ]
    task = files_task(FileSource(paths=tuple(map(str, paths))), channels=1)

    (given,) = apart(name, load, "FileLoader", task, [batches_of(range(3), batch_size=3)])

    assert np.abs(given[0].inputs - expected(paths, channels=1)).max() <= 1


@pytest.mark.parametrize("name", BACKENDS)
def test_folder_gives_every_file_once_per_epoch(name: str, photographs: list[Path]) -> None:
    """Under its label, in an order that changes; a few batches for warming up cut no epoch short.

    The images are told apart by their nearest prepared one: Keras resizes without antialiasing.
    """
    source = FileSource(paths=(), folder=str(photographs[0].parent.parent))
    native = NativeSettings(optimizer={}, augmentation={}, batch_size=4)
    whole = batches_of(range(11), batch_size=4)
    epochs = [whole, whole]

    given = apart(name, load, "FolderLoader", files_task(source, native=native), epochs)
    (warming,) = apart(
        name, load, "FolderLoader", files_task(source, native=native), [[whole[0], whole[2]]]
    )

    assert [len(batch) for batch in warming] == [4, 3]
    orders = []
    for batches in given:
        assert [len(batch) for batch in batches] == [4, 4, 3]
        suggest, distance = recognise(batches, photographs)
        assert sorted(suggest) == list(range(11))
        assert distance < 3
        assert np.concatenate([batch.labels for batch in batches]).tolist() == [
            image % 2 for image in suggest
        ]
        orders.append(suggest)
    assert orders[0] != orders[1]


def recognise(batches: list[Batch], photographs: list[Path]) -> tuple[list[int], float]:
    """Return the photograph nearest to each image, and the largest mean distance to it."""
    pixels = np.concatenate([batch.inputs for batch in batches]).astype(float)
    distances = np.abs(pixels[:, None] - expected(photographs)[None]).mean((2, 3, 4))
    return distances.argmin(1).tolist(), float(distances.min(1).max())


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_folder_varies_images_by_each_kind(name: str, kind: str, photographs: list[Path]) -> None:
    """Every kind that both frameworks have moves pixels, and keeps them from 0 to 255."""
    source = FileSource(paths=(), folder=str(photographs[0].parent.parent))
    native = NativeSettings(optimizer={}, augmentation={kind: KINDS[kind]}, batch_size=11)

    (given,) = apart(
        name,
        load,
        "FolderLoader",
        files_task(source, native=native),
        [batches_of(range(11), batch_size=11)],
    )

    _, distance = recognise(given, photographs)
    assert distance > 5
    assert given[0].inputs.min() >= 0
    assert given[0].inputs.max() <= 255.001


def test_torch_enlarges_random_crops(photographs: list[Path]) -> None:
    """A crop keeps the size that the network wants."""
    source = FileSource(paths=(), folder=str(photographs[0].parent.parent))
    native = NativeSettings(optimizer={}, augmentation={"crop": 0.5}, batch_size=11)
    task = files_task(source, native=native)

    (given,) = apart("torch", load, "FolderLoader", task, [batches_of(range(11), batch_size=11)])

    assert given[0].inputs.shape == (11, SIZE, SIZE, 3)
    assert recognise(given, photographs)[1] > 5


@pytest.mark.parametrize(
    ("name", "amounts", "reason"),
    [
        ("keras", {"crop": 0.1}, "Keras has no random crop that is enlarged again"),
        ("keras", {"channel_shift": 9.0}, "Keras has no random channel shift"),
        ("keras", {"shear": 1.5}, "Keras shears by at most 1, found 1.5"),
        ("torch", {"channel_shift": 9.0}, "torchvision has no channel shift"),
    ],
)
def test_kind_that_a_framework_lacks_is_refused(
    name: str, amounts: dict[str, float], reason: str, photographs: list[Path]
) -> None:
    """The refusal names the kind and the way out."""
    source = FileSource(paths=(), folder=str(photographs[0].parent.parent))
    native = NativeSettings(optimizer={}, augmentation=amounts, batch_size=2)

    said = apart(name, refusal, files_task(source, native=native))

    assert said.startswith(f"augmentation: {reason}")
    assert 'set input = "prepared"' in said
