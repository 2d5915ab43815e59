"""The effective settings, read back from what computes and not from what was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from benchharness.api import Dropout, Setting, Task
from benchharness_newbackend.images import Inputs
from benchharness_newbackend.layers import Model
from benchharness_newbackend.optimizers import Rule, read_optimizer
from benchharness_newbackend.witness import Ledger


def device_settings(task: Task, device: str) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    return {
        "engine": "newbackend",
        "device": str(device),
        "precision": "float32",
        "tf32": False,
        "layout": "channels_last",
        "compile": False,
        "deterministic": True,
        "loader_workers": 0,
        # Who pays for the host in speed tells its readers so.
        "images": Inputs.computed_by,
        "fingerprints": Ledger.computed_by,
    }


def learning_settings(*, model: Model, optimizer: Rule) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers."""
    rates = [layer.rate for layer in model.network.layers if isinstance(layer, Dropout)]
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(model.trainable),
        "initialiser": "given",
    }
