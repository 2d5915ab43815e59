"""The effective settings, read back from what computes and not from what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from benchharness.api import Dropout, Setting, Task
from benchharness_mlx.images import Inputs
from benchharness_mlx.layers import Model
from benchharness_mlx.optimizers import Rule, read_optimizer
from benchharness_mlx.witness import Ledger


def device_settings(task: Task, device: mx.Device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    return {
        "engine": "mlx",
        "device": str(mx.default_device()),
        "threads": 1,
        "precision": str(mx.ones(1).dtype).rpartition(".")[2],
        "tf32": False,
        "layout": "channels_last",
        "compile": False,
        "deterministic": True,
        "loader_workers": 0,
        "images": Inputs.computed_by,
        "fingerprints": Ledger.computed_by,
    }


def learning_settings(*, model: Model, optimizer: Rule) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers."""
    rates = [layer.rate for layer in model.network.layers if isinstance(layer, Dropout)]
    return {
        "precision": ", ".join({str(a.dtype).rpartition(".")[2] for a in model.arrays.values()}),
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(model.trainable),
        "initialiser": "given",
    }
