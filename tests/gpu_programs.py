"""Programs that a backend compiles or runs, printed as JSON by a separate process.

``python tests/gpu_programs.py BACKEND`` prints ``{"step": [...], "images": [...]}``: the operations
of a training step, and of the way from augmented images to what the network sees.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from benchharness.plugins import load_backend
from benchharness.testing.tasks import learn, make_batches, make_task, small_cnn

BATCHES = make_batches(sizes=(6,), is_augmented=True)


def jax_programs() -> dict[str, Any]:
    """Return the operations that XLA gets of a step in JAX."""
    from benchharness_jax.data import BatchArrays

    training = trained("jax")
    arrays, labels = BatchArrays.of(BATCHES[0]), BATCHES[0].labels
    inputs = training._inputs
    state = training._state, training._frozen, inputs(arrays), labels
    images = inputs._compiled.lower(arrays, inputs._preprocess, None)
    return {"step": stablehlo(training._train.lower(*state)), "images": stablehlo(images)}


def keras_jax_programs() -> dict[str, Any]:
    """Return the operations that XLA gets of a step in Keras on JAX."""
    training = trained("keras-jax")
    # Keras takes the engine that the plugin has chosen.
    import jax
    import keras
    from benchharness_keras.engines import ENGINE

    steps, (arrays, labels) = training._steps, ENGINE.arrays(BATCHES[0])
    lowered = steps._compiled.lower(
        steps._state or tuple([v.value for v in group] for group in steps._variables()),
        keras.ops.zeros(2),
        steps._fixed,
        arrays,
        labels,
    )
    images = jax.jit(ENGINE.resample).lower(arrays["inputs"].astype("float32"), arrays["affine"])
    return {"step": stablehlo(lowered), "images": stablehlo(images)}


def torch_programs() -> dict[str, Any]:
    """Return the operations that PyTorch carries out."""
    training = trained("torch")
    arrays = training._to_device(BATCHES[0])
    return {"step": called(training.replay(BATCHES[0])), "images": called(training._inputs, arrays)}


def keras_torch_programs() -> dict[str, Any]:
    """Return the operations that Keras on PyTorch carries out."""
    training = trained("keras-torch")
    from benchharness_keras.engines import ENGINE

    arrays, _ = ENGINE.arrays(BATCHES[0])
    images = arrays["inputs"].float()
    return {
        "step": called(training.replay(BATCHES[0])),
        "images": called(ENGINE.resample, images, arrays["affine"]),
    }


def keras_programs() -> dict[str, Any]:
    """Return the operations of Keras's graph on TensorFlow."""
    trained("keras")
    import tensorflow as tf
    from benchharness_keras.engines import ENGINE

    arrays, _ = ENGINE.arrays(BATCHES[0])
    images = tf.cast(arrays["inputs"], tf.float32)
    graph = tf.function(ENGINE.resample).get_concrete_function(images, arrays["affine"]).graph
    inner = graph.as_graph_def().library.function
    return {"step": [], "images": [node.op for function in inner for node in function.node_def]}


def trained(backend: str) -> Any:
    """Return a training that has taken a step."""
    training = load_backend(backend, options={}).train(make_task(small_cnn(), is_augmented=True))
    learn(training, BATCHES)
    return training


def stablehlo(lowered: Any) -> list[str]:
    """Return the operations of a program for XLA."""
    return re.findall(r"(?<!#)stablehlo\.(\w+)", lowered.as_text())


def called(work: Callable[..., object], *arguments: object) -> list[str]:
    """Return the operators that PyTorch calls, one for each call."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work(*arguments)
    return [event.name for event in profile.events()]


if __name__ == "__main__":
    programs = {
        "jax": jax_programs,
        "keras-jax": keras_jax_programs,
        "torch": torch_programs,
        "keras-torch": keras_torch_programs,
        "keras": keras_programs,
    }
    print(json.dumps(programs[sys.argv[1]]()))
