"""The effective settings, read back from the objects of Keras and its engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import keras

from benchharness.api import Setting
from benchharness_keras.engines import ENGINE
from benchharness_keras.files import FileLoader, FolderLoader
from benchharness_keras.optimizers import read_optimizer


def device_settings(device: str) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    settings = ENGINE.settings(is_gpu=device.startswith("gpu"))
    return {
        **settings,
        "engine": keras.config.backend(),
        "device": device,
        "precision": _precision(keras.config.dtype_policy().compute_dtype, settings),
        "dtype_policy": keras.config.dtype_policy().name,
        "layout": keras.config.image_data_format(),
        "compile": False,
        "loader_workers": 0,
    }


def network_settings(
    device: str, *, layers: Sequence[keras.Layer], is_compiled: bool
) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed.

    Args:
        device: Where Keras computes.
        layers: Those of the task, without what brings images to them.
        is_compiled: Whether the engine's compiler has the steps.
    """
    common = device_settings(device)
    dtypes = dict.fromkeys(layer.compute_dtype for layer in layers)
    layouts = dict.fromkeys(layer.data_format for layer in layers if hasattr(layer, "data_format"))
    return {
        **common,
        "precision": ", ".join(_precision(dtype, common) for dtype in dtypes),
        "layout": ", ".join(layouts) or common["layout"],
        "compile": is_compiled,
    }


def learning_settings(
    *,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loader: FileLoader | FolderLoader | None,
    drawn: Collection[str],
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    Args:
        model: Over the task's layers.
        optimizer: Of its trainable arrays.
        loader: Of the task's files; None where batches bring their images.
        drawn: Names of the arrays that the framework has initialised by itself.
    """
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    learning = [layer.name for layer in model.layers if layer.trainable_variables]
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(learning),
        "initialiser": _initialisers(model, drawn) or "given",
        "loader_workers": loader.workers if loader else 0,
    }


def _initialisers(model: keras.Model, drawn: Collection[str]) -> str:
    layers = (layer for layer in model.layers if f"{layer.name}/kernel" in drawn)
    return ", ".join(dict.fromkeys(type(layer.kernel_initializer).__name__ for layer in layers))


def _precision(compute_dtype: str, engine: Mapping[str, Setting]) -> str:
    return "tf32" if compute_dtype == "float32" and engine["tf32"] else compute_dtype
