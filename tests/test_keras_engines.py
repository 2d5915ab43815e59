"""Keras on JAX and on PyTorch keeps the contract: what an engine could do differently.

Keras reads its engine once, so each has a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks import require

from benchharness.errors import PluginError
from benchharness.plugins import load_backend
from benchharness.testing import BackendContract
from benchharness.testing.assertions import Subject
from benchharness.testing.tasks import RULES

# As Keras 2 left them in many homes.
USER_FILE = (
    '{"floatx": "float16", "epsilon": 0.001, "backend": "theano", '
    '"image_data_format": "channels_first", "nnx_enabled": true}'
)
# Of each part of the contract, what goes through the engine.
MOVEMENT = "test_optimizers_move_weights_as_the_reference_does"
PROMISES: Sequence[tuple[str, Mapping[str, Any]]] = [
    ("test_settings_of_training_are_as_stated", {"rule": RULES["adam"], "weight_decay": 0.1}),
    ("test_gradients_are_the_references", {"output": "softmax", "layers": ("conv_same", "logits")}),
    *((MOVEMENT, {"rule": RULES[rule], "weight_decay": 0.1}) for rule in ("adam", "rmsprop")),
    ("test_training_sees_each_image_by_its_own_warp", {}),
    ("test_inputs_kept_on_the_device_are_those_of_the_batches", {"is_features": False}),
    ("test_work_between_epochs_sees_the_weights_of_that_moment", {}),
    ("test_reset_is_a_fresh_start", {"name": "adam"}),
    ("test_a_seed_repeats_the_loss", {}),
    ("test_another_seed_drops_other_values", {}),
    ("test_dropout_is_at_work_in_training", {}),
    ("test_replayed_steps_are_those_of_training", {"rule": RULES["adam"], "is_augmented": True}),
    ("test_what_is_consumed_is_told", {"kind": "train", "is_augmented": False}),
]


@pytest.fixture(scope="module", params=["jax", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, ProcessPoolExecutor]]:
    """Return an engine's name, and the process in which Keras has it."""
    for package in ("benchharness_keras", request.param):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        yield request.param, process


def keep(engine: str, promise: str, options: Mapping[str, Any]) -> None:
    """Hold Keras on an engine to one promise of the contract."""
    backend = load_backend(f"keras-{engine}", options={})
    getattr(BackendContract(), promise)(Subject(backend), **options)


def engine_in_use(engine: str) -> tuple[set[str], Any]:
    """Return what versions tell of, and Keras's own name for its engine."""
    backend = load_backend(f"keras-{engine}", options={})
    return set(backend.versions()), importlib.import_module("keras").config.backend()


@pytest.mark.full
@pytest.mark.parametrize(("promise", "options"), PROMISES)
def test_engine_keeps_the_contract(
    engine: tuple[str, ProcessPoolExecutor], promise: str, options: Mapping[str, Any]
) -> None:
    """The same promise as on TensorFlow."""
    name, process = engine

    process.submit(keep, name, promise, options).result(timeout=600)


def kernels(engine: str, rule: str, variables: int) -> int:
    """Return how many operations of PyTorch an update of so many variables takes."""
    load_backend(f"keras-{engine}", options={})
    keras, torch = importlib.import_module("keras"), importlib.import_module("torch")
    optimizers = importlib.import_module("benchharness_keras.optimizers")
    python_dispatch = importlib.import_module("torch.utils._python_dispatch")

    class Counting(python_dispatch.TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += 1
            return function(*args, **(kwargs or {}))

    learnt = [keras.Variable(np.ones(3, np.float32)) for _ in range(variables)]
    optimizer = optimizers.build_optimizer(optimizer=RULES[rule])
    optimizer.build(learnt)
    gradients = [torch.ones_like(variable.value) for variable in learnt]
    with torch.no_grad(), Counting() as counting:
        optimizer.apply(gradients)
    return counting.count


@pytest.mark.full
@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "rmsprop"])
def test_pytorch_updates_all_variables_at_once(
    engine: tuple[str, ProcessPoolExecutor], rule: str
) -> None:
    """As Keras's own optimizers do there: on a GPU, a kernel for each would take the step's time.

    Keras clips, casts or looks up a few things for each variable; an update takes several more.
    """
    name, process = engine
    if name != "torch":
        pytest.skip("compiled into one step")

    few, many = (process.submit(kernels, name, rule, count).result(600) for count in (2, 42))

    assert (many - few) / 40 < 3


@pytest.mark.full
def test_backend_is_on_the_engine_of_its_name(
    engine: tuple[str, ProcessPoolExecutor],
) -> None:
    """The version of the engine is told beside that of Keras."""
    name, process = engine

    assert process.submit(engine_in_use, name).result(timeout=600) == ({"keras", name}, name)


def defaults(engine: str) -> tuple[str, float, str, str]:
    """Return what Keras computes with where nobody states it, and whose file it has read."""
    load_backend(f"keras-{engine}", options={})
    config = importlib.import_module("keras").config
    return (
        config.floatx(),
        config.epsilon(),
        config.image_data_format(),
        os.environ["KERAS_HOME"],
    )


@pytest.mark.parametrize("content", [USER_FILE, "{broken", '{"floatx": "no such type"}'])
def test_the_users_file_decides_nothing(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another default in it, nor what Keras would not start with."""
    require("keras-jax")
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    context = multiprocessing.get_context("spawn")

    with ProcessPoolExecutor(1, mp_context=context) as process:
        found = process.submit(defaults, "jax").result(timeout=600)

    assert found == ("float32", 1e-7, "channels_last", str(tmp_path))
    assert (tmp_path / "keras.json").read_text() == content


@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_engine_in_the_name_leaves_no_option(engine: str) -> None:
    """An engine beside the one that the name tells would be two truths."""
    pytest.importorskip("benchharness_keras")

    with pytest.raises(PluginError, match=f"keras-{engine}: expected no options, found engine"):
        load_backend(f"keras-{engine}", options={"engine": "tensorflow"})
